#!/usr/bin/env python3
"""Makes the golden files of danlu-convert's tokenizers: small SentencePiece models and a file of tiktoken, trained on the
repository's own corpora, with the ids of their own packages.

    pip install sentencepiece tiktoken zstandard
    python scripts/golden_sentencepiece.py crates/convert/tests/golden

They were made once, with the versions written into tokenizers.json, and are kept in the repository.
"""
import base64
import json
import pathlib
import sys
import tempfile
import unicodedata

import sentencepiece
import tiktoken
import zstandard
from tiktoken._educational import bpe_train

ROOT = pathlib.Path(__file__).parent.parent
TEXTS = [
    "", " ", "  ", "Hello world", " Hello  world ", "The UNWANTED café, naïve!", "春眠不觉晓，处处闻啼鸟。",
    "夜来风雨声，花落知多少。床前明月光", "It was the best of times, it was the worst of times.", "12345 6789 3.14 ½ ²",
    "line one\nline two\n\n  indented\ttab", "▁ already here", "▁▁x", "emoji 🚀🚀 and 𝒳", "ＡＢＣ　ﬁne", "mixed 中英文 text，and more",
    "I'm sure they've gone; we'll see.", "Four score and seven years ago our fathers brought forth", "a", "的", "<sep> x<sep>y ab<sep>",
    "don't stop - e\u0301te\u0301", "民为贵，社稷次之，君为轻。 The people are the most important.", "aaaaaaaaaaaaaaaa", "\u3000全角\u3000空格",
    "trailing space ", "\n", "word" * 12,
]
RULES = "FF21\t41\nFF22\t42\nFF23\t43\n3000\t20\nFB01\t66 69\n9\t20\n"
MODELS = {
    "unigram": dict(model_type="unigram", vocab_size=650, normalization_rule="rules"),
    "unigram_bytes": dict(model_type="unigram", vocab_size=900, byte_fallback=True, normalization_rule_name="identity"),
    "bpe": dict(model_type="bpe", vocab_size=1000, byte_fallback=True, normalization_rule_name="identity",
                remove_extra_whitespaces=False, split_digits=True, allow_whitespace_only_pieces=True),
    "bpe_own": dict(model_type="bpe", vocab_size=700, normalization_rule="rules", user_defined_symbols=["<sep>", "ab", "▁x"],
                    pad_id=3),
    "bpe_plain": dict(model_type="bpe", vocab_size=900, byte_fallback=True, normalization_rule_name="identity",
                      remove_extra_whitespaces=False, add_dummy_prefix=False),
}
LLAMA3 = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
QWEN = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


def corpus():
    """Some lines of each corpus: few enough that the Chinese characters among them fit into a small vocabulary."""
    lines = []
    for path, most in ((ROOT / "corpora/tang-poems.jsonl.zst", 60), (ROOT / "corpora/state-of-the-union.jsonl.zst", 1200)):
        data = zstandard.ZstdDecompressor().stream_reader(path.open("rb")).read()
        texts = (json.loads(line)["text"] for line in data.decode("utf-8").splitlines())
        lines += [line for text in texts for line in text.replace(". ", ".\n").splitlines() if line.strip()][:most]
    return lines


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    lines = corpus()
    record = {"sentencepiece": sentencepiece.__version__, "tiktoken": tiktoken.__version__, "texts": TEXTS, "models": {}}
    for name, options in MODELS.items():
        options = dict(options)
        with tempfile.TemporaryDirectory() as work:
            work = pathlib.Path(work)
            if options.pop("normalization_rule", None):
                (work / "rules.tsv").write_text(RULES)
                options["normalization_rule_tsv"] = str(work / "rules.tsv")
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines), model_prefix=str(work / name), character_coverage=0.98, num_threads=1,
                minloglevel=2, **options)
            (out / f"{name}.model").write_bytes((work / f"{name}.model").read_bytes())
        processor = sentencepiece.SentencePieceProcessor(model_file=str(out / f"{name}.model"))
        record["models"][name] = [processor.encode(text) for text in TEXTS]

    ranks = bpe_train("\n".join(lines[:500]), 640, QWEN, visualise=None)
    path = out / "qwen.tiktoken"
    path.write_bytes(b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items()))
    for name, pattern in {"qwen.tiktoken": QWEN, "tokenizer.model": LLAMA3}.items():
        encoding = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        # Qwen brings text to form C first.
        form = (lambda text: unicodedata.normalize("NFC", text)) if name == "qwen.tiktoken" else (lambda text: text)
        record["models"][name] = [encoding.encode(form(text), disallowed_special=()) for text in TEXTS]
    (out / "tokenizers.json").write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")
    print(*(f"{path.name} {path.stat().st_size}" for path in sorted(out.iterdir())), sep="\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
