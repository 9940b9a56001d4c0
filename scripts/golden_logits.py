#!/usr/bin/env python3
"""Makes the golden files of crates/model: tiny random models of transformers with their logits, and sampling cases.

    pip install torch transformers
    python scripts/golden_logits.py crates/model/tests/golden

They were made once, with the versions written into each logits.json, and are kept in the repository; the Rust tests read
them, so the tests need no Python.
"""
import json
import pathlib
import sys

import torch
import transformers
from transformers import (Gemma2Config, Gemma2ForCausalLM, Gemma3ForCausalLM, Gemma3TextConfig, GemmaConfig,
                          GemmaForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, MistralConfig,
                          MistralForCausalLM, MixtralConfig, MixtralForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)
from transformers.generation import logits_process as lp

VOCAB = 67


def enliven(model, seed):
    """Weights large enough that every part has a say in the logits; norms and biases away from 1 and 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if p.dim() > 1:
                p.copy_(noise * (1.0 if "embed" in name or "wte" in name else 0.25))
            else:
                p.add_(noise * 0.2)
    return model.eval()


def save(out, name, model, seed, shape=(2, 12)):
    model.save_pretrained(out / name)
    record_logits(out, name, model, seed, shape)


def record_logits(out, name, model, seed, shape=(2, 12)):
    tokens = torch.randint(model.config.vocab_size, shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        logits = model(tokens).logits
    record = {
        "transformers": transformers.__version__,
        "torch": torch.__version__.split("+")[0],
        "tokens": tokens.tolist(),
        "logits": [[[round(x, 7) for x in row] for row in sequence] for sequence in logits.tolist()],
    }
    (out / name / "logits.json").write_text(json.dumps(record) + "\n")
    print(name, "largest logit", logits.abs().max().item())


def models(out):
    llama = dict(vocab_size=VOCAB, hidden_size=32, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4,
                 max_position_embeddings=48, bos_token_id=1, eos_token_id=2)
    tied = LlamaConfig(**llama, num_key_value_heads=2, tie_word_embeddings=True)
    save(out, "llama_tied", enliven(LlamaForCausalLM(tied), 1), 11)
    untied = LlamaConfig(**llama, num_key_value_heads=1, head_dim=12, attention_bias=True, mlp_bias=True,
                         tie_word_embeddings=False, rms_norm_eps=1e-5,
                         rope_parameters={"rope_type": "default", "rope_theta": 50000.0})
    save(out, "llama_untied", enliven(LlamaForCausalLM(untied), 2), 12)
    half = enliven(LlamaForCausalLM(LlamaConfig(**llama, num_key_value_heads=4, tie_word_embeddings=False)), 3)
    half.to(torch.bfloat16).save_pretrained(out / "llama_bf16")
    # Read back rather than converted in place, which would leave the rotary frequencies rounded.
    record_logits(out, "llama_bf16", LlamaForCausalLM.from_pretrained(out / "llama_bf16", dtype=torch.float32), 13)
    gpt2 = GPT2Config(vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=48, bos_token_id=1, eos_token_id=2)
    save(out, "gpt2", enliven(GPT2LMHeadModel(gpt2), 4), 14)


def families(out):
    """The families beside Llama and GPT-2, each with what it has of its own; sequences outlast every window."""
    small = dict(vocab_size=VOCAB, hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=3,
                 num_key_value_heads=1, max_position_embeddings=48, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    slide, full = "sliding_attention", "full_attention"
    for seed, (name, model, config) in enumerate([
        ("qwen2", Qwen2ForCausalLM, Qwen2Config(**small, tie_word_embeddings=True)),
        ("qwen2_sliding", Qwen2ForCausalLM, Qwen2Config(**small, use_sliding_window=True, sliding_window=5,
                                                        max_window_layers=1)),
        ("qwen3", Qwen3ForCausalLM, Qwen3Config(**small, head_dim=12, tie_word_embeddings=True)),
        ("mistral", MistralForCausalLM, MistralConfig(**small, sliding_window=7)),
        ("gemma", GemmaForCausalLM, GemmaConfig(**small, head_dim=16)),
        ("gemma2", Gemma2ForCausalLM, Gemma2Config(**small, head_dim=16, query_pre_attn_scalar=20, sliding_window=5,
                                                   attn_logit_softcapping=2.0, final_logit_softcapping=20.0)),
        ("gemma3", Gemma3ForCausalLM, Gemma3TextConfig(
            **small, head_dim=16, query_pre_attn_scalar=20, sliding_window=5, layer_types=[slide, full],
            rope_parameters={full: {"rope_type": "linear", "factor": 4.0, "rope_theta": 50000.0},
                             slide: {"rope_type": "default", "rope_theta": 3000.0}})),
        ("mixtral", MixtralForCausalLM, MixtralConfig(**dict(small, intermediate_size=16), num_local_experts=4,
                                                      sliding_window=7)),
    ]):
        # Other implementations of attention leave soft-caps out.
        model = model._from_config(config, attn_implementation="eager")
        save(out, name, enliven(model, 20 + seed), 40 + seed, (1, 24))


def scaled_positions(out):
    """Llama with rotary positions scaled in each way."""
    small = dict(vocab_size=31, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=1,
                 max_position_embeddings=48, bos_token_id=1, eos_token_id=2, tie_word_embeddings=True)
    for seed, (name, rope) in enumerate([
        ("linear", dict(rope_type="linear", factor=3.0)),
        ("dynamic", dict(rope_type="dynamic", factor=2.0)),
        ("yarn", dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=12, beta_fast=2.0, beta_slow=0.3)),
        ("yarn_mscale", dict(rope_type="yarn", factor=8.0, original_max_position_embeddings=24, mscale=1.2,
                             mscale_all_dim=0.7, truncate=False, beta_fast=4.0)),
        ("llama3", dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                        original_max_position_embeddings=16)),
    ]):
        config = LlamaConfig(**small, rope_parameters=dict(rope, rope_theta=500.0))
        save(out, f"rope_{name}", enliven(LlamaForCausalLM(config), 60 + seed), 70 + seed, (1, 32))


def sampling(out):
    """What transformers makes of the same logits: the probabilities after each chain of processors."""
    generator = torch.Generator().manual_seed(5)
    cases = []
    for i, settings in enumerate([
        dict(temperature=0.7), dict(top_k=5), dict(top_p=0.8), dict(min_p=0.1), dict(repetition_penalty=1.3),
        dict(temperature=1.5, top_k=12, top_p=0.9, min_p=0.05, repetition_penalty=1.2),
        dict(temperature=0.3, top_p=0.5), dict(top_k=1), dict(top_p=0.01), dict(repetition_penalty=0.8, top_k=3),
    ]):
        logits = torch.randn(1, 40, generator=generator) * 2
        history = torch.randint(40, (1, 9), generator=generator)
        chain = [lp.RepetitionPenaltyLogitsProcessor(settings.get("repetition_penalty", 1.0))]
        if "temperature" in settings:
            chain.append(lp.TemperatureLogitsWarper(settings["temperature"]))
        if "top_k" in settings:
            chain.append(lp.TopKLogitsWarper(settings["top_k"]))
        if "top_p" in settings:
            chain.append(lp.TopPLogitsWarper(settings["top_p"]))
        if "min_p" in settings:
            chain.append(lp.MinPLogitsWarper(settings["min_p"]))
        scores = logits
        for processor in chain:
            scores = processor(history, scores)
        cases.append(dict(settings=settings, logits=logits[0].tolist(), history=history[0].tolist(),
                          probabilities=torch.softmax(scores.double(), -1)[0].tolist()))
    (out / "sampling.json").write_text(json.dumps(cases) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    models(folder)
    families(folder)
    scaled_positions(folder)
    sampling(folder)
