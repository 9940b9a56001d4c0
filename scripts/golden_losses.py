#!/usr/bin/env python3
"""Makes crates/ops/tests/golden/losses.json: PyTorch's losses, values and gradients.

    pip install torch
    python scripts/golden_losses.py crates/ops/tests/golden/losses.json

It was made once, with the version that it holds, and is kept in the repository; the Rust test reads it, so the tests need
no Python. Computed in f64. Losses that PyTorch does not have as functions (focal, InfoNCE, Jensen-Shannon) are their papers'
formulas under its autograd.
"""
import json
import math
import sys

import torch
import torch.nn.functional as F

GENERATOR = torch.Generator().manual_seed(11)
CASES = []


def values(*shape, scale=1.5):
    # Four decimals are exact enough in f32, and the file stays small.
    return (torch.randn(shape, generator=GENERATOR, dtype=torch.float64) * scale).mul(1e4).round().div(1e4)


def number(x):
    return float("%.9g" % x) if math.isfinite(x) else repr(x)


def case(loss, inputs, options, function, count):
    leaves = [x.clone().requires_grad_() for x in inputs]
    total = function(*leaves)
    total.backward()
    CASES.append({
        "loss": loss, "options": options, "sum": number(total.item()), "count": count,
        "inputs": [{"dims": list(x.shape), "values": x.flatten().tolist()} for x in inputs],
        "gradients": [[number(g) for g in x.grad.flatten().tolist()] if x.grad is not None else [] for x in leaves],
    })


def classes():
    for targets, smoothing, weights, scale in [
        ([0, 2, 1, 1], 0.0, None, 1.5),  # three classes: entailment, neutral, contradiction
        ([0, -100, 1, 2], 0.1, [0.5, 2.0, 1.0], 1.5),
        ([2, 1, 0, -100], 0.0, [0.5, 2.0, 1.0], 30.0),
        ([-100, -100, -100, -100], 0.0, None, 1.5),
    ]:
        x, t = values(4, 3, scale=scale), torch.tensor(targets)
        w = None if weights is None else torch.tensor(weights, dtype=torch.float64)
        known = [y for y in targets if y >= 0]
        count = float(len(known)) if weights is None else sum(weights[y] for y in known)
        options = {"targets": targets, "label_smoothing": smoothing, "class_weights": weights}
        case("cross_entropy", [x], options, lambda x: F.cross_entropy(
            x, t, weight=w, ignore_index=-100, label_smoothing=smoothing, reduction="sum"), count)
        if smoothing == 0.0:
            for gamma in [0.0, 0.5, 2.0]:
                def focal(x):
                    rows = [i for i, y in enumerate(targets) if y >= 0]
                    log_p = F.log_softmax(x, 1)[rows, known]
                    scale = 1.0 if w is None else w[known]
                    return -(scale * (1 - log_p.exp()) ** gamma * log_p).sum() + 0.0 * x.sum()
                case("focal", [x], dict(options, gamma=gamma), focal, count)


def binary():
    x, y = values(3, 4, scale=3.0), torch.tensor([[1, 0, 1, 0], [0.25, 1, 0, 0], [1, 1, 1, 0.0]], dtype=torch.float64)
    x[0, 0], x[0, 1], x[1, 2], x[2, 0] = 0.0, 0.0, 60.0, -60.0
    for weights in [None, [2.0, 0.5, 1.0, 3.0]]:
        w = None if weights is None else torch.tensor(weights, dtype=torch.float64)
        case("binary_cross_entropy", [x], {"targets": y.tolist(), "pos_weight": weights}, lambda x:
             F.binary_cross_entropy_with_logits(x, y, pos_weight=w, reduction="sum"), 12.0)
    y = y.round()
    for gamma, alpha in [(2.0, 0.25), (0.0, None), (1.5, None)]:
        def focal(x):
            p, q = torch.sigmoid(x), torch.sigmoid(-x)
            a, b = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
            return -(a * y * q ** gamma * F.logsigmoid(x) + b * (1 - y) * p ** gamma * F.logsigmoid(-x)).sum()
        case("binary_focal", [x], {"targets": y.tolist(), "gamma": gamma, "alpha": alpha}, focal, 12.0)


