#!/usr/bin/env python3
"""Holds what danlu reads of a GGUF file to llama.cpp: 20 prompts, each continued greedily by llama.cpp, and the logits of
both at every position.

    pip install numpy llama-cpp-python
    danlu import model.gguf --out folder
    cargo build --release --workspace --example logits
    scripts/check_llama_cpp.py model.gguf folder target/release/examples/logits

Prints the share of positions at which both say the same token, the mean KL divergence in nats, and how many of the greedy
continuations are the same to the last token. llama.cpp multiplies quantised weights by activations that it rounds to 8
bits; danlu multiplies the same weights in f32. A second file, the same weights in f32 (`danlu export folder --dtype f32`),
tells rounding from mistakes.
"""

import json
import subprocess
import sys

import llama_cpp
import numpy as np

NEW = 32
PROMPTS = [
    "The capital of France is",
    "def add(a, b):\n    return",
    "Once upon a time, in 1984, there were 3 dogs.",
    "Q: What is 12 + 30?\nA:",
    "I'm sure they've gone; we'll see.",
    "春眠不觉晓，处处闻",
    "Water boils at 100 degrees Celsius because",
    "The three primary colours are",
    "Dear Sir or Madam,\n\nI am writing to",
    "<|im_start|>user\nWho wrote Hamlet?<|im_end|>\n<|im_start|>assistant\n",
    "In mathematics, a prime number is",
    "import numpy as np\n\nx = np.",
    "La capitale de l'Italie est",
    "To be, or not to be, that is the question:",
    "Photosynthesis is the process by which",
    "The quick brown fox jumps over the lazy dog. The quick brown fox",
    "1, 1, 2, 3, 5, 8, 13,",
    "SELECT name FROM users WHERE",
    "Ingredients: 2 eggs, 200 g of flour, 1 pinch of salt. Method:",
    "Einstein was born in",
]


def continued(llama, prompt):
    """Prompt and greedy continuation, and the logits (tokens, vocabulary) of llama.cpp."""
    ids = llama.tokenize(prompt.encode(), add_bos=False, special=True)
    first = len(ids)
    llama.reset()
    llama.eval(ids)
    for _ in range(NEW):
        ids.append(int(np.argmax(llama.scores[len(ids) - 1])))
        llama.eval(ids[-1:])
    return ids, first, np.array(llama.scores[: len(ids)], dtype=np.float64)


def log_softmax(logits):
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def main(gguf, folder, program):
    llama = llama_cpp.Llama(gguf, n_ctx=512, logits_all=True, verbose=False, n_threads=2)
    asked = [continued(llama, prompt) for prompt in PROMPTS]
    lines = "\n".join(json.dumps(ids) for ids, _, _ in asked) + "\n"
    said = subprocess.run([program, folder], input=lines.encode(), stdout=subprocess.PIPE, check=True).stdout
    logits = np.frombuffer(said, dtype="<f4").reshape(sum(len(ids) for ids, _, _ in asked), -1)
    at, positions, same, divergence, worst, greedy = 0, 0, 0, 0.0, 0.0, 0
    for ids, first, theirs in asked:
        ours = logits[at : at + len(ids)].astype(np.float64)
        at += len(ids)
        p, q = log_softmax(theirs), log_softmax(ours)
        agree = theirs.argmax(-1) == ours.argmax(-1)
        positions, same = positions + len(ids), same + int(agree.sum())
        divergence += float((np.exp(p) * (p - q)).sum())
        worst = max(worst, float(np.abs(theirs - ours).max()))
        greedy += bool(agree[first - 1 : -1].all())
    print(f"{positions} positions of {len(asked)} prompts: top-1 agreement {100 * same / positions:.2f}%, "
          f"KL {divergence / positions:.2e}, largest difference {worst:.3g}; "
          f"{greedy} of {len(asked)} greedy continuations of {NEW} tokens are the same")


if __name__ == "__main__":
    main(*sys.argv[1:4])
