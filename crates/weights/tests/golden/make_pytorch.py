#!/usr/bin/env python3
"""Makes the checkpoints of the tests of danlu-weights and danlu-convert with torch.save:

    pip install torch
    python3 make_pytorch.py

mixed.bin has each element type, views, a transposed matrix, a shared storage and a parameter; mixed.json what they hold.
They were made once, by PyTorch 2.15, and are kept in the repository.
"""

import collections
import json
import os
import pathlib

import torch

HERE = pathlib.Path(__file__).parent


class Call:
    def __reduce__(self):
        return os.system, ("echo this must never run",)


def main():
    base = torch.arange(24, dtype=torch.float32) / 4 - 2
    matrix = base.reshape(4, 6)
    state = collections.OrderedDict()
    state["plain"] = matrix.clone()
    state["turned"] = matrix.t()
    state["again"] = matrix.t()  # the same storage
    state["part"] = matrix[1:3, 2:5]
    state["offset"] = base[5:9]
    state["wide"] = base[:3].double() * 3.5
    state["half"] = base[:5].half()
    state["brain"] = base[:5].bfloat16()
    state["long"] = torch.tensor([[-1, 2**40]])
    state["int"] = torch.tensor([7, -7], dtype=torch.int32)
    state["short"] = torch.tensor([300, -300], dtype=torch.int16)
    state["char"] = torch.tensor([-5, 5], dtype=torch.int8)
    state["byte"] = torch.tensor([200, 1], dtype=torch.uint8)
    state["bool"] = torch.tensor([True, False])
    state["scalar"] = torch.tensor(0.5)
    state["empty"] = torch.empty(0, 3)
    state["parameter"] = torch.nn.Parameter(base[:4].clone().reshape(2, 2))
    state["three"] = torch.arange(12, dtype=torch.float32).reshape(2, 3, 2).permute(2, 0, 1)
    state._metadata = collections.OrderedDict([("", {"version": 1})])
    torch.save(state, HERE / "mixed.bin")
    told = {name: [list(t.shape), str(t.dtype), t.detach().double().flatten().tolist()] for name, t in state.items()}
    (HERE / "mixed.json").write_text(json.dumps(told) + "\n")

    small = {"a": torch.tensor([1.0, 2.0])}
    torch.save({"epoch": 3, "lr": 0.1, "state_dict": small}, HERE / "nested.bin")
    torch.save(small, HERE / "protocol4.bin", pickle_protocol=4)
    torch.save(small, HERE / "old.bin", _use_new_zipfile_serialization=False)
    torch.save({"a": torch.tensor([1.0]), "b": Call()}, HERE / "code.bin")
    torch.save({"a": torch.tensor([1.0]).expand(1000)}, HERE / "expanded.bin")
    torch.save({"a": torch.tensor([1.0]), "note": "text"}, HERE / "note.bin")


main()
