"""`bench/run tokenize`: danlu's tokenizer beside the crate `tokenizers` alone, encoding and training.

Neither side needs PyTorch: both are in one small Rust program, crates/text/examples/tokenize_speed.rs.
"""

import argparse
import json
import os
import statistics
import sys
from pathlib import Path

import corpus
from compare import tables
from compare.sides import ROOT, Failed, call, last_json, say


def parse(arguments):
    parser = argparse.ArgumentParser(prog="bench/run tokenize", description=__doc__.split("\n")[0])
    parser.add_argument("--megabytes", type=int, default=100, help="text to encode (default: 100)")
    parser.add_argument("--train-megabytes", type=int, default=1000, help="text to train on (default: 1000); 0: no training")
    parser.add_argument("--vocab-size", type=int, default=32768)
    parser.add_argument("--tokenizer", type=Path, help="encode with this tokenizer.json (default: one that danlu trains)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side encodes, in turn (default: 3)")
    parser.add_argument("--train-rounds", type=int, default=1, help="how often each side trains, in turn (default: 1)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)),
                        help="of training, on both sides (default: all cores); encoding is on one")
    parser.add_argument("--documents", type=Path, help="JSONL with a `text` (default: made by bench/corpus.py)")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    args = parser.parse_args(arguments)
    if min(args.rounds, args.train_rounds, args.threads, args.megabytes) < 1 or args.train_megabytes < 0:
        parser.error("--rounds, --train-rounds, --threads and --megabytes must be at least 1")
    if args.train_megabytes == 0 and not args.tokenizer:
        parser.error("without training, --tokenizer must name a tokenizer.json")
    return args


def program():
    given = os.environ.get("DANLU_TOKENIZE_BIN")
    if given:
        return Path(given)
    call(["cargo", "build", "--release", "--package", "danlu-text", "--example", "tokenize_speed"], cwd=ROOT)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return (ROOT / target) / "release" / "examples" / "tokenize_speed"


def train(binary, documents, args):
    """Each training is a process of its own, so that its peak memory is that of this side alone."""
    folder = ROOT / "target" / "bench-tokenize"
    folder.mkdir(parents=True, exist_ok=True)
    runs = {"danlu": [], "crate": []}
    environment = {"RAYON_NUM_THREADS": str(args.threads)}
    for turn in range(args.train_rounds):
        for side, done in runs.items():
            say(f"training, round {turn + 1} of {args.train_rounds}: {side}")
            command = [binary, "train", side, documents, args.vocab_size, args.train_megabytes, folder / f"{side}.json"]
            done.append(last_json([str(part) for part in command], environment))
    return joined_training(runs["danlu"], runs["crate"]), folder / "danlu.json"


def joined_training(ours, theirs):
    """Medians over the rounds; peaks are the largest. `identical`: both wrote the same tokenizer.json, every time."""
    median = lambda runs: statistics.median(run["mb_per_s"] for run in runs)  # noqa: E731
    peak = lambda runs: max((run["peak_rss_bytes"] or 0) for run in runs) or None  # noqa: E731
    return {
        "danlu_mb_per_s": median(ours),
        "peer_mb_per_s": median(theirs),
        "ratio": median(ours) / median(theirs),
        "identical": len({run["hash"] for run in ours + theirs}) == 1,
        "megabytes": ours[0]["megabytes"],
        "threads": ours[0]["threads"],
        "danlu_seconds": statistics.median(run["seconds"] for run in ours),
        "peer_seconds": statistics.median(run["seconds"] for run in theirs),
        "danlu_peak_rss_bytes": peak(ours),
        "peer_peak_rss_bytes": peak(theirs),
    }


def encode(binary, documents, tokenizer, args):
    say(f"encoding with {tokenizer}, {args.rounds} rounds")
    command = [binary, "encode", documents, tokenizer, args.megabytes, args.rounds]
    return last_json([str(part) for part in command], {})


def table(figures):
    rows = [row(name, figures[name]) for name in ("english", "chinese")]
    rows.append(row("all", figures))
    if "train" in figures:
        rows.append(row(f"training, {figures['train']['threads']} threads", figures["train"]))
    parts = [tables.table(["encoding on one thread", "MB", "danlu MB/s", "crate MB/s", "ratio", "identical"], rows)]
    if "train" in figures:
        f = figures["train"]
        parts.append(f"training took {f['danlu_seconds']:.1f} s and {tables.gigabytes(f['danlu_peak_rss_bytes'])} GB, "
                     f"the crate {f['peer_seconds']:.1f} s and {tables.gigabytes(f['peer_peak_rss_bytes'])} GB")
    return "\n".join(parts)


def row(name, f):
    same = {True: "yes", False: "NO"}.get(f.get("identical"), "")
    return [name, tables.whole(f["megabytes"]), f"{f['danlu_mb_per_s']:.1f}", f"{f['peer_mb_per_s']:.1f}", tables.times(f["ratio"]), same]


def main(arguments):
    args = parse(arguments)
    try:
        documents = args.documents or corpus.cached(max(args.megabytes, args.train_megabytes))
        binary = program()
        trained, tokenizer = train(binary, documents, args) if args.train_megabytes else (None, None)
        figures = encode(binary, documents, args.tokenizer or tokenizer, args)
        if trained:
            figures["train"] = trained
    except (Failed, corpus.Missing) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(table(figures))
    if args.json:
        print(json.dumps(figures))
    return 0
