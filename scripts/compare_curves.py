#!/usr/bin/env python3
"""How far the loss curves of two sides lie apart, for instance of a recipe in f32 and in bf16, each with several seeds:

    scripts/compare_curves.py runs/danlu.db f32-1,f32-2,f32-3 bf16-1,bf16-2,bf16-3

Runs go by the names of their recipes; of several with one name the latest counts. The training loss is that of one batch a
step; means over 50 steps and over a side's runs are compared, and each validation. With several runs a side, the spread is
the largest distance of one run's curve from another's on the same side: what chance does. Standard library only.
"""

import itertools
import sqlite3
import sys

WINDOW = 50


def curves(database, name):
    found = database.execute(
        "SELECT stages.key FROM runs JOIN stages ON stages.run_id = runs.id WHERE runs.name = ? AND stages.stage = 'train' "
        "ORDER BY runs.id DESC LIMIT 1", (name,)
    ).fetchone()
    if found is None:
        sys.exit(f"no run named {name} has been trained")
    read = "SELECT step, value FROM metrics WHERE series = ? AND name = ? ORDER BY step"
    train, valid = [database.execute(read, (found[0], metric)).fetchall() for metric in ("train/loss", "valid/loss")]
    return means(train), valid


def means(points):
    values = [value for _, value in points]
    return [(points[end - 1][0], sum(values[end - WINDOW : end]) / WINDOW) for end in range(WINDOW, len(values) + 1, WINDOW)]


def averaged(side):
    return [(points[0][0], sum(value for _, value in points) / len(points)) for points in zip(*side)]


def apart(one, other):
    return [(step, a, b, b / a - 1) for (step, a), (_, b) in zip(one, other)]


def spread(side):
    pairs = itertools.combinations(side, 2)
    return max((abs(row[3]) for a, b in pairs for row in apart(a, b)), default=None)


def main(path, *sides):
    database = sqlite3.connect(path)
    left, right = [[curves(database, name) for name in side.split(",")] for side in sides]
    for at, name in enumerate(["training, means of 50 steps", "validation"]):
        one, other = [[curve[at] for curve in side] for side in (left, right)]
        rows = apart(averaged(one), averaged(other))
        for step, a, b, share in rows:
            print(f"{name:28} {step:6} {a:8.4f} {b:8.4f} {100 * share:+7.2f}%")
        worst = max(rows, key=lambda row: abs(row[3]), default=None)
        if worst:
            print(f"{name}: at most {100 * abs(worst[3]):.2f}% apart, at step {worst[0]}")
        for side, spreads in (("left", spread(one)), ("right", spread(other))):
            if spreads is not None:
                print(f"  runs of the {side} side among themselves: up to {100 * spreads:.2f}%")
        print()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
