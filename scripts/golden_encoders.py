#!/usr/bin/env python3
"""Makes the golden files of crates/model's encoders: tiny random models of transformers with what they say.

    pip install torch transformers
    python scripts/golden_encoders.py crates/model/tests/golden/encoders

They were made once, with the versions written into each record.json, and are kept in the repository; the Rust tests read
them, so the tests need no Python.
"""
import json
import pathlib
import sys

import torch
import transformers
from transformers import (
    BertConfig, BertForMaskedLM, BertForSequenceClassification, BertForTokenClassification, BertModel,
    DistilBertConfig, DistilBertForMaskedLM, DistilBertForSequenceClassification, RobertaConfig, RobertaForMaskedLM,
    RobertaForSequenceClassification, RobertaForTokenClassification,
)

VOCAB = 53
LENGTHS = [9, 4, 12]


def enliven(model, seed):
    """Weights large enough that every part has a say; norms and biases away from 1 and 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if p.dim() > 1:
                p.copy_(noise * (1.0 if "embed" in name else 0.3))
            else:
                p.add_(noise * 0.2)
    return model.eval()


def rounded(rows):
    return [[round(x, 6) for x in row] for row in rows.tolist()]


def save(out, name, model, seed, types):
    enliven(model, seed)
    model.save_pretrained(out / name)
    generator = torch.Generator().manual_seed(seed + 100)
    longest, batch = max(LENGTHS), len(LENGTHS)
    # Not the padding tokens of any kind, 0 and 1: RoBERTa would count them out of its positions.
    ids = torch.randint(2, VOCAB, (batch, longest), generator=generator)
    kinds = torch.randint(2, (batch, longest), generator=generator)
    mask = torch.zeros(batch, longest, dtype=torch.long)
    pad = model.config.pad_token_id
    for i, length in enumerate(LENGTHS):
        mask[i, :length] = 1
        ids[i, length:] = pad
    given = {"input_ids": ids, "attention_mask": mask} | ({"token_type_ids": kinds} if types else {})
    with torch.no_grad():
        said = model(**given, output_hidden_states=True)
    hidden = said.hidden_states[-1]
    logits = said.logits if "logits" in said else said.pooler_output
    record = {
        "transformers": transformers.__version__,
        "torch": torch.__version__.split("+")[0],
        "ids": [ids[i, :n].tolist() for i, n in enumerate(LENGTHS)],
        "types": [kinds[i, :n].tolist() for i, n in enumerate(LENGTHS)] if types else [],
        "hidden": [rounded(hidden[i, :n]) for i, n in enumerate(LENGTHS)],
        # One row for each sequence, or for each of its tokens.
        "logits": [rounded(logits[i, :n] if logits.dim() == 3 else logits[i:i + 1]) for i, n in enumerate(LENGTHS)],
    }
    (out / name / "record.json").write_text(json.dumps(record) + "\n")
    print(name, "largest", logits.abs().max().item())


def main(out):
    shape = dict(vocab_size=VOCAB, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
                 max_position_embeddings=20)
    labels = {0: "bad", 1: "fair", 2: "good"}
    named = dict(id2label=labels, label2id={v: k for k, v in labels.items()})
    save(out, "bert_pooler", BertModel(BertConfig(**shape)), 1, True)
    save(out, "bert_masked", BertForMaskedLM(BertConfig(**shape, hidden_act="gelu_new")), 2, True)
    save(out, "bert_sequence", BertForSequenceClassification(BertConfig(**shape, **named)), 3, True)
    save(out, "bert_tokens", BertForTokenClassification(BertConfig(**shape, **named)), 4, False)
    roberta = dict(shape, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1)
    save(out, "roberta_masked", RobertaForMaskedLM(RobertaConfig(**roberta)), 5, False)
    save(out, "roberta_sequence", RobertaForSequenceClassification(
        RobertaConfig(**roberta, num_labels=1, problem_type="regression")), 6, False)
    save(out, "roberta_tokens", RobertaForTokenClassification(RobertaConfig(**roberta, **named)), 7, False)
    distil = dict(vocab_size=VOCAB, dim=16, n_layers=2, n_heads=2, hidden_dim=24, max_position_embeddings=20)
    save(out, "distilbert_masked", DistilBertForMaskedLM(DistilBertConfig(**distil)), 8, False)
    save(out, "distilbert_sequence", DistilBertForSequenceClassification(
        DistilBertConfig(**distil, **named, problem_type="multi_label_classification")), 9, False)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    main(folder)
