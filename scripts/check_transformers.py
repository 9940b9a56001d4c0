#!/usr/bin/env python3
"""Checks that transformers loads what danlu saves, and computes the same logits.

    pip install torch transformers pillow     (and compressed-tensors for the int8 folders)
    cargo run --release -p danlu-model --example export_for_check -- /tmp/export
    python scripts/check_transformers.py /tmp/export

Each folder under the given one is a model saved by danlu with danlu's own logits beside it (logits.json; of encoders
with their hidden states, of a batch of unequal lengths; of encoder-decoders of pairs of unequal lengths; of models that see
of texts with pictures, and a picture as their processor has it). Any model folder
may be checked without logits: it must then load with no tensor missing or left over.
"""
import json
import pathlib
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM, GenerationConfig

TOLERANCE = 1e-4


def padded(rows, pad):
    """Rows of unequal lengths, filled up, and which places are theirs."""
    ids = torch.full((len(rows), max(map(len, rows))), pad)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, :len(row)], mask[i, :len(row)] = torch.tensor(row), 1
    return ids, mask


def unfit(info, optional=()):
    """Which tensors are missing, left over or of another shape; those whose names begin with `optional` may be missing."""
    missing = [key for key in info["missing_keys"] if not key.startswith(optional)]
    kinds = [("missing", missing), ("left over", info["unexpected_keys"]), ("of another shape", info["mismatched_keys"])]
    return "; ".join(f"{kind}: {sorted(keys)}" for kind, keys in kinds if keys)


def check_encoder(folder, name):
    kind = getattr(transformers, name)
    model, info = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    # A bare model may come without its pooler.
    if wrong := unfit(info, "pooler."):
        return wrong
    golden = folder / "logits.json"
    if not golden.exists():
        return None
    golden = json.loads(golden.read_text())
    ids = golden["ids"]
    filled, mask = padded(ids, model.config.pad_token_id or 0)
    with torch.no_grad():
        said = model.eval()(input_ids=filled, attention_mask=mask, output_hidden_states=True)
    hidden, worst = said.hidden_states[-1], 0.0
    for i, row in enumerate(ids):
        ours = torch.tensor(golden["hidden"][i][:len(row)])
        worst = max(worst, (hidden[i, :len(row)] - ours).abs().max().item())
    logits = said.get("logits", said.get("pooler_output"))
    if golden["logits"]:
        ours = torch.tensor(golden["logits"]).reshape(logits.shape)
        for i, row in enumerate(ids):
            here = slice(0, len(row)) if logits.dim() == 3 else slice(None)
            worst = max(worst, (logits[i][here] - ours[i][here]).abs().max().item())
    print(f"{folder.name}: {name}: largest hidden {hidden.abs().max().item():.3f}, largest difference {worst:.2e}")
    return None if worst <= TOLERANCE else f"hidden states or logits differ by {worst}"


def check_encoder_decoder(folder, name):
    model, info = getattr(transformers, name).from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    if wrong := unfit(info):
        return wrong
    GenerationConfig.from_pretrained(folder)
    golden = folder / "logits.json"
    if not golden.exists():
        return None
    golden = json.loads(golden.read_text())
    pad = model.config.pad_token_id
    targets, _ = padded(golden["targets"], pad)
    if name.startswith("Whisper"):
        given = {"input_features": torch.tensor(golden["sources"]).transpose(1, 2)}
    else:
        given = dict(zip(("input_ids", "attention_mask"), padded(golden["sources"], pad)))
    with torch.no_grad():
        logits = model.eval()(**given, decoder_input_ids=targets).logits
    worst = 0.0
    for i, row in enumerate(golden["targets"]):
        ours = torch.tensor(golden["logits"][i][:len(row)])
        worst = max(worst, (logits[i, :len(row)] - ours).abs().max().item())
    print(f"{folder.name}: {name}: largest logit {logits.abs().max().item():.3f}, largest difference {worst:.2e}")
    return None if worst <= TOLERANCE else f"logits differ by {worst}"


def check_vision(folder, name):
    model, info = getattr(transformers, name).from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    if wrong := unfit(info):
        return wrong
    GenerationConfig.from_pretrained(folder)
    processor = transformers.CLIPImageProcessorPil.from_pretrained(folder)
    golden = folder / "logits.json"
    if not golden.exists():
        return None
    golden = json.loads(golden.read_text())
    size = model.config.vision_config.image_size
    pixels = torch.tensor(golden["pictures"]).reshape(-1, 3, size, size)
    ids, _ = padded(golden["texts"], 0)
    with torch.no_grad():
        logits = model.eval()(input_ids=ids, pixel_values=pixels).logits
    worst = 0.0
    for i, row in enumerate(golden["texts"]):
        ours = torch.tensor(golden["logits"][i][:len(row)])
        worst = max(worst, (logits[i, :len(row)] - ours).abs().max().item())
    told = golden["processed"]
    picture = (torch.arange(told["height"] * told["width"] * 3) ** 2 % 251).to(torch.uint8)
    picture = picture.reshape(told["height"], told["width"], 3).numpy()
    theirs = processor(picture, return_tensors="pt")["pixel_values"].flatten()
    apart = (theirs - torch.tensor(told["pixels"])).abs().max().item()
    print(f"{folder.name}: {name}: largest logit {logits.abs().max().item():.3f}, largest difference {worst:.2e}, "
          f"of pixels {apart:.2e}")
    return None if max(worst, apart) <= TOLERANCE else f"logits differ by {worst}, pixels by {apart}"


def check(folder):
    named = (json.loads((folder / "config.json").read_text()).get("architectures") or [""])[0]
    if named.startswith(("Bert", "Roberta", "DistilBert")):
        return check_encoder(folder, named)
    if named.startswith(("Marian", "Bart", "MBart", "T5", "MT5", "Whisper")):
        return check_encoder_decoder(folder, named)
    if named.startswith("Llava"):
        return check_vision(folder, named)
    quantized = "quantization_config" in json.loads((folder / "config.json").read_text())
    # Other implementations of attention leave soft-caps out.
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True, attn_implementation="eager")
    if wrong := unfit(info):
        return wrong
    GenerationConfig.from_pretrained(folder)
    golden = folder / "logits.json"
    if not golden.exists():
        return None
    golden = json.loads(golden.read_text())
    with torch.no_grad():
        logits = model.eval()(torch.tensor(golden["tokens"])).logits
    difference = (logits - torch.tensor(golden["logits"])).abs().max().item()
    print(f"{folder.name}: {type(model).__name__}{', int8' if quantized else ''}: "
          f"largest logit {logits.abs().max().item():.3f}, largest difference {difference:.2e}")
    return None if difference <= TOLERANCE else f"logits differ by {difference}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    root = pathlib.Path(sys.argv[1])
    folders = [root] if (root / "config.json").exists() else sorted(p.parent for p in root.glob("*/config.json"))
    failures = [f"{folder}: {problem}" for folder in folders if (problem := check(folder))]
    if failures or not folders:
        sys.exit("\n".join(failures) or f"no model folder in {root}")
    print(f"{len(folders)} folders agree with transformers")
