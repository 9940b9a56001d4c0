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
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
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


def save(out, name, model, seed):
    model.save_pretrained(out / name)
    record_logits(out, name, model, seed)


def record_logits(out, name, model, seed):
    tokens = torch.randint(VOCAB, (2, 12), generator=torch.Generator().manual_seed(seed))
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
    sampling(folder)
