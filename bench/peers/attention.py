"""Causal scaled-dot-product attention, alone and with its gradients, on views as the projections leave them. In bf16
queries, keys and values already are bf16."""

import json

import torch
import torch.nn.functional as F

import common

TYPES = {"f32": torch.float32, "bf16": torch.bfloat16}

args = common.arguments(mode="eager", seconds=0.2, like="")
torch.manual_seed(1)


def rate(case):
    batch, heads, kv_heads, time, width = case["shape"]
    backward = case["pass"] == "forward_backward"
    q, k, v = (
        torch.rand(batch, time, h, width, dtype=TYPES[case["precision"]], requires_grad=backward)
        for h in (heads, kv_heads, kv_heads)
    )
    ones = torch.ones(batch, heads, time, width, dtype=q.dtype)

    def run():
        y = F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v)), is_causal=True, enable_gqa=heads != kv_heads)
        if backward:
            torch.autograd.grad(y, (q, k, v), ones)

    operations = (7 if backward else 2) * batch * heads * time * (time + 1) * width
    return operations / common.median_seconds(run, args.seconds) / 1e9


common.finish(mode=args.mode, cases=[{**case, "gflops": rate(case)} for case in json.loads(args.like)["cases"]])
