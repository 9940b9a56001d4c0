#!/usr/bin/env python3
"""Computes an evaluation again with PyTorch and transformers, and compares.

    danlu eval MODEL --data texts.jsonl --json > danlu.json
    python scripts/compare_evaluation.py MODEL texts.jsonl danlu.json

Needs `pip install torch transformers`. texts.jsonl holds one {"text": ...} a line.
The protocol is danlu-eval's: each document after one <|endoftext|>, windows of
seq_len tokens ending stride apart, each token scored once. Nothing of danlu's is
used, and the documents run one by one, without batches. Exits 1 if perplexity
differs by more than 1e-4 of itself, or a count differs.
"""

import json
import math
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def documents(path):
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)["text"]


@torch.no_grad()
def score(model, ids, seq_len, stride):
    """Sum of nats, hits in the first 1 and first 5, over ids[1:]."""
    tokens = len(ids) - 1
    nats = top1 = top5 = 0
    done = 0
    while done < tokens:
        end = min(seq_len if done == 0 else done + stride, tokens)
        start = max(0, end - seq_len)
        logits = model(torch.tensor([ids[start:end]])).logits[0].double()
        new = end - done
        targets = torch.tensor(ids[done + 1 : end + 1])
        shares = logits[-new:].log_softmax(-1)
        nats -= shares.gather(1, targets[:, None]).sum().item()
        best = shares.topk(5, dim=-1).indices
        top1 += (best[:, 0] == targets).sum().item()
        top5 += (best == targets[:, None]).any(-1).sum().item()
        done = end
    return nats, top1, top5, tokens


def main():
    folder, data, result = sys.argv[1:4]
    with open(result, encoding="utf-8") as file:
        danlu = json.load(file)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    boundary = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    window = danlu["window"]
    sums = [0.0, 0, 0, 0]
    size = 0
    for text in documents(data):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        size += len(text.encode("utf-8"))
        part = score(model, [boundary, *ids], window["seq_len"], window["stride"])
        sums = [a + b for a, b in zip(sums, part)]
    nats, top1, top5, tokens = sums
    own = {
        "loss": nats / tokens,
        "perplexity": math.exp(nats / tokens),
        "bits_per_byte": nats / math.log(2) / size,
        "top1": top1 / tokens,
        "top5": top5 / tokens,
        "tokens": tokens,
        "bytes": size,
    }
    for name, value in own.items():
        print(f"{name:14} torch {value:<22} danlu {danlu[name]:<22} difference {danlu[name] - value:.3g}")
    same = abs(danlu["perplexity"] / own["perplexity"] - 1) <= 1e-4
    counts = danlu["tokens"] == tokens and danlu["bytes"] == size
    print("agrees" if same and counts else "DIFFERS")
    return 0 if same and counts else 1


if __name__ == "__main__":
    sys.exit(main())
