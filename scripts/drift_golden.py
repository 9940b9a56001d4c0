"""Golden numbers for crates/data/tests/drift.rs, by scipy: `pip install scipy==1.17.1 && python scripts/drift_golden.py`.

The samples are powers of 1.05 (never two different ones in one bin of the sketch), their exponents drawn by a linear
congruential generator that the test repeats. The stability index has no function in scipy; it is computed here by numpy
from its definition, over tenths of the first sample.
"""

import numpy as np
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp


def exponents(count, seed, shift, spread):
    state, out = seed, []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        out.append(shift + (state >> 33) % spread)
    return np.array(out)


def psi(a, b):
    values, counts = np.unique(a, return_counts=True)
    edges, passed, tenths = [], 0, 1
    for value, count in zip(values, counts):
        passed += count
        if passed * 10 >= len(a) * tenths:
            tenths = passed * 10 // len(a) + 1
            edges.append(value)
    edges.pop()
    p = np.bincount(np.searchsorted(edges, a, side="left"), minlength=len(edges) + 1) / len(a)
    q = np.bincount(np.searchsorted(edges, b, side="left"), minlength=len(edges) + 1) / len(b)
    p, q = np.maximum(p, 1e-4), np.maximum(q, 1e-4)
    return float(np.sum((q - p) * np.log(q / p)))


for name, b in [("same", exponents(700, 2, 0, 40)), ("moved", exponents(700, 3, 4, 40)), ("wider", exponents(500, 4, 0, 60))]:
    a = exponents(1000, 1, 0, 40)
    print(f"{name}: ks {ks_2samp(a, b).statistic:.15f} psi {psi(a, b):.15f}")

p, q = np.array([50, 30, 15, 5, 0]), np.array([40, 30, 10, 0, 20])
print(f"jensen-shannon: {jensenshannon(p, q, base=2) ** 2:.15f}")
