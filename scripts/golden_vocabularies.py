#!/usr/bin/env python3
"""Makes the golden files of danlu-convert's readers of vocabularies: small ones of BERT, GPT-2, RoBERTa, Qwen2 and Marian,
trained on the repository's own corpora, and the ids that transformers gives for folders which have nothing else.

    pip install transformers sentencepiece protobuf zstandard
    python scripts/golden_vocabularies.py crates/convert/tests/golden/vocabularies

They were made once, with the version written into golden.json, and are kept in the repository. Each case is a folder of
files, with what else a user's folder may hold beside them (`files`, and `config` for config.json).
"""
import json
import pathlib
import shutil
import sys
import tempfile

import sentencepiece
import transformers
from golden_sentencepiece import ROOT, RULES, corpus
from tokenizers import AddedToken, ByteLevelBPETokenizer, BertWordPieceTokenizer
from transformers import AutoTokenizer

TEXTS = [
    "", " ", "  \t ", "Hello world", " Hello  world ", "The UNWANTED café, naïve ÀÉÎÕÜ!", "春眠不觉晓，处处闻啼鸟。",
    "It was the best of times; I'm sure they've gone, WE'LL see.", "12345 6789 3.14 ½ ²", "line one\nline two\n\n  indented\ttab",
    "emoji 🚀🚀 👩‍👩‍👧 and 𝒳", "ＡＢＣ　ﬁne", "mixed 中英文 text，and more", "don't stop - e\u0301te\u0301", "İstanbul ŞĞ straße",
    "안녕하세요 こんにちは カタカナ", "\u3000全角\u3000空格\u00a0nbsp\u2028line\u200bzero", "a\x00b\x07c\ufffdd\ufeff", "word" * 30,
    "民为贵，社稷次之，君为轻。 The people are the most important.", "trailing space ", "«quotes» — “dashes” … ‰ ©®™", "aaaaaaaaaaaaaaaa", "\n",
    "秦川雄帝宅，函谷壯皇居。The 帝 of 千尋",
]
PAIRS = [["Hello world", "the people"], ["春眠不觉晓", "a b"], ["", "a"]]
SPECIAL = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"]


