#!/usr/bin/env python3
"""Stands in for a Python with PyTorch: answers as the scripts under bench/peers do, with figures made up for tests."""

import json
import math
import sys

script, arguments = sys.argv[1], sys.argv[2:]
options = dict(zip(arguments[::2], arguments[1::2]))
mode = options.get("--mode")
answer = {"side": "torch", "version": "0", "cpu": "none", "threads": int(options["--threads"]), "mode": mode,
          "peak_rss_bytes": {"eager": 1 << 30, "compile": 1 << 29}[mode]}
if script.endswith("train.py"):
    step = {"eager": 2.0, "compile": 1.0}[mode]
    answer |= {"model": options["--model"], "precision": options["--precision"], "parameters": 32128,
               "tokens_per_step": 32, "step_seconds": [step, step, 100 * step], "first_loss": math.log(96),
               "last_loss": 4.0}
else:
    unit = "tokens_per_second" if script.endswith("decode.py") else "gflops"
    answer["cases"] = [{**case, unit: 0.5} for case in json.loads(options["--like"])["cases"] if case.get("weights") != "int8"]
print(json.dumps(answer))
