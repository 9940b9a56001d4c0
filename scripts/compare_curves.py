#!/usr/bin/env python3
"""How far the loss curves of two runs lie apart, for instance of a recipe in f32 and in bf16:

    danlu --runs-dir a run f32.toml
    danlu --runs-dir b run bf16.toml
    scripts/compare_curves.py a/danlu.db b/danlu.db

The training loss is that of one batch a step, the same batches on both sides; means over 50 steps are compared, and each
validation. Of a database with several runs the latest counts. Standard library only.
"""

import sqlite3
import sys

WINDOW = 50


def curves(path):
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    (series,) = database.execute("SELECT series FROM metrics GROUP BY series ORDER BY max(time) DESC LIMIT 1").fetchone()
    read = "SELECT step, value FROM metrics WHERE series = ? AND name = ? ORDER BY step"
    return [database.execute(read, (series, name)).fetchall() for name in ("train/loss", "valid/loss")]


def means(points):
    values = [value for _, value in points]
    return [(points[end - 1][0], sum(values[end - WINDOW : end]) / WINDOW) for end in range(WINDOW, len(values) + 1, WINDOW)]


def main(one, other):
    (train, valid), (train_too, valid_too) = curves(one), curves(other)
    for name, left, right in [("training, means of 50 steps", means(train), means(train_too)), ("validation", valid, valid_too)]:
        apart = [(step, a, b, b / a - 1) for (step, a), (_, b) in zip(left, right)]
        for step, a, b, share in apart:
            print(f"{name:28} {step:6} {a:8.4f} {b:8.4f} {100 * share:+7.2f}%")
        worst = max(apart, key=lambda row: abs(row[3]), default=None)
        if worst:
            print(f"{name}: at most {100 * abs(worst[3]):.2f}% apart, at step {worst[0]}\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
