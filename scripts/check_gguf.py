#!/usr/bin/env python3
"""Holds `danlu import` and `danlu export` to transformers, which reads GGUF files by itself:

    pip install torch transformers gguf accelerate
    danlu import model.gguf --out folder
    scripts/check_gguf.py model.gguf folder

Ids must be the same; prints how far the logits of the two are from each other.
"""

import os
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = [
    "The capital of France is",
    "def add(a, b):\n    return",
    "春眠不觉晓，处处闻",
    "Once upon a time, in 1984, there were 3 dogs.",
    "Q: What is 12 + 30?\nA:",
    "I'm sure they've gone; we'll see.",
]


def main(gguf, folder):
    torch.set_grad_enabled(False)
    place = {"pretrained_model_name_or_path": os.path.dirname(os.path.abspath(gguf)), "gguf_file": os.path.basename(gguf)}
    theirs = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    ours = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    their_tokens, our_tokens = AutoTokenizer.from_pretrained(**place), AutoTokenizer.from_pretrained(folder)
    positions, top, worst, divergence = 0, 0, 0.0, 0.0
    for prompt in PROMPTS:
        ids = their_tokens(prompt)["input_ids"]
        assert ids == our_tokens(prompt)["input_ids"], prompt
        want, got = theirs(torch.tensor([ids])).logits[0], ours(torch.tensor([ids])).logits[0]
        positions += len(ids)
        top += (want.argmax(-1) == got.argmax(-1)).sum().item()
        worst = max(worst, (want - got).abs().max().item())
        divergence += (want.softmax(-1) * (want.log_softmax(-1) - got.log_softmax(-1))).sum().item()
    print(f"{positions} positions: top-1 {top / positions:.4f}, largest difference {worst:g}, KL {divergence / positions:g}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
