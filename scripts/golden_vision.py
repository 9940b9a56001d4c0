#!/usr/bin/env python3
"""Makes the golden files of crates/model's models that see and of crates/formats' pictures: tiny random LLaVAs of transformers
with what they say, pixels as CLIPImageProcessor has them, and small pictures with what Pillow reads in them.

    pip install torch transformers pillow
    python scripts/golden_vision.py crates/model/tests/golden/vision crates/formats/tests/pictures

They were made once, with the versions written into each record.json, and are kept in the repository; the Rust tests read
them, so the tests need no Python.
"""
import json
import pathlib
import sys

import numpy as np
import PIL.Image
import torch
import transformers
from transformers import (
    CLIPImageProcessorPil, CLIPVisionConfig, GenerationConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration,
    Qwen2Config,
)

VOCAB, IMAGE = 53, 5
NEW_TOKENS = 6


def enliven(model, seed):
    """Weights large enough that every part has a say; norms and biases away from 1 and 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if p.dim() > 1:
                p.copy_(noise * (0.25 if "patch" in name else 0.45))
            else:
                p.add_(noise * 0.2)
    return model.eval()


def rounded(rows):
    return [[round(x, 6) for x in row] for row in rows.tolist()]


def zigzag(count):
    return torch.tensor([1.0 if (i * 7 + i // 3) % 5 < 2 else -1.0 for i in range(count)], dtype=torch.float64)


def hub_name(name):
    """Of a module's parameter in the folders of LLaVA 1.5."""
    return (name.replace("model.vision_tower.", "vision_tower.vision_model.").replace("model.multi_modal_", "multi_modal_")
            .replace("model.language_model.", "language_model.model.").replace("lm_head.", "language_model.lm_head."))


def gradients(model, labels, **given):
    """Those of the loss of all labels, of each tensor its length and its product with a zigzag."""
    # The loss of transformers is a mean, of labels that it shifts itself.
    counted = (labels[:, 1:] != -100).sum()
    (model(**given, labels=labels).loss * counted).backward()
    both = {hub_name(name): [p.grad.norm().item(), (p.grad.flatten() * zigzag(p.numel())).sum().item()]
            for name, p in model.named_parameters() if p.grad is not None}
    return {name: [round(x, 6) for x in pair] for name, pair in both.items()}


def continued(model, ids, pixels):
    """One token after the other, each the likeliest, but none that ends the text or is a picture's."""
    first = ids.shape[1]
    for _ in range(NEW_TOKENS):
        logits = model(input_ids=ids, pixel_values=pixels).logits[0, -1]
        logits[[model.generation_config.eos_token_id, IMAGE]] = -torch.inf
        ids = torch.cat([ids, logits.argmax().reshape(1, 1)], 1)
    return ids[0, first:].tolist()


def save(out, name, seed, text, **settings):
    torch.manual_seed(seed)
    vision = CLIPVisionConfig(hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2,
                              image_size=12, patch_size=4, **settings.pop("vision", {}))
    model = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE, **settings))
    enliven(model, seed)
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=0)
    model.save_pretrained(out / name)
    # What is recorded has no rounding of its own.
    model.double()
    generator = torch.Generator().manual_seed(seed + 100)
    pixels = torch.randn((3, 3, 12, 12), generator=generator).round(decimals=2).double()
    places = [IMAGE] * (9 if model.config.vision_feature_select_strategy == "default" else 10)
    word = lambda n: torch.randint(6, VOCAB, (n,), generator=generator).tolist()
    # One picture; two; none.
    texts = [word(2) + places + word(5), word(1) + places + word(2) + places + word(3), word(7)]
    ids = torch.zeros((3, max(map(len, texts))), dtype=torch.long)
    labels = torch.full_like(ids, -100)
    for i, row in enumerate(texts):
        ids[i, :len(row)] = torch.tensor(row)
        learnt = torch.tensor(row)
        labels[i, :len(row)] = torch.where(learnt == IMAGE, -100, learnt)
    given = dict(input_ids=ids, pixel_values=pixels)
    with torch.no_grad():
        logits = model(**given).logits
        features = torch.cat(list(model.get_image_features(pixels, return_dict=True).pooler_output))
        greedy = continued(model, ids[:1, :len(texts[0])], pixels[:1])
    record = {
        "transformers": transformers.__version__,
        "torch": torch.__version__.split("+")[0],
        "pictures": [[round(x, 2) for x in picture.flatten().tolist()] for picture in pixels],
        "texts": texts,
        "features": rounded(features.reshape(3 * len(places), -1)),
        "logits": [rounded(logits[i, :len(row)]) for i, row in enumerate(texts)],
        "greedy": greedy,
        # What is to follow each token.
        "labels": [labels[i, 1:len(row)].tolist() + [-100] for i, row in enumerate(texts)],
        "gradients": gradients(model, labels, **given),
    }
    (out / name / "record.json").write_text(json.dumps(record) + "\n")
    print(name, "largest", logits.abs().max().item(), record["greedy"])


