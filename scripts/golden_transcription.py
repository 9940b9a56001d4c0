#!/usr/bin/env python3
"""Makes the golden file of crates/eval's figures of transcripts: spoiled sentences and what jiwer says of them.

    pip install jiwer
    python scripts/golden_transcription.py crates/eval/tests/golden/transcription.json
"""
import json
import pathlib
import random
import sys

import jiwer

SENTENCES = ["he was not an ill disposed young man", "and mister john dashwood had then leisure to consider how much",
             "the old lady was three thousand pounds richer", "to be or not to be that is the question"]
CHINESE = ["今天天气很好我们去公园", "他昨天买了三本书", "上海是一座很大的城市"]


def spoiled(units, rng, others):
    units = list(units)
    for _ in range(rng.randrange(6)):
        at = rng.randrange(len(units))
        change = rng.randrange(3)
        if change == 0 and len(units) > 1:
            del units[at]
        elif change == 1:
            units.insert(at, rng.choice(others))
        else:
            units[at] = rng.choice(others)
    return units


def figures(said):
    rate = said.wer if hasattr(said, "wer") else said.cer
    return [rate, said.hits, said.substitutions, said.deletions, said.insertions]


def case(references, transcripts):
    bare = [["".join(text.split()) for text in texts] for texts in (references, transcripts)]
    return {
        "references": references, "transcripts": transcripts,
        "word": figures(jiwer.process_words(references, transcripts)),
        "character": figures(jiwer.process_characters(*bare)),
    }


def main(path):
    rng = random.Random(5)
    words = " ".join(SENTENCES).split()
    cases = [case(SENTENCES, [" ".join(spoiled(text.split(), rng, words)) for text in SENTENCES]) for _ in range(6)]
    cases += [case(CHINESE, ["".join(spoiled(text, rng, "的了是我")) for text in CHINESE]) for _ in range(3)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(cases, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