def vectors():
    a, p, n = values(4, 3), values(4, 3), values(4, 3)
    same = p.clone()
    same[1] = a[1]
    for p, margin, swap in [(same, 1.0, False), (p, 0.5, True), (p, 3.0, True)]:
        case("triplet_margin", [a, p, n], {"margin": margin, "swap": swap}, lambda a, p, n:
             F.triplet_margin_loss(a, p, n, margin=margin, swap=swap, reduction="sum"), 4.0)
    together = [True, False, True, False]
    y = torch.tensor([1 if t else -1 for t in together])
    for margin in [0.0, 0.4, -0.5]:
        case("cosine_embedding", [a, n], {"together": together, "margin": margin}, lambda a, n:
             F.cosine_embedding_loss(a, n, y, margin=margin, reduction="sum"), 4.0)
    q, k = values(3, 4), values(5, 4)
    for temperature, symmetric, normalized in [(0.1, False, True), (0.5, True, True), (1.0, True, False)]:
        def info_nce(q, k):
            if normalized:
                q, k = F.normalize(q, dim=1), F.normalize(k, dim=1)
            logits, own = q @ k.T / temperature, torch.arange(3)
            there = F.cross_entropy(logits, own, reduction="sum")
            back = F.cross_entropy(logits[:, :3].T, own, reduction="sum")
            return (there + back) / 2 if symmetric else there
        options = {"temperature": temperature, "symmetric": symmetric, "normalized": normalized}
        case("info_nce", [q, k], options, info_nce, 3.0)


def distributions():
    x, y = values(3, 5, scale=3.0), values(3, 5, scale=3.0)
    y[1] = x[1]
    for temperature in [1.0, 2.5]:
        t = temperature

        def kl(x):
            return t * t * F.kl_div(F.log_softmax(x / t, 1), F.log_softmax(y / t, 1), log_target=True, reduction="sum")

        def js(x):
            q, p = F.log_softmax(x / t, 1), F.log_softmax(y / t, 1)
            m = torch.logaddexp(q, p) - math.log(2)
            half = F.kl_div(m, p, log_target=True, reduction="sum") + F.kl_div(m, q, log_target=True, reduction="sum")
            return t * t * half / 2
        options = {"temperature": t, "teacher": y.tolist()}
        case("kl_divergence", [x], options, kl, 3.0)
        case("js_divergence", [x], options, js, 3.0)


def numbers():
    x, y = values(3, 4), values(3, 4)
    y[0, 0] = x[0, 0]
    case("mse", [x], {"targets": y.tolist()}, lambda x: F.mse_loss(x, y, reduction="sum"), 12.0)
    for delta in [1.0, 0.3]:
        case("huber", [x], {"targets": y.tolist(), "delta": delta},
             lambda x: F.huber_loss(x, y, delta=delta, reduction="sum"), 12.0)


def alignments():
    for labels, lengths, blank, zero in [
        ([[1, 2, 3], [2], [3, 3, 1]], [6, 6, 5], 0, False),
        ([[], [0, 0], [1, 0, 1, 0]], [4, 3, 6], 3, False),  # empty, repeated with no step to spare
        ([[1, 1, 1], [2, 3], []], [4, 6, 1], 0, True),  # the first one is impossible
    ]:
        x = values(len(labels), 6, 4)
        flat = torch.tensor([label for sequence in labels for label in sequence])

        def ctc(x):
            return F.ctc_loss(F.log_softmax(x, 2).transpose(0, 1), flat, torch.tensor(lengths),
                              torch.tensor([len(s) for s in labels]), blank=blank, reduction="sum", zero_infinity=zero)
        options = {"labels": labels, "lengths": lengths, "blank": blank, "zero_infinity": zero}
        case("ctc", [x], options, ctc, 3.0)


def main():
    for make in [classes, binary, vectors, distributions, numbers, alignments]:
        make()
    with open(sys.argv[1], "w") as out:
        out.write('{"torch": "%s", "cases": [\n' % torch.__version__.split("+")[0])
        out.write(",\n".join(json.dumps(c, separators=(",", ":")) for c in CASES) + "\n]}\n")


main()
