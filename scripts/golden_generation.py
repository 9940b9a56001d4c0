#!/usr/bin/env python3
"""Makes crates/model/tests/golden/generation.json: beam search of transformers on the tiny models that golden_logits.py
made, and what its typical sampling keeps.

    pip install torch transformers
    python scripts/golden_generation.py crates/model/tests/golden

It was made once, with the versions written into it, and is kept in the repository; the Rust tests read it.
"""
import json
import pathlib
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM
from transformers.generation import logits_process as lp

SETTINGS = [
    dict(num_beams=1),
    dict(num_beams=4, num_return_sequences=4),
    dict(num_beams=4, num_return_sequences=4, length_penalty=0.0),
    dict(num_beams=4, num_return_sequences=4, length_penalty=2.0),
    dict(num_beams=4, num_return_sequences=2, length_penalty=-1.0),
    dict(num_beams=5, num_return_sequences=3, early_stopping=True),
    dict(num_beams=3, num_return_sequences=3, early_stopping="never", length_penalty=1.5),
    dict(num_beams=3, num_return_sequences=3, early_stopping="never", length_penalty=0.0),
    dict(num_beams=4, num_return_sequences=2, no_repeat_ngram_size=2),
    dict(num_beams=4, num_return_sequences=2, min_new_tokens=6),
    dict(num_beams=4, num_return_sequences=2, repetition_penalty=1.6),
]


def searches(out, name, ends, lengths, max_new_tokens=14):
    model = AutoModelForCausalLM.from_pretrained(out / name, dtype=torch.float32).eval()
    cases = []
    generator = torch.Generator().manual_seed(len(name))
    for settings in SETTINGS:
        for length in lengths:
            prompt = torch.randint(3, model.config.vocab_size, (1, length), generator=generator)
            found = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, eos_token_id=ends,
                                   pad_token_id=0, max_new_tokens=max_new_tokens, return_dict_in_generate=True,
                                   output_scores=True, **settings)
            sequences = [row[length:].tolist() for row in found.sequences]
            results = []
            for tokens in sequences:
                cut = next((i for i, token in enumerate(tokens) if token in ends), None)
                results.append(dict(tokens=tokens[:cut], stopped=cut is not None))
            scores = found.sequences_scores.tolist() if settings["num_beams"] > 1 else None
            cases.append(dict(model=name, settings=settings, stop_tokens=ends, max_tokens=max_new_tokens,
                              prompt=prompt[0].tolist(), results=results, scores=scores))
    return cases


def typical(generator):
    cases = []
    for mass, scale, temperature in [(0.2, 2.0, 1.0), (0.5, 1.0, 1.0), (0.9, 3.0, 1.0), (0.95, 0.3, 0.7), (0.01, 2.0, 1.5)]:
        logits = torch.randn(1, 50, generator=generator) * scale
        scores = lp.TypicalLogitsWarper(mass)(None, logits / temperature)
        kept = [i for i, x in enumerate(scores[0].tolist()) if x != float("-inf")]
        cases.append(dict(typical_p=mass, temperature=temperature, logits=logits[0].tolist(), kept=kept))
    return cases


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    record = dict(transformers=transformers.__version__, torch=torch.__version__.split("+")[0])
    # End tokens that the models do come to.
    record["searches"] = [case for name, ends in [("llama_tied", [3, 58]), ("gpt2", [53])]
                          for case in searches(folder, name, ends, (1, 5))]
    record["typical"] = typical(torch.Generator().manual_seed(3))
    text = json.dumps(record)
    (folder / "generation.json").write_text(text + "\n")
    ended = sum(result["stopped"] for case in record["searches"] for result in case["results"])
    print(len(record["searches"]), "searches,", ended, "results ended by a stop token,", len(text), "bytes")