def token(content, **flags):
    return {"content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, **flags}


def bert(out, lines):
    learner = BertWordPieceTokenizer(lowercase=False, strip_accents=False)
    learner.train_from_iterator(lines + ["café naïve über straße ÀÉ İ the The"] * 3, vocab_size=800, min_frequency=2, show_progress=False)
    learner.save_model(str(out))
    texts = ["x [MASK] y[SEP]z [UNK]", "[mask] [ CLS ]"]
    config = {"model_type": "bert"}
    size = len((out / "vocab.txt").read_text().splitlines())
    told = {"tokenizer_class": "BertTokenizer"}
    yield "bert, lower case", config, {"tokenizer_config.json": told}, texts
    yield "bert, cased", config, {"tokenizer_config.json": {**told, "do_lower_case": False}}, texts
    yield "bert, accents kept", config, {"tokenizer_config.json": {**told, "strip_accents": False}}, texts
    yield "bert, cased without accents", config, {
        "tokenizer_config.json": {**told, "do_lower_case": False, "strip_accents": True}}, texts
    yield "bert, Chinese in words", config, {"tokenizer_config.json": {**told, "tokenize_chinese_chars": False}}, texts
    yield "distilbert, by model_type", {"model_type": "distilbert"}, {
        "added_tokens.json": {"<New>": size, "[X]": size + 1},
        "special_tokens_map.json": {"mask_token": token("[MASK]", lstrip=True), "additional_special_tokens": ["[X]"]},
    }, texts + ["a<new>b <New> [X]y", "a [MASK]b"]
    yield "bert, listed tokens", config, {"tokenizer_config.json": {
        **told, "cls_token": "[SEP]", "sep_token": {"__type": "AddedToken", **token("[CLS]")},
        "added_tokens_decoder": {"0": token("[PAD]", special=True), str(size): token("über", single_word=True, special=False)},
    }}, texts + ["über übern überüber", "ÜBER alles"]


def byte_level(out, lines, special):
    learner = ByteLevelBPETokenizer()
    learner.train_from_iterator(lines, vocab_size=500 + len(special), min_frequency=2, special_tokens=special, show_progress=False)
    learner.save_model(str(out))
    return len(json.loads((out / "vocab.json").read_text()))


def gpt2(out, lines):
    size = byte_level(out, lines, ["<|endoftext|>"])
    texts = ["a<|endoftext|>b", "<|endoftext|> c"]
    config = {"model_type": "gpt2"}
    yield "gpt2", config, {}, texts
    yield "gpt2, with a space and marks", config, {"tokenizer_config.json": {
        "tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True, "add_bos_token": True, "pad_token": "<pad>"}}, texts + ["a <pad>b"]
    yield "gpt2, older files", config, {
        "added_tokens.json": {"<sep>": size, "<Word>": size + 1},
        "special_tokens_map.json": {"bos_token": token("<|endoftext|>", normalized=True), "sep_token": "<sep>"},
    }, texts + ["a <sep> b<Word>c <word>"]
    marks = ["<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"]
    yield "whisper", {"model_type": "whisper"}, {
        "added_tokens.json": {mark: size + i for i, mark in enumerate(marks)},
        "special_tokens_map.json": {"additional_special_tokens": marks, "eos_token": token("<|endoftext|>")},
    }, ["<|startoftranscript|><|en|> Hello<|endoftext|>"]


def roberta(out, lines):
    byte_level(out, lines, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    texts = ["a</s>b <s>", "the<mask>end"]
    usual = {key: token({"bos": "<s>", "cls": "<s>", "unk": "<unk>", "pad": "<pad>"}.get(key[:3], "</s>"), normalized=True)
             for key in SPECIAL[:6]}
    yield "roberta", {"model_type": "roberta"}, {
        "special_tokens_map.json": {**usual, "mask_token": token("<mask>", lstrip=True)}}, texts + ["the <mask> of"]
    yield "bart", {"model_type": "bart"}, {}, texts
    yield "bart, by class", {"model_type": "bart"}, {
        "tokenizer_config.json": {"tokenizer_class": "BartTokenizer", "add_prefix_space": True, "mask_token": "<pad>"}}, texts


def qwen2(out, lines):
    size = byte_level(out, lines, [])
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    texts = ["<|im_start|>user\nhi e\u0301<|im_end|>\n", "a<|endoftext|>b"]
    listed = {str(size + i): token(mark, special=True) for i, mark in enumerate(marks)}
    listed[str(size + 3)] = token("<tool_call>", special=False)
    listed[str(size + 4)] = token("e\u0301t", special=False, normalized=True)
    yield "qwen2", {"model_type": "qwen2"}, {"tokenizer_config.json": {
        "tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": listed, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
        "bos_token": None, "unk_token": None, "add_prefix_space": False, "additional_special_tokens": marks[1:]}}, texts + [
            "<tool_call>{\"a\": 1}", "e\u0301té étude"]
    yield "qwen2, older files", {"model_type": "qwen2"}, {
        "tokenizer_config.json": {"tokenizer_class": "Qwen2Tokenizer", "add_bos_token": False},
        "added_tokens.json": {mark: size + i for i, mark in enumerate(marks)},
        "special_tokens_map.json": {"additional_special_tokens": marks[1:], "eos_token": marks[0], "pad_token": marks[0]},
    }, texts
    yield "qwen2, alone", {"model_type": "qwen2"}, {}, texts


def marian(out, lines):
    latin = [line for line in lines if line.isascii()]
    han = [line for line in lines if not line.isascii()][:24] * 4
    with tempfile.TemporaryDirectory() as work:
        (pathlib.Path(work) / "rules.tsv").write_text(RULES)
        for name, some, size in (("source", latin, 400), ("target", han, 300)):
            prefix = str(pathlib.Path(work) / name)
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(some), model_prefix=prefix, vocab_size=size, num_threads=1, character_coverage=0.995, hard_vocab_limit=False,
                minloglevel=2, normalization_rule_tsv=str(pathlib.Path(work) / "rules.tsv"))
            shutil.copy(prefix + ".model", out / f"{name}.spm")
    pieces = []
    for name in ("source", "target"):
        processor = sentencepiece.SentencePieceProcessor(model_file=str(out / f"{name}.spm"))
        pieces += [processor.id_to_piece(i) for i in range(processor.get_piece_size()) if not processor.is_control(i)]
    # In the order of frequency, as Marian counts them; one of the source is lost.
    rest = sorted(set(pieces) - {"<unk>", "Q"}, key=lambda piece: (len(piece), piece))
    tokens = ["</s>", "<unk>", ">>cmn_Hans<<", *rest, "<pad>"]
    (out / "vocab.json").write_text(json.dumps({text: i for i, text in enumerate(tokens)}, ensure_ascii=False) + "\n")
    told = {"tokenizer_config.json": {"source_lang": "eng", "target_lang": "zho"}}
    yield "marian", {"model_type": "marian"}, told, [
        ">>cmn_Hans<< Hello world", ">>cmn_Hans<<the people", "a</s>b <pad>", "the Queen", "a << b >> c", "▁ already"]


def said(folder, config, files, texts, targets):
    """The ids of transformers for a copy of the folder with other files beside its own."""
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        for path in folder.iterdir():
            shutil.copy(path, work / path.name)
        for name, content in {**files, "config.json": config}.items():
            (work / name).write_text(json.dumps(content), encoding="utf-8")
        tokenizer = AutoTokenizer.from_pretrained(work)
        # danlu writes the beginning of a transcript itself; and Marian has no pairs.
        around = config["model_type"] != "whisper"
        pairs = PAIRS if config["model_type"] not in ("marian", "whisper") else []
        record = {
            "class": type(tokenizer).__name__,
            "texts": [[text, tokenizer(text, add_special_tokens=around)["input_ids"]] for text in TEXTS + texts],
            "pairs": [[*pair, tokenizer(*pair)["input_ids"]] for pair in pairs],
        }
        if targets:
            record["targets"] = [[text, tokenizer(text_target=text)["input_ids"]] for text in TEXTS]
        return record


def main(out):
    lines = corpus()
    record = {"transformers": transformers.__version__, "cases": []}
    for make in (bert, gpt2, roberta, qwen2, marian):
        folder = out / make.__name__
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, config, files, texts in make(folder, lines[:400] if make is not marian else lines):
            found = said(folder, config, files, texts, make is marian)
            record["cases"].append({"name": name, "folder": folder.name, "config": config, "files": files, **found})
    (out / "golden.json").write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")
    print(*(f"{path.relative_to(out)} {path.stat().st_size}" for path in sorted(out.rglob("*")) if path.is_file()), sep="\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
