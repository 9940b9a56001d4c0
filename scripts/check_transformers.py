#!/usr/bin/env python3
"""Checks that transformers loads what danlu saves, and computes the same logits.

    pip install torch transformers            (and compressed-tensors for the int8 folders)
    cargo run --release -p danlu-model --example export_for_check -- /tmp/export
    python scripts/check_transformers.py /tmp/export

Each folder under the given one is a model saved by danlu with danlu's own logits beside it (logits.json). Any model folder
may be checked without logits: it must then load with no tensor missing or left over.
"""
import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

TOLERANCE = 1e-4


def check(folder):
    quantized = "quantization_config" in json.loads((folder / "config.json").read_text())
    # Other implementations of attention leave soft-caps out.
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True, attn_implementation="eager")
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[kind]:
            return f"{kind}: {sorted(info[kind])}"
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
