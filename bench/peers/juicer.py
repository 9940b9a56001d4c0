"""data-juicer on JSON Lines: its own filters nearest to the rules of the others, MinHash deduplication. Ends with one line
of JSON.

It does less than the other two: it has no rules of C4 or FineWeb (lines are not cut, only documents dropped), no filter
here needs a model or a download, and it writes no tokens. English and Chinese go through runs of their own, with the
ways to cut a text that its documentation recommends: spaces, characters.
"""

import argparse
import importlib.metadata
import json
import os
import shutil
import sys
import time
from pathlib import Path

from curation import CHINESE, peak_rss_bytes


def process(language, args):
    chinese = language == "zh"
    return [
        {"text_length_filter": {"min_len": 100, "max_len": 1000000}},
        {"words_num_filter": {"lang": language, "tokenization": False, "min_num": 1 if chinese else 50, "max_num": 100000}},
        {"alphanumeric_filter": {"tokenization": False, "min_ratio": 0.6}},
        {"special_characters_filter": {"max_ratio": 0.4}},
        {"average_line_length_filter": {"min_len": 10}},
        {"character_repetition_filter": {"rep_len": 10, "max_ratio": 0.3}},
        {"word_repetition_filter": {"lang": language, "tokenization": False, "rep_len": 5, "max_ratio": 0.3}},
        {
            "document_minhash_deduplicator": {
                "tokenization": "character" if chinese else "space",
                "window_size": 8 if chinese else 5,
                "num_permutations": args.bands * args.rows,
                "num_bands": args.bands,
                "num_rows_per_band": args.rows,
            }
        },
    ]


def split(source, folder):
    """One file a language. Not timed. Returns the bytes of text and documents."""
    folder.mkdir(parents=True)
    total, count, files = 0, 0, {}
    with open(source, encoding="utf-8") as lines:
        for line in lines:
            document = json.loads(line)
            language = "zh" if document["source"] in CHINESE else "en"
            if language not in files:
                files[language] = open(folder / f"{language}.jsonl", "w", encoding="utf-8")
            files[language].write(line)
            total += len(document["text"].encode())
            count += 1
    for file in files.values():
        file.close()
    return total, count, sorted(files)


def run(folder, language, args):
    """Seconds, and documents left."""
    os.environ.setdefault("HF_DATASETS_CACHE", str(folder / "cache"))
    from data_juicer.config import init_configs
    from data_juicer.core import DefaultExecutor

    config = {
        "project_name": language,
        "dataset_path": str(folder / f"{language}.jsonl"),
        "export_path": str(folder / "out" / f"{language}.jsonl"),
        "work_dir": str(folder / "work" / language),
        "np": args.threads,
        "use_cache": False,
        "open_tracer": False,
        "process": process(language, args),
    }
    path = folder / f"{language}.json"
    path.write_text(json.dumps(config))
    executor = DefaultExecutor(init_configs(["--config", str(path)]))
    start = time.perf_counter()
    executor.run()
    seconds = time.perf_counter() - start
    with open(config["export_path"], encoding="utf-8") as lines:
        return seconds, sum(1 for _ in lines)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bands", type=int, default=21)
    parser.add_argument("--rows", type=int, default=6)
    args = parser.parse_args()
    shutil.rmtree(args.out, ignore_errors=True)
    size, documents, languages = split(args.input, args.out)
    out, sys.stdout = sys.stdout, sys.stderr  # it prints
    stages, left = {}, 0
    for language in languages:
        seconds, kept = run(args.out, language, args)
        stages[language], left = seconds, left + kept
    sys.stdout = out
    print(
        json.dumps(
            {
                "side": "data-juicer",
                "version": importlib.metadata.version("py-data-juicer"),
                "threads": args.threads,
                "bytes": size,
                "documents": documents,
                "kept": left,
                "seconds": sum(stages.values()),
                "stages": stages,
                "peak_rss_bytes": peak_rss_bytes(args.threads),
            }
        )
    )


if __name__ == "__main__":
    main()
