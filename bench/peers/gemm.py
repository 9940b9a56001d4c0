"""Products of a linear layer `y = x w^T` in its three layouts. In bf16 the operands already are bf16 here, while danlu
rounds its f32 operands within the product; that favours PyTorch."""

import json

import torch

import common

TYPES = {"f32": torch.float32, "bf16": torch.bfloat16}

args = common.arguments(mode="eager", seconds=0.2, like="")
torch.manual_seed(1)


def rate(case):
    rows, inputs, outputs = case["shape"]
    kind = TYPES[case["precision"]]
    x, w, g = (torch.rand(a, b).mul_(2).sub_(1).to(kind) for a, b in ((rows, inputs), (outputs, inputs), (rows, outputs)))
    run = {
        "forward": lambda: x @ w.t(),
        "grad_input": lambda: g @ w,
        "grad_weight": lambda: g.t() @ x,
    }[case["product"]]
    return 2e-9 * rows * inputs * outputs / common.median_seconds(run, args.seconds)


with torch.inference_mode():
    cases = [{**case, "gflops": rate(case)} for case in json.loads(args.like)["cases"]]
common.finish(mode=args.mode, cases=cases)
