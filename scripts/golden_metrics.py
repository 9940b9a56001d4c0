#!/usr/bin/env python3
"""Makes the golden file of crates/eval's classification figures: random guesses and what scikit-learn says of them.

    pip install scikit-learn
    python scripts/golden_metrics.py crates/eval/tests/golden/classification.json
"""
import json
import pathlib
import random
import sys

import sklearn.metrics as m


def figures(truth, guesses, **options):
    def all_three(average):
        return [list(map(float, row)) if hasattr(row, "__len__") else float(row) for row in
                m.precision_recall_fscore_support(truth, guesses, average=average, zero_division=0, **options)[:3]]

    per_class = [list(row) for row in zip(*all_three(None))]
    return {"accuracy": float(m.accuracy_score(truth, guesses)), "classes": per_class,
            **{average: all_three(average) for average in ("micro", "macro", "weighted")}}


def main(path):
    rng = random.Random(7)
    cases = []
    for classes, examples in [(2, 30), (3, 40), (5, 25), (7, 200)]:
        truth = [rng.choice(range(classes)) for _ in range(examples)]
        guesses = [t if rng.random() < 0.6 else rng.choice(range(classes)) for t in truth]
        assert set(truth) | set(guesses) == set(range(classes))
        cases.append({
            "labels": [f"c{i}" for i in range(classes)], "truth": truth, "guesses": guesses,
            "truth_flags": [], "guessed_flags": [],
            "confusion": m.confusion_matrix(truth, guesses).tolist(), **figures(truth, guesses),
        })
    for labels, examples in [(3, 20), (6, 50)]:
        truth = [[rng.random() < 0.4 for _ in range(labels)] for _ in range(examples)]
        guesses = [[t if rng.random() < 0.8 else not t for t in row] for row in truth]
        # Label 0 is never guessed.
        guesses = [[False, *row[1:]] for row in guesses]
        as_numbers = [[list(map(int, row)) for row in rows] for rows in (truth, guesses)]
        cases.append({
            "labels": [f"l{i}" for i in range(labels)], "truth": [], "guesses": [],
            "truth_flags": truth, "guessed_flags": guesses, "confusion": [], **figures(*as_numbers),
        })
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(cases) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
