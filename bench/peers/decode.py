"""Greedy generation one token at a time with a static cache of keys and values, as gpt-fast does it: the position is a
tensor, so that the compiled step is compiled once. f32 weights."""

import json
import time

import torch
import torch.nn.functional as F

import common
import models

WARM_UP = 4

args = common.arguments(mode="eager", seconds=0.0, like="")
wanted = json.loads(args.like)
torch.manual_seed(1)
shape, model = models.build(wanted["model"])
assert shape.kind == "gpt2", "only the GPT-2 shapes have a decoding step here"
model.eval()


class Step(torch.nn.Module):
    """New tokens (batch, count) at `positions` (count) -> the likeliest next token of each sequence (batch, 1)."""

    def __init__(self, model, batch):
        super().__init__()
        self.model, heads = model, (batch, shape.heads, shape.seq, shape.width // shape.heads)
        for i in range(shape.layers):
            self.register_buffer(f"keys_{i}", torch.zeros(heads))
            self.register_buffer(f"values_{i}", torch.zeros(heads))
        self.register_buffer("mask", torch.ones(shape.seq, shape.seq, dtype=torch.bool).tril())

    def attend(self, i, block, x, positions, held):
        b, t, d = x.shape
        q, k, v = (y.view(b, t, shape.heads, -1).transpose(1, 2) for y in block.qkv(x).split(d, dim=2))
        keys, values = getattr(self, f"keys_{i}"), getattr(self, f"values_{i}")
        keys.index_copy_(2, positions, k)
        values.index_copy_(2, positions, v)
        if held is None:
            y = F.scaled_dot_product_attention(q, keys, values, attn_mask=self.mask[positions])
        else:  # only what is filled; as one new token sees all of it, no mask is needed
            y = F.scaled_dot_product_attention(q, keys[:, :, :held], values[:, :, :held], is_causal=t > 1)
        return block.proj(y.transpose(1, 2).reshape(b, t, d))

    def forward(self, ids, positions, held=None):
        m = self.model
        x = m.tokens(ids) + m.positions(positions)
        for i, block in enumerate(m.blocks):
            x = x + self.attend(i, block, block.ln_1(x), positions, held)
            x = x + block.down(F.gelu(block.up(block.ln_2(x)), approximate="tanh"))
        return m.head(m.norm(x[:, -1:])).argmax(-1)


def seconds(batch):
    """Seconds of each timed step."""
    step, prompt = Step(model, batch), wanted["prompt"]
    compiled = torch.compile(step) if args.mode == "compile" else None
    next_ids = step(torch.randint(shape.vocab, (batch, prompt)), torch.arange(prompt), prompt)
    times = []
    for i in range(WARM_UP + wanted["tokens"]):
        start = time.perf_counter()
        position = torch.tensor([prompt + i])
        next_ids = compiled(next_ids, position) if compiled is not None else step(next_ids, position, prompt + i + 1)
        next_ids.tolist()
        if i >= WARM_UP:
            times.append(time.perf_counter() - start)
    return times


def rate(case):
    times = sorted(seconds(case["batch"]))
    return case["batch"] / times[len(times) // 2]


parameters = sum(p.numel() for p in model.parameters())
assert parameters == wanted["parameters"], f"{parameters} parameters, danlu has {wanted['parameters']}"
with torch.no_grad():
    cases = [{**case, "tokens_per_second": rate(case)} for case in wanted["cases"] if case["weights"] == "f32"]
common.finish(mode=args.mode, cases=cases)
