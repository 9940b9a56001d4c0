#!/usr/bin/env python3
"""Makes crates/ops/tests/golden/optimizers.json, trajectories of PyTorch's optimisers, and
crates/train/tests/golden/schedules.json, the learning rates of its schedulers.

    pip install torch
    python scripts/golden_optimizers.py crates/ops/tests/golden/optimizers.json crates/train/tests/golden/schedules.json

They were made once, with the version that they hold, and are kept in the repository; the Rust tests read them, so the tests
need no Python. Computed in f64, except where PyTorch itself rounds (Muon's iteration is bf16).
"""
import json
import sys

import torch

GENERATOR = torch.Generator().manual_seed(5)
STEPS = 4


def values(*shape):
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64).mul(1e4).round().div(1e4)


def short(t):
    return [float("%.9g" % x) for x in t.flatten().tolist()]


def trajectory(kind, options, shape, make):
    p = values(*shape).requires_grad_()
    optimizer = make([p])
    result = {"kind": kind, "options": options, "dims": list(shape), "start": short(p.detach()), "steps": []}
    for _ in range(STEPS):
        p.grad = values(*shape)
        gradient = short(p.grad)
        optimizer.step()
        result["steps"].append({"gradient": gradient, "parameter": short(p.detach())})
    states = optimizer.state[p]
    result["states"] = {n: short(states[n]) for n in sorted(states) if n != "step" and states[n] is not None}
    return result


def optimizers():
    t, out = torch.optim, []
    for shape in [(3, 4), (5,)]:
        for momentum, nesterov in [(0.0, False), (0.9, False), (0.9, True)]:
            o = {"lr": 0.1, "momentum": momentum, "nesterov": nesterov, "weight_decay": 0.05}
            out.append(trajectory("sgd", o, shape, lambda p: t.SGD(p, **o)))
        o = {"lr": 0.05, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1}
        for kind, make in [("adam", t.Adam), ("adamw", t.AdamW)]:
            out.append(trajectory(kind, o, shape, lambda p: make(
                p, lr=o["lr"], betas=(o["beta1"], o["beta2"]), eps=o["eps"], weight_decay=o["weight_decay"])))
    for shape in [(3, 4), (5,), (2, 3, 4)]:
        for lr in [1e-2, 0.8]:
            o = {"lr": lr, "weight_decay": 0.1}
            eps = torch.finfo(torch.float32).eps
            out.append(trajectory("adafactor", o, shape, lambda p: t.Adafactor(p, eps=(eps, 1e-3), **o)))
    o = {"lr": 0.02, "momentum": 0.95, "nesterov": True, "weight_decay": 0.1}
    for shape in [(3, 4), (6, 2)]:
        out.append(trajectory("muon", o, shape, lambda p: t.Muon(p, adjust_lr_fn="match_rms_adamw", **o)))
    return out


def schedules():
    s, out = torch.optim.lr_scheduler, {}

    def rates(make, steps, losses=None):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
        scheduler = make(optimizer)
        result = []
        for n in range(steps):
            result.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step(*([] if losses is None else [losses[n]]))
        return result

    # 21 updates, of which the first 5 rise; PyTorch counts the peak as the end of the rise.
    out["one_cycle"] = rates(lambda o: s.OneCycleLR(
        o, max_lr=2.0, total_steps=21, pct_start=5 / 21, div_factor=25, final_div_factor=0.04 / 0.01,
        cycle_momentum=False), 21)
    out["polynomial"] = rates(lambda o: s.PolynomialLR(o, total_iters=20, power=2.0), 21)
    out["linear"] = rates(lambda o: s.LinearLR(o, start_factor=1.0, end_factor=0.25, total_iters=20), 21)
    losses = [3.0, 2.5, 2.5, 2.4999, 2.6, 2.4, 2.4, 2.4, 2.4, 2.4, 2.4, 2.4, 2.4, 1.0, float("nan"), 1.1, 1.2, 1.3, 1.4, 1.5]
    out["plateau_losses"] = [x if x == x else None for x in losses]
    out["plateau"] = rates(lambda o: s.ReduceLROnPlateau(
        o, factor=0.3, patience=2, threshold=1e-4, min_lr=0.02), len(losses), losses)
    return out


def main():
    version = torch.__version__.split("+")[0]
    with open(sys.argv[1], "w") as out:
        out.write('{"torch": "%s", "cases": [\n' % version)
        out.write(",\n".join(json.dumps(c, separators=(",", ":")) for c in optimizers()) + "\n]}\n")
    with open(sys.argv[2], "w") as out:
        json.dump(dict(torch=version, **schedules()), out, indent=1)
        out.write("\n")


main()
