#!/usr/bin/env python3
"""Plants duplicates of known similarity in a corpus, and says where.

    bench/plant.py corpus.jsonl planted.jsonl truth.jsonl

Copies of three kinds are made of documents drawn at random and put somewhere behind them: exact copies; near copies,
in which words (characters of Chinese) are replaced until the true Jaccard similarity falls into one of the bands
below; and near misses, below a half. Similarity is that of the sets of 5-grams of words and 8-grams of Chinese
characters, without case, punctuation and white space, as danlu counts it (crates/data/src/ngrams.rs); here it is
computed once more, independently.
"""

import heapq
import json
import random
import sys
from pathlib import Path

# name -> the similarity to reach: a copy is changed until it is just below `high`, and must not fall below `low`.
BANDS = {"0.95": (0.95, 1.0), "0.9": (0.9, 0.95), "0.85": (0.85, 0.9), "0.8": (0.8, 0.85), "miss": (0.25, 0.5)}
# Shares of the documents that get a copy of each kind.
SHARES = {"exact": 0.02, "0.95": 0.01, "0.9": 0.01, "0.85": 0.01, "0.8": 0.01, "miss": 0.01}
WORDS, CHARACTERS = 5, 8
# Documents with fewer n-grams are not copied: a single change would be out of any band.
LEAST_NGRAMS = 60
UNSPACED = [(0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3040, 0x30FF),
            (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9D), (0x20000, 0x3FFFF)]


def is_unspaced(c):
    return ord(c) >= 0x0E00 and any(low <= ord(c) <= high for low, high in UNSPACED)


def spans(text):
    """(begin, end, single) of the tokens: words, and single characters of scripts without spaces."""
    found, begin = [], None
    for at, c in enumerate(text):
        single, letter = is_unspaced(c), c.isalnum()
        if letter and not single:
            begin = at if begin is None else begin
            continue
        if begin is not None:
            found.append((begin, at, False))
            begin = None
        if single and letter:
            found.append((at, at + 1, True))
    if begin is not None:
        found.append((begin, len(text), False))
    return found


def ngrams_of(tokens):
    """The set of n-grams of (token, single): a word fills a fifth of a window, a single character an eighth."""
    full, found, end, filled = WORDS * CHARACTERS, set(), 0, 0
    weight = [WORDS if single else CHARACTERS for _, single in tokens]
    for first in range(len(tokens)):
        while filled < full:
            if end == len(tokens):
                return found if first else {tuple(token for token, _ in tokens)}
            filled += weight[end]
            end += 1
        found.add(tuple(token for token, _ in tokens[first:end]))
        filled -= weight[first]
    return found


def ngrams(text):
    return ngrams_of([(text[begin:end].lower(), single) for begin, end, single in spans(text)])


def jaccard(a, b):
    union = len(a | b)
    return len(a & b) / union if union else 1.0


def near_copy(text, band, rng):
    """A copy of the text with a similarity in the band, and that similarity; None where there is none."""
    low, high = BANDS[band]
    places = spans(text)
    tokens = [(text[begin:end].lower(), single) for begin, end, single in places]
    known = ngrams_of(tokens)
    if len(known) < LEAST_NGRAMS:
        return None
    changes = changes_for(low + (high - low) * rng.uniform(0.1, 0.9), tokens)
    order = rng.sample(range(len(tokens)), min(len(tokens), 4 * changes + 8))
    substitutes = [rng.choice(tokens)[0] for _ in order]
    for _ in range(12):
        # An x makes it another word; a single character is another one already, or the copy is a little more similar.
        chosen = {at: word + ("" if tokens[at][1] else "x") for at, word in zip(order[:changes], substitutes)}
        copy = replaced(text, places, chosen)
        similarity = jaccard(known, ngrams(copy))
        if low <= similarity < high:
            return copy, similarity
        changes += (1 if similarity >= high else -1) * max(1, changes // 10)
        if not 0 < changes <= len(order):
            return None
    return None


def changes_for(similarity, tokens):
    """How many random tokens to change for about this similarity. Of n windows c change: J = (n - c) / (n + c), and a
    window of k tokens stays when none of them changes."""
    singles = sum(single for _, single in tokens)
    size = CHARACTERS if 2 * singles > len(tokens) else WORDS
    stay = 1 - (1 - similarity) / (1 + similarity)
    return max(1, round((1 - stay ** (1 / size)) * len(tokens)))


def replaced(text, places, chosen):
    parts, at = [], 0
    for index in sorted(chosen):
        begin, end, _ = places[index]
        parts += [text[at:begin], chosen[index]]
        at = end
    return "".join(parts) + text[at:]


def plant(documents, seed=0):
    """Yields (document, truth): truth is None for a document of the corpus itself. A copy comes at some distance."""
    rng = random.Random(seed)
    waiting = []  # (when, order, copy, truth), soonest first
    number = 0
    for number, document in enumerate(documents):
        yield document, None
        kind = draw_kind(rng)
        made = kind and ((document["text"], 1.0) if kind == "exact" else near_copy(document["text"], kind, rng))
        if made:
            identity = f"{document['id']}-{kind}"
            truth = {"kind": kind, "original": document["id"], "copy": identity, "jaccard": made[1]}
            copy = {**document, "id": identity, "text": made[0]}
            heapq.heappush(waiting, (number + rng.randrange(1, 20000), number, copy, truth))
        while waiting and waiting[0][0] <= number:
            yield heapq.heappop(waiting)[2:]
    while waiting:
        yield heapq.heappop(waiting)[2:]


def draw_kind(rng):
    """Which kind of copy a document gets; None for most."""
    draw = rng.random()
    for kind, share in SHARES.items():
        draw -= share
        if draw < 0:
            return kind
    return None


def plant_file(source, planted, truths, seed=0):
    """Both files appear when they are whole."""
    asides = planted.with_suffix(".part"), truths.with_suffix(".part")
    with open(source, encoding="utf-8") as lines, open(asides[0], "w", encoding="utf-8") as out, open(
        asides[1], "w", encoding="utf-8"
    ) as known:
        for document, truth in plant(map(json.loads, lines), seed):
            out.write(json.dumps(document, ensure_ascii=False) + "\n")
            if truth:
                known.write(json.dumps(truth, ensure_ascii=False) + "\n")
    asides[1].replace(truths)
    asides[0].replace(planted)


if __name__ == "__main__":
    plant_file(*map(Path, sys.argv[1:4]))
