"""One training process: forward, backward, global-norm clip, fused AdamW. Ends with one line of JSON."""

import time

import torch
import torch.nn as nn

import common
import models

WARM_UP = 2

args = common.arguments(model="S", precision="f32", mode="eager", seconds=8.0, steps=0)
torch.manual_seed(1)
shape, model = models.build(args.model)
decayed = [p for p in model.parameters() if p.dim() > 1]
plain = [p for p in model.parameters() if p.dim() <= 1]
groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
optimizer = torch.optim.AdamW(groups, lr=3e-4, fused=True)
parameters = decayed + plain
forward = torch.compile(model) if args.mode == "compile" else model
autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.precision == "bf16")
ids = torch.randint(shape.vocab, (shape.batch, shape.seq))
targets = torch.randint(shape.vocab, (shape.batch * shape.seq,))


def step():
    with autocast:
        loss = forward(ids, targets)
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()


losses = [step() for _ in range(WARM_UP)]
times, begun = [], time.perf_counter()
while len(times) < (args.steps or 3) or (not args.steps and time.perf_counter() - begun < args.seconds):
    start = time.perf_counter()
    losses.append(step())
    times.append(time.perf_counter() - start)

note = None
if args.mode == "compile":
    breaks = sum(torch._dynamo.utils.counters["graph_break"].values())
    if breaks:
        note = f"torch.compile broke the graph in {breaks} places and ran the rest eagerly"

common.finish(
    mode=args.mode,
    model=args.model,
    precision=args.precision,
    parameters=sum(p.numel() for p in parameters),
    tokens_per_step=shape.batch * shape.seq,
    step_seconds=times,
    first_loss=losses[0],
    last_loss=losses[-1],
    note=note,
)
