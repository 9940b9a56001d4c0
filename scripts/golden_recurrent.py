#!/usr/bin/env python3
"""Makes crates/kernels/tests/golden/recurrent.txt: PyTorch's LSTM, GRU and RNN with padding, both directions, values
and gradients.

    pip install torch
    python scripts/golden_recurrent.py crates/kernels/tests/golden/recurrent.txt

It was made once, with the version in its first line, and is kept in the repository; the Rust test reads it, so the tests
need no Python. Each case is a line `case KIND DIRECTION`, then one line `name value value ...` for each array. The loss is
the sum of the outputs and last states times fixed weights (`dy`, `dh`, `dc`).
"""
import sys

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

BATCH, TIME, INPUT, HIDDEN = 3, 4, 3, 2
LENGTHS = [4, 3, 1]


def line(name, tensor):
    return " ".join([name] + ["%.8g" % x for x in tensor.detach().flatten().tolist()])


def direction(kind, module, x, h, c, reverse, generator):
    """One direction of a bidirectional module: PyTorch reverses padded sequences only as part of both."""
    suffix = "_reverse" if reverse else ""
    rows = slice(HIDDEN, 2 * HIDDEN) if reverse else slice(0, HIDDEN)
    parameters = {name: getattr(module, name + "_l0" + suffix) for name in
                  ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]}
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True)
    out, last = module(packed, (h, c) if kind == "lstm" else h)
    y = pad_packed_sequence(out, batch_first=True)[0][:, :, rows]
    h_last = (last[0] if kind == "lstm" else last)[int(reverse)]
    results = {"y": y, "h_last": h_last}
    if kind == "lstm":
        results["c_last"] = last[1][int(reverse)]
    upstream = {name: torch.randn(r.shape, generator=generator) for name, r in results.items()}
    loss = sum((r * upstream[name]).sum() for name, r in results.items())
    module.zero_grad()
    inputs = dict(parameters, x=x, h=h, **({"c": c} if kind == "lstm" else {}))
    grads = torch.autograd.grad(loss, list(inputs.values()))
    lines = [f"case {kind} {'reverse' if reverse else 'forward'}"]
    for name, value in inputs.items():
        lines.append(line(name, value[int(reverse)] if name in "hc" else value))
    lines += [line(name, value) for name, value in results.items()]
    lines += [line("up_" + name, value) for name, value in upstream.items()]
    for name, grad in zip(inputs, grads):
        lines.append(line("grad_" + name, grad[int(reverse)] if name in "hc" else grad))
    return lines


def main():
    generator = torch.Generator().manual_seed(7)
    lines = [f"torch {torch.__version__.split('+')[0]}"]
    modules = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "tanh": torch.nn.RNN,
               "relu": lambda *a, **k: torch.nn.RNN(*a, nonlinearity="relu", **k)}
    for kind, make in modules.items():
        module = make(INPUT, HIDDEN, batch_first=True, bidirectional=True)
        with torch.no_grad():
            for p in module.parameters():
                p.copy_(torch.randn(p.shape, generator=generator))
        x, h, c = (torch.randn(shape, generator=generator).requires_grad_()
                   for shape in [(BATCH, TIME, INPUT), (2, BATCH, HIDDEN), (2, BATCH, HIDDEN)])
        for reverse in [False, True]:
            lines += direction(kind, module, x, h, c, reverse, generator)
    with open(sys.argv[1], "w") as out:
        out.write("\n".join(lines) + "\n")


main()