def painted(height, width, channels):
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(channels), indexing="ij")
    return ((x * x * 3 + y * 13 + c * 71 + x * y * 5) % 256).astype(np.uint8)


def save_pixels(path):
    """Pictures larger, smaller, wider and higher than what is read, and settings of all kinds."""
    cases = []
    for height, width, settings in [
        (30, 45, dict(size={"shortest_edge": 12}, crop_size={"height": 12, "width": 12})),
        (47, 20, dict(size={"shortest_edge": 12}, crop_size={"height": 12, "width": 12})),
        (5, 7, dict(size={"shortest_edge": 12}, crop_size={"height": 12, "width": 12})),
        (33, 14, dict(size={"height": 9, "width": 16}, do_center_crop=False)),
        (12, 12, dict(size={"shortest_edge": 12}, crop_size={"height": 12, "width": 12})),
        (8, 21, dict(do_resize=False, crop_size={"height": 13, "width": 10})),
        (21, 21, dict(size={"shortest_edge": 10}, crop_size={"height": 15, "width": 10}, do_normalize=False)),
        (9, 9, dict(do_resize=False, do_center_crop=False, do_rescale=False, image_mean=[1.0, 2.0, 3.0],
                    image_std=[4.0, 5.0, 6.0])),
    ]:
        processor = CLIPImageProcessorPil(**settings)
        picture = PIL.Image.fromarray(painted(height, width, 3))
        pixels = processor(picture, return_tensors="np")["pixel_values"][0]
        cases.append({
            "height": height, "width": width, "settings": json.loads(processor.to_json_string()),
            "shape": list(pixels.shape), "pixels": [round(x, 5) for x in pixels.flatten().tolist()],
        })
    path.write_text(json.dumps({"transformers": transformers.__version__, "cases": cases}) + "\n")


def save_pictures(out):
    """Files of each kind of pixel, with their RGB as transformers has it: what shines through is white."""
    rgb = painted(7, 9, 3)
    gray = painted(7, 9, 1)[..., 0]
    rgba = painted(7, 9, 4)
    rgba[..., 3][:2] = 255
    rgba[..., 3][2] = 0
    smooth = np.stack([*np.meshgrid(np.arange(24) * 9, np.arange(16) * 14), np.full((16, 24), 90)], -1).astype(np.uint8)
    palette = PIL.Image.fromarray(rgb).quantize(13)
    pictures = {
        "rgb.png": PIL.Image.fromarray(rgb), "gray.png": PIL.Image.fromarray(gray), "rgba.png": PIL.Image.fromarray(rgba),
        "gray_alpha.png": PIL.Image.fromarray(rgba[..., 2:], "LA"), "palette.png": palette,
        "bits.png": PIL.Image.fromarray(gray > 100), "smooth.jpg": PIL.Image.fromarray(smooth),
        "gray.jpg": PIL.Image.fromarray(smooth[..., 0]),
    }
    record = {}
    for name, picture in pictures.items():
        picture.save(out / name, **({"quality": 92} if name.endswith("jpg") else {}))
        read = PIL.Image.open(out / name)
        pixels = transformers.image_transforms.convert_to_rgb(read, return_numpy=True)
        record[name] = {"height": pixels.shape[0], "width": pixels.shape[1], "rgb": pixels.flatten().tolist()}
    (out / "record.json").write_text(json.dumps({"pillow": PIL.__version__, "pictures": record}) + "\n")


def main(models, pictures):
    text = dict(vocab_size=VOCAB, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
                num_key_value_heads=1, max_position_embeddings=48, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    save(models, "llama", 1, LlamaConfig(**text), image_seq_length=9)
    save(models, "qwen2_full", 2, Qwen2Config(**text, tie_word_embeddings=True), image_seq_length=10,
         vision_feature_layer=-1, vision_feature_select_strategy="full", projector_hidden_act="gelu_pytorch_tanh",
         multimodal_projector_bias=False, vision=dict(hidden_act="gelu", layer_norm_eps=1e-3))
    save_pixels(models / "pixels.json")
    save_pictures(pictures)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folders = [pathlib.Path(folder) for folder in sys.argv[1:]]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    main(*folders)
