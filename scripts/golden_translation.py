#!/usr/bin/env python3
"""Makes the golden file of crates/eval's figures of translations: odd texts and what sacreBLEU says of them.

    pip install sacrebleu
    python scripts/golden_translation.py crates/eval/tests/golden/translation.json
"""
import json
import pathlib
import random
import sys

from sacrebleu.metrics import BLEU, CHRF

ENGLISH = [
    "The quick brown fox jumps over the lazy dog.",
    "Choose File - Open, then click \"OK\" (twice).",
    "It costs $1,234.56 -- or 3-4% more, e.g. in 2-3 years.",
    "A &amp; B are &lt;tags&gt; of &quot;old&quot; pages.",
    "Don't stop; he said: 'why?'",
    "tab\tand line\nend-\nof-line",
    "", "a", "one two", "…an “ellipsis” – and a dash — here",
]
CHINESE = [
    "打开「标准」工具栏，点击「文件 - 打开」。",
    "在 LibreOffice Calc 中，最多可有 1,048,576 行。",
    "他说：“你好，世界！”——然后走了…",
    "版本 7.4.2 於2022年發佈", "𠀀是擴展B的字", "全角ＡＢＣ１２３，半角abc123.", "㈱㍻ ☃ ①", "好", "", " 前后有空格 ",
]


def spoiled(text, rng):
    """A translation that is nearly right."""
    units = text.split(" ") if " " in text and rng.random() < 0.7 else list(text)
    joint = " " if len(units) < len(text) else ""
    for _ in range(rng.randrange(4)):
        if not units:
            break
        at = rng.randrange(len(units))
        change = rng.random()
        if change < 0.4:
            del units[at]
        elif change < 0.7:
            units.insert(at, rng.choice(units))
        else:
            units[at] = rng.choice(["word", "的", "x.", "1,5", "-"])
    return joint.join(units)


def case(translations, references, tokenizer):
    columns = [[(of[i] if i < len(of) else None) for of in references] for i in range(max(map(len, references)))]
    bleu = BLEU(tokenize=tokenizer).corpus_score(translations, columns)
    return {
        "translations": translations, "references": references, "tokenizer": tokenizer,
        "bleu": bleu.score, "precisions": bleu.precisions, "brevity_penalty": bleu.bp,
        "words": bleu.sys_len, "reference_words": bleu.ref_len,
        "chrf": CHRF().corpus_score(translations, columns).score,
        "chrf_plus_plus": CHRF(word_order=2).corpus_score(translations, columns).score,
    }


def main(path):
    rng = random.Random(11)
    cases = []
    for texts, tokenizers in [(ENGLISH, ["13a", "char"]), (CHINESE, ["zh", "char", "13a"])]:
        for tokenizer in tokenizers:
            translations = [spoiled(text, rng) for text in texts]
            cases.append(case(translations, [[text] for text in texts], tokenizer))
            cases.append(case(translations, [[text, spoiled(text, rng), spoiled(text, rng)] for text in texts], tokenizer))
    cases.append(case(["x y z"], [["a b c"]], "13a"))
    cases.append(case(["a b"], [["a b c d e"]], "13a"))
    cases.append(case([""], [["a b"]], "zh"))
    cases.append(case(["the the the the the"], [["the cat sat on the mat"]], "13a"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(cases, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
