#!/usr/bin/env python3
"""Makes the golden files of crates/model's encoder-decoders: tiny random models of transformers with what they say.

    pip install torch transformers
    python scripts/golden_encoder_decoders.py crates/model/tests/golden/encoder_decoders

They were made once, with the versions written into each record.json, and are kept in the repository; the Rust tests read
them, so the tests need no Python.
"""
import json
import pathlib
import sys

import torch
import transformers
from transformers import (
    BartConfig, BartForConditionalGeneration, GenerationConfig, MarianConfig, MarianMTModel, MBartConfig,
    MBartForConditionalGeneration, MT5Config, MT5ForConditionalGeneration, T5Config, T5ForConditionalGeneration,
)
from transformers.models.t5.modeling_t5 import T5Attention

VOCAB = 53
SOURCES, TARGETS = [9, 4, 12], [3, 11, 6]
NEW_TOKENS = 7


def enliven(model, seed, spread):
    """Weights large enough that every part has a say; norms and biases away from 1 and 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if not p.requires_grad:
                continue  # Marian's table of sinusoids
            noise = torch.randn(p.shape, generator=generator)
            if p.dim() > 1:
                large = "positions" in name or "bias" in name
                p.copy_(noise * (1.5 if large else 0.4 if "shared" in name or "embed" in name else spread))
            else:
                p.add_(noise * 0.2)
    return model.eval()


def rounded(rows):
    return [[round(x, 6) for x in row] for row in rows.tolist()]


def zigzag(count):
    return torch.tensor([1.0 if (i * 7 + i // 3) % 5 < 2 else -1.0 for i in range(count)], dtype=torch.float64)


def padded(lengths, pad, generator):
    ids = torch.randint(3, VOCAB, (len(lengths), max(lengths)), generator=generator)
    mask = torch.zeros_like(ids)
    for i, length in enumerate(lengths):
        mask[i, :length] = 1
        ids[i, length:] = pad
    return ids, mask


def save(out, name, model, seed, spread=0.45):
    enliven(model, seed, spread)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=model.config.decoder_start_token_id, pad_token_id=model.config.pad_token_id,
        eos_token_id=model.config.eos_token_id)
    model.save_pretrained(out / name)
    # What is recorded has no rounding of its own.
    model.double()
    generator = torch.Generator().manual_seed(seed + 100)
    sources, mask = padded(SOURCES, model.config.pad_token_id, generator)
    targets, _ = padded(TARGETS, model.config.pad_token_id, generator)
    with torch.no_grad():
        said = model(input_ids=sources, attention_mask=mask, decoder_input_ids=targets)
        # One token after the other, each the likeliest.
        greedy = model.generate(input_ids=sources, attention_mask=mask, num_beams=1, do_sample=False,
                                min_new_tokens=NEW_TOKENS, max_new_tokens=NEW_TOKENS)
    # Gradients of the loss of all labels, of each tensor its length and its product with a zigzag.
    labels = padded(TARGETS, -100, generator)[0]
    loss = model(input_ids=sources, attention_mask=mask, decoder_input_ids=targets, labels=labels).loss
    (loss * sum(TARGETS)).backward()
    gradients = {name: [p.grad.norm().item(), (p.grad.flatten() * zigzag(p.numel())).sum().item()]
                 for name, p in model.named_parameters() if p.grad is not None}
    record = {
        "transformers": transformers.__version__,
        "torch": torch.__version__.split("+")[0],
        "sources": [sources[i, :n].tolist() for i, n in enumerate(SOURCES)],
        "targets": [targets[i, :n].tolist() for i, n in enumerate(TARGETS)],
        "encoded": [rounded(said.encoder_last_hidden_state[i, :n]) for i, n in enumerate(SOURCES)],
        "logits": [rounded(said.logits[i, :n]) for i, n in enumerate(TARGETS)],
        "greedy": greedy[:, 1:].tolist(),
        "labels": [labels[i, :n].tolist() for i, n in enumerate(TARGETS)],
        "gradients": {name: [round(x, 6) for x in both] for name, both in gradients.items()},
    }
    (out / name / "record.json").write_text(json.dumps(record) + "\n")
    print(name, "largest", said.logits.abs().max().item(), record["greedy"])


def own_head(model):
    """A head of its own, which version 5 of transformers gives no new model."""
    model.lm_head.weight = torch.nn.Parameter(torch.zeros_like(model.lm_head.weight))
    return model


def main(out):
    bart = dict(vocab_size=VOCAB, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
                decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, max_position_embeddings=20,
                forced_eos_token_id=None)
    marian = MarianMTModel(MarianConfig(**bart, activation_function="swish", scale_embedding=True, pad_token_id=52,
                                        eos_token_id=0, decoder_start_token_id=52))
    marian.final_logits_bias.copy_(torch.randn(1, VOCAB, generator=torch.Generator().manual_seed(9)))
    save(out, "marian", marian, 1)
    save(out, "bart", BartForConditionalGeneration(BartConfig(**bart)), 2)
    save(out, "mbart", MBartForConditionalGeneration(
        MBartConfig(**bart | dict(decoder_layers=1), scale_embedding=True, activation_function="relu",
                    decoder_start_token_id=2)), 3)
    # Few buckets, so that the targets here reach all of them.
    t5 = dict(vocab_size=VOCAB, d_model=16, d_kv=6, d_ff=24, num_layers=2, num_heads=3, decoder_start_token_id=0,
              relative_attention_num_buckets=8, relative_attention_max_distance=10)
    save(out, "t5", T5ForConditionalGeneration(T5Config(**t5)), 4, 0.35)
    save(out, "t5_gated", own_head(T5ForConditionalGeneration(
        T5Config(**t5, num_decoder_layers=1, feed_forward_proj="gated-gelu", tie_word_embeddings=False))), 5, 0.35)
    save(out, "mt5", own_head(MT5ForConditionalGeneration(MT5Config(**t5))), 6, 0.35)
    distances = torch.arange(-300, 301)
    buckets = {way: T5Attention._relative_position_bucket(distances, way == "both", 32, 128).tolist()
               for way in ("both", "causal")}
    (out / "buckets.json").write_text(json.dumps({"first": -300} | buckets) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    main(folder)
