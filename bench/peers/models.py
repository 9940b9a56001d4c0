"""The workloads of `danlu bench`, as PyTorch's users write them: the same shapes, first weights and loss."""

import math
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

STD = 0.02


@dataclass(frozen=True)
class Shape:
    """One workload. `kind` is gpt2, llama, lstm or gru."""

    kind: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    seq: int
    batch: int
    vocab: int


SHAPES = {
    "XS": Shape("gpt2", 2, 32, 2, 2, 16, 2, 96),
    "S": Shape("gpt2", 6, 384, 6, 6, 256, 16, 8192),
    "M": Shape("gpt2", 12, 768, 12, 12, 256, 4, 50257),
    "L": Shape("llama", 8, 512, 8, 2, 1024, 4, 32000),
    "LSTM": Shape("lstm", 2, 512, 0, 0, 128, 32, 8192),
    "GRU": Shape("gru", 2, 512, 0, 0, 128, 32, 8192),
}


class Gpt2Block(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.heads = s.heads
        self.ln_1, self.ln_2 = nn.LayerNorm(s.width), nn.LayerNorm(s.width)
        self.qkv, self.proj = nn.Linear(s.width, 3 * s.width), nn.Linear(s.width, s.width)
        self.up, self.down = nn.Linear(s.width, 4 * s.width), nn.Linear(4 * s.width, s.width)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.qkv(self.ln_1(x)).split(d, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, d))
        return x + self.down(F.gelu(self.up(self.ln_2(x)), approximate="tanh"))


class Gpt2(nn.Module):
    """LayerNorm, GELU (tanh), learned positions, biases; the head has its own weight and no bias."""

    def __init__(self, s):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(s.vocab, s.width), nn.Embedding(s.seq, s.width)
        self.blocks = nn.ModuleList(Gpt2Block(s) for _ in range(s.layers))
        self.norm = nn.LayerNorm(s.width)
        self.head = nn.Linear(s.width, s.vocab, bias=False)

    def forward(self, ids, targets):
        x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return loss(self.head(self.norm(x)), targets)


def rotate(x, cos, sin):
    """Rotary positions in the `rotate_half` convention; x is (batch, heads, time, head_dim)."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).type_as(x)


class LlamaBlock(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = s.heads, s.kv_heads, s.width // s.heads
        kv, ffn = s.kv_heads * self.head_dim, math.ceil(s.width * 8 // 3 / 64) * 64
        self.norm_1, self.norm_2 = nn.RMSNorm(s.width, eps=1e-5), nn.RMSNorm(s.width, eps=1e-5)
        self.q, self.k, self.v = (nn.Linear(s.width, n, bias=False) for n in (s.width, kv, kv))
        self.proj = nn.Linear(s.width, s.width, bias=False)
        self.gate, self.up = (nn.Linear(s.width, ffn, bias=False) for _ in range(2))
        self.down = nn.Linear(ffn, s.width, bias=False)

    def forward(self, x, cos, sin):
        b, t, d = x.shape
        h = self.norm_1(x)
        q = rotate(self.q(h).view(b, t, self.heads, -1).transpose(1, 2), cos, sin)
        k = rotate(self.k(h).view(b, t, self.kv_heads, -1).transpose(1, 2), cos, sin)
        v = self.v(h).view(b, t, self.kv_heads, -1).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, d))
        h = self.norm_2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    """RMSNorm, rotary positions, grouped queries, SwiGLU, no biases; the head has its own weight."""

    def __init__(self, s):
        super().__init__()
        self.tokens = nn.Embedding(s.vocab, s.width)
        self.blocks = nn.ModuleList(LlamaBlock(s) for _ in range(s.layers))
        self.norm = nn.RMSNorm(s.width, eps=1e-5)
        self.head = nn.Linear(s.width, s.vocab, bias=False)
        half = s.width // s.heads // 2
        angles = torch.outer(torch.arange(s.seq).double(), 10_000.0 ** (-torch.arange(half).double() / half))
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def forward(self, ids, targets):
        x = self.tokens(ids)
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        for block in self.blocks:
            x = block(x, cos, sin)
        return loss(self.head(self.norm(x)), targets)


class Recurrent(nn.Module):
    """Embedding, LSTM or GRU, linear head. The sequence runs in time-major order, which nn.LSTM likes best."""

    def __init__(self, s):
        super().__init__()
        self.tokens = nn.Embedding(s.vocab, s.width)
        self.cells = {"lstm": nn.LSTM, "gru": nn.GRU}[s.kind](s.width, s.width, s.layers)
        self.head = nn.Linear(s.width, s.vocab, bias=False)

    def forward(self, ids, targets):
        x, _ = self.cells(self.tokens(ids.t()))
        return loss(self.head(x), targets.view_as(ids).t().reshape(-1))


def loss(logits, targets):
    return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets)


def build(name):
    """The model of a workload, with danlu's first weights in distribution: normal with deviation 0.02, the projections
    into the residual stream smaller by sqrt(2 layers), biases 0, norms 1."""
    s = SHAPES[name]
    model = {"gpt2": Gpt2, "llama": Llama, "lstm": Recurrent, "gru": Recurrent}[s.kind](s)
    for key, p in model.named_parameters():
        if p.dim() > 1:
            residual = key.endswith(("proj.weight", "down.weight"))
            nn.init.normal_(p, std=STD / math.sqrt(2 * s.layers) if residual else STD)
        elif "bias" in key:
            nn.init.zeros_(p)
    return s, model
