#!/usr/bin/env python3
"""Makes the golden files of crates/text's encoder tokenizers: a small WordPiece vocabulary and the ids of transformers.

    pip install transformers
    python scripts/golden_wordpiece.py crates/text/tests/golden/wordpiece

They were made once, with the version written into golden.json, and are kept in the repository.
"""
import json
import pathlib
import sys

import transformers
from transformers import BertTokenizerFast

WORDS = """[PAD] [UNK] [CLS] [SEP] [MASK] the un ##want ##ed run ##ning , . ! ? ( ) a b c d e f ##a ##b ##c ##e ##s ##t
cafe naive model models train ##ing token ##ization 2 0 ##2 ##0 ##6 春 眠 不 觉 晓 处 闻 啼 鸟 ， 。 好 评 差 房 间 很 干 净 -
##er ##est 、 « »""".split()
TEXTS = ["", " ", "the running model", "The UNWANTED café, naïve!", "春眠不觉晓，处处闻啼鸟。", "models (2026) training 训练",
         "tokenization-\u200bs\x00 a\tb\nc", "the [MASK] model [SEP] x", "房间很干净, the best.", "ab" * 60, "«naïve» ＡＢ"]
PAIRS = [["the model", "running"], ["春眠不觉晓", "a"], ["a b c d e f", "the model running"], ["", "a"]]


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    (out / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    tokenizer = BertTokenizerFast(vocab=str(out / "vocab.txt"), do_lower_case=True)
    tokenizer.save_pretrained(out)

    def said(*texts, **options):
        encoded = tokenizer(*texts, **options)
        return {"ids": encoded["input_ids"], "types": encoded["token_type_ids"], "words": encoded.word_ids()}

    record = {
        "transformers": transformers.__version__,
        "texts": [{"text": text, **said(text)} for text in TEXTS],
        "pairs": [{"text": pair[0], "pair": pair[1], **said(*pair)} for pair in PAIRS],
        "cut": [{"text": text, "max_len": n, **said(text, truncation=True, max_length=n)}
                for text in TEXTS for n in (3, 5, 8)],
        "cut_pairs": [{"text": pair[0], "pair": pair[1], "max_len": n, **said(*pair, truncation=True, max_length=n)}
                      for pair in PAIRS for n in (5, 6, 7, 9)],
    }
    (out / "golden.json").write_text(json.dumps(record, ensure_ascii=False) + "\n")
    print(len(tokenizer), "tokens", *(name.name for name in out.iterdir()))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
