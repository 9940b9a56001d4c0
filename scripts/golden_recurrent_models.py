#!/usr/bin/env python3
"""Makes the recurrent golden models of crates/model: tiny random models in danlu's layout, and the logits that
torch.nn.LSTM, GRU and RNN give with the same weights.

    pip install torch safetensors
    python scripts/golden_recurrent_models.py crates/model/tests/golden

They were made once, with the versions written into each logits.json, and are kept in the repository; the Rust tests read
them, so the tests need no Python.
"""
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
from torch import nn

VOCAB = 67


class RecurrentLm(nn.Module):
    """Embedding, recurrent layers, a projection where widths differ, and a head that may be the embedding."""

    def __init__(self, settings):
        super().__init__()
        s = settings
        embedding = s.get("embedding_size", s["hidden_size"])
        self.embed = nn.Embedding(VOCAB, embedding)
        kind = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[s["architecture"]]
        options = {"nonlinearity": s["nonlinearity"]} if "nonlinearity" in s else {}
        self.layers = kind(embedding, s["hidden_size"], s["layers"], bias=s.get("bias", True), batch_first=True, **options)
        self.projection = None
        if embedding != s["hidden_size"]:
            self.projection = nn.Linear(s["hidden_size"], embedding, bias=False)
        self.head = nn.Linear(embedding, VOCAB, bias=False)
        if s["tied"]:
            self.head.weight = self.embed.weight

    def forward(self, tokens, state=None):
        x, state = self.layers(self.embed(tokens), state)
        return self.head(x if self.projection is None else self.projection(x)), state

    def tensors(self):
        """By danlu's names; PyTorch says `weight_ih_l0` where danlu says `layers.0.weight_ih`."""
        named = {"model.embed_tokens.weight": self.embed.weight}
        for name, value in self.layers.named_parameters():
            part, layer = name.rsplit("_l", 1)
            named[f"model.layers.{layer}.{part}"] = value
        if self.projection is not None:
            named["model.projection.weight"] = self.projection.weight
        if self.head.weight is not self.embed.weight:
            named["lm_head.weight"] = self.head.weight
        return {name: value.detach().contiguous() for name, value in named.items()}


def save(out, name, seed, scale=0.35, **settings):
    generator = torch.Generator().manual_seed(seed)
    model = RecurrentLm(settings).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * (1.0 if p.shape[0] == VOCAB else scale))
    folder = out / name
    folder.mkdir(exist_ok=True)
    config = {
        "architectures": ["DanluForCausalLM"], "model_type": "danlu", "vocab_size": VOCAB, "bos_token_id": 1,
        "eos_token_id": 2, "danlu": {"max_seq_len": 48, **settings},
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file(model.tensors(), folder / "model.safetensors", {"format": "pt"})
    tokens = torch.randint(VOCAB, (2, 12), generator=generator)
    with torch.no_grad():
        logits, _ = model(tokens)
    record = {
        "torch": torch.__version__.split("+")[0],
        "tokens": tokens.tolist(),
        "logits": [[[round(x, 6) for x in row] for row in sequence] for sequence in logits.tolist()],
    }
    (folder / "logits.json").write_text(json.dumps(record) + "\n")
    print(name, "largest logit", logits.abs().max().item())


def main():
    out = pathlib.Path(sys.argv[1])
    save(out, "lstm", 1, architecture="lstm", layers=2, hidden_size=20, embedding_size=12, tied=True)
    save(out, "gru", 2, architecture="gru", layers=2, hidden_size=16, tied=False)
    save(out, "rnn_tanh", 3, architecture="rnn", layers=2, hidden_size=16, nonlinearity="tanh", tied=True)
    # ReLU's states would grow.
    save(out, "rnn_relu", 4, 0.2, architecture="rnn", layers=1, hidden_size=14, embedding_size=18, nonlinearity="relu",
         bias=False, tied=False)


main()
