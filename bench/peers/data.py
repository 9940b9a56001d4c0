"""datatrove on JSON Lines: filters, MinHash deduplication, tokens. Ends with one line of JSON.

As its examples do it (examples/process_common_crawl_dump.py, examples/minhash_deduplication.py), with the signatures
taken in the pass that filters, which spares a reading. English and Chinese documents go through pipelines of their
own, because its rules and word splitter are of one language; the Chinese rules are changed as its authors changed
them for FineWeb-2: stop words of the language, words of one character, no ASCII punctuation at line ends, shorter
lines, fewer letters (its splitter makes punctuation marks words), more repetition.
"""

import argparse
import importlib.metadata
import json
import os
import shutil
import time
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
)
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.hashing import HashConfig

from curation import CHINESE, peak_rss_bytes

CHINESE_STOPS = ["的", "是", "在", "了", "不", "和", "有", "之", "也", "而"]


def filters(language):
    if language == "eng":
        return [GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter(), FineWebQualityFilter()]
    return [
        GopherRepetitionFilter(language=language),
        GopherQualityFilter(
            language=language, min_avg_word_length=1, max_non_alpha_words_ratio=0.6, stop_words=CHINESE_STOPS
        ),
        C4QualityFilter(language=language, filter_no_terminal_punct=False, min_words_per_line=-1, min_num_sentences=-1),
        FineWebQualityFilter(language=language, short_line_length=10, char_duplicates_ratio=0.1),
    ]


def split(source, folder, tasks):
    """One file a task and language: how it wants its input. Not timed. Returns the bytes of text and documents."""
    files, total, count = {}, 0, 0
    with open(source, encoding="utf-8") as lines:
        for line in lines:
            document = json.loads(line)
            language = "cmn" if document["source"] in CHINESE else "eng"
            key = language, count % tasks
            if key not in files:
                path = folder / "input" / language / f"{key[1]}.jsonl"
                path.parent.mkdir(parents=True, exist_ok=True)
                files[key] = open(path, "w", encoding="utf-8")
            files[key].write(line)
            total += len(document["text"].encode())
            count += 1
    for file in files.values():
        file.close()
    return total, count, sorted({language for language, _ in files})


def run(folder, language, args):
    def execute(name, steps, tasks):
        logs = str(folder / "logs" / language / name)
        start = time.perf_counter()
        LocalPipelineExecutor(pipeline=steps, tasks=tasks, workers=args.threads, logging_dir=logs).run()
        stages[f"{language} {name}"] = time.perf_counter() - start

    stages = {}
    config = MinhashConfig(
        n_grams=5, num_buckets=args.bands, hashes_per_bucket=args.rows, hash_config=HashConfig(precision=64)
    )
    at = lambda name: str(folder / language / name)  # noqa: E731
    execute(
        "filter and sign",
        [
            JsonlReader(str(folder / "input" / language)),
            *filters(language),
            JsonlWriter(at("filtered"), compression=None),
            MinhashDedupSignature(output_folder=at("signatures"), config=config, language=language),
        ],
        args.threads,
    )
    execute("buckets", [MinhashDedupBuckets(at("signatures"), at("buckets"), config=config)], args.bands)
    execute("cluster", [MinhashDedupCluster(at("buckets"), at("removed"), config=config)], 1)
    execute(
        "drop and tokenize",
        [
            JsonlReader(at("filtered")),
            MinhashDedupFilter(input_folder=at("removed")),
            DocumentTokenizer(
                at("tokens"), args.tokenizer, local_working_dir=at("working"), eos_token="<|endoftext|>", shuffle_documents=False
            ),
        ],
        args.threads,
    )
    return stages


def counted(folder, language):
    """Documents after the filters, those that deduplication dropped, and tokens, by its own statistics."""
    steps = json.loads((folder / "logs" / language / "drop and tokenize" / "stats.json").read_text())

    def total(step, name):
        value = next(s["stats"].get(name, 0) for s in steps if step in s["name"])
        return value["total"] if isinstance(value, dict) else value

    return total("READER", "documents"), total("DEDUP", "dropped"), total("TOKENIZER", "tokens")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--tokenizer", required=True, help="a tokenizer.json")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bands", type=int, default=21)
    parser.add_argument("--rows", type=int, default=6)
    args = parser.parse_args()
    shutil.rmtree(args.out, ignore_errors=True)
    size, documents, languages = split(args.input, args.out, args.threads)
    stages, totals = {}, [0, 0, 0]
    for language in languages:
        stages |= run(args.out, language, args)
        totals = [a + b for a, b in zip(totals, counted(args.out, language))]
    print(
        json.dumps(
            {
                "side": "datatrove",
                "version": importlib.metadata.version("datatrove"),
                "threads": args.threads,
                "bytes": size,
                "documents": documents,
                "entered_dedup": totals[0],
                "dropped": totals[1],
                "tokens": totals[2],
                "seconds": sum(stages.values()),
                "stages": stages,
                "peak_rss_bytes": peak_rss_bytes(args.threads),
            }
        )
    )


if __name__ == "__main__":
    main()
