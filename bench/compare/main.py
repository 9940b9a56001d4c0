"""The command line: starts the two sides in turn, joins their figures, prints the table and the line of JSON."""

import argparse
import json
import os
import sys

from compare import data, figures, tables
from compare.sides import Danlu, Failed, Torch, say

# What names a case of each part, and the field that holds its rate.
CASES = {
    "gemm": ("gflops", ("shape", "product", "precision")),
    "attention": ("gflops", ("model", "shape", "pass", "precision")),
    "decode": ("tokens_per_second", ("weights", "batch")),
}
MODES = {
    "train": ("eager", "compile"),
    "gemm": ("eager",),
    "attention": ("eager",),
    "decode": ("eager", "compile"),
}


def parse(arguments):
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    parser.add_argument("part", choices=[*MODES, "data"])
    parser.add_argument("--model", choices=["XS", "S", "M", "L", "LSTM", "GRU"],
                        help="default: S; gemm and attention: S, M and L")
    parser.add_argument("--precision", choices=["f32", "bf16"], help="default: f32; gemm and attention: both")
    parser.add_argument("--rounds", type=int, default=3,
                        help="how often each mode of PyTorch runs, each after a run of danlu (default: 3)")
    parser.add_argument("--seconds", type=float, help="timed seconds of a process (train: 6) or of a case (0.2)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: all cores")
    parser.add_argument("--cpu", choices=["avx2"], help="limit both sides to this instruction set")
    data.options(parser)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    args = parser.parse_args(arguments)
    if args.rounds < 1 or args.threads < 1:
        parser.error("--rounds and --threads must be at least 1")
    return args


def alternate(rounds, modes, danlu, torch):
    """danlu, PyTorch in its first mode, danlu, PyTorch in its second mode, and so on, `rounds` times over.
    `torch` is given its mode and danlu's latest figures."""
    ours, theirs = [], {mode: [] for mode in modes}
    for turn in range(rounds):
        for mode in modes:
            say(f"round {turn + 1} of {rounds}: danlu, then PyTorch {mode}")
            ours.append(danlu())
            theirs[mode].append(torch(mode, ours[-1]))
    return ours, theirs


def train(args, danlu, torch):
    options = {"model": args.model or "S", "precision": args.precision or "f32", "seconds": args.seconds or 6.0}
    ours, theirs = alternate(
        args.rounds,
        MODES["train"],
        lambda: danlu.run("train", **options),
        lambda mode, _: torch.run("train", mode=mode, **options),
    )
    joined = figures.training(ours, theirs)
    return joined, tables.training(joined)


def cases(args, danlu, torch):
    unit, key = CASES[args.part]
    seconds = args.seconds or 0.2
    options = {"model": args.model, "seconds": seconds}
    if args.part != "decode":
        options["precision"] = args.precision

    def peer(mode, latest):
        # The peer does what danlu did: the cases are named in one place, crates/bench.
        wanted = {k: latest[k] for k in ("model", "prompt", "tokens", "parameters") if k in latest}
        wanted["cases"] = [{k: case[k] for k in key} for case in latest["cases"]]
        return torch.run(args.part, mode=mode, seconds=seconds, like=json.dumps(wanted))

    ours, theirs = alternate(args.rounds, MODES[args.part], lambda: danlu.run(args.part, **options), peer)
    joined = figures.cases(args.part, unit, key, ours, theirs)
    return joined, tables.cases(joined, unit, key)


def beside_torch(args):
    danlu, torch = Danlu(args.threads, args.cpu), Torch(args.threads, args.cpu)
    return (train if args.part == "train" else cases)(args, danlu, torch)


def main(arguments):
    if arguments[:1] == ["tokenize"]:
        from compare import tokenize  # the one part that needs no PyTorch

        return tokenize.main(arguments[1:])
    args = parse(arguments)
    try:
        joined, table = data.run(args) if args.part == "data" else beside_torch(args)
    except (Failed, figures.Unfair) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(table)
    if args.json:
        print(json.dumps(joined))
    return 0
