"""The part `data`: raw JSON Lines to token shards, danlu beside datatrove, and how many planted duplicates are found."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import corpus
import plant
from compare import tables
from compare.figures import Unfair, ratio
from compare.sides import HERE, ROOT, Failed, call, last_json, say

FOLDER = ROOT / "target" / "bench-data"
PACKAGES = {
    "datatrove": ["datatrove[io,processing]==0.10.1", "spacy", "jieba", "tokenizers", "orjson"],
    # aiohttp: it imports it without asking for it.
    "juicer": ["py-data-juicer==1.6.1", "aiohttp"],
}
# What a pair must have to be one that deduplication has to find, and below which nothing may be dropped.
FOUND_FROM, FALSE_BELOW = 0.8, 0.5
BANDS = [(0.95, 1.0), (0.9, 0.95), (0.85, 0.9), (0.8, 0.85)]


def options(parser):
    parser.add_argument("--megabytes", type=int, default=1000, help="data: size of the corpus (default: 1000)")
    parser.add_argument("--peer-megabytes", type=int, default=20,
                        help="data: size of the slice of it that datatrove is given (default: 20)")
    parser.add_argument("--memory-mb", type=int, default=1024, help="data: memory of danlu's deduplication (default: 1024)")
    parser.add_argument("--juicer-megabytes", type=int, default=10,
                        help="data: size of the slice that data-juicer is given (default: 10); 0: without it")
    parser.add_argument("--alone", action="store_true", help="data: without datatrove and data-juicer")


def run(args):
    """The joined figures, and the table for people."""
    planted, truths = planted_corpus(args.megabytes)
    binary = build()
    known = [json.loads(line) for line in truths.read_text().splitlines()]
    watch = FOLDER / "watch.txt"
    FOLDER.mkdir(parents=True, exist_ok=True)
    watch.write_text("\n".join(name for truth in known for name in (truth["original"], truth["copy"])))

    def ours(source, memory_mb, name):
        say(f"danlu, {name}")
        out = FOLDER / name
        shutil.rmtree(out, ignore_errors=True)
        command = [binary, "--input", source, "--out", out, "--tokenizer", FOLDER / "tokenizer", "--watch", watch,
                   "--clean", HERE / "data-clean.toml", "--memory-mb", str(memory_mb)]
        return last_json(command, {"RAYON_NUM_THREADS": str(args.threads)})

    full = ours(planted, args.memory_mb, "full")
    judged = judge(known, FOLDER / "full" / "watched.jsonl")
    capped = ours(planted, 512, "capped")
    part, peer, third = None, None, None
    if not args.alone:
        part_of = head(planted, args.peer_megabytes)
        part = ours(part_of, args.memory_mb, "slice")
        peer = datatrove(part_of, args.threads)
        third = juicer(planted, args)
    joined = join(full, capped, judged, part, peer, third)
    return joined, table(joined)


def planted_corpus(megabytes):
    source = corpus.cached(megabytes)
    planted, truths = source.with_name(f"{source.stem}-planted.jsonl"), source.with_name(f"{source.stem}-truth.jsonl")
    if not planted.exists():
        say(f"planting duplicates in {planted}")
        plant.plant_file(source, planted, truths)
    return planted, truths


def head(source, megabytes):
    """The first so many megabytes of a file, in whole lines."""
    path = source.with_name(f"{source.stem}-first-{megabytes}.jsonl")
    if not path.exists():
        left = megabytes * 1_000_000
        with open(source, "rb") as lines, open(path.with_suffix(".part"), "wb") as out:
            for line in lines:
                if left < 0:
                    break
                out.write(line)
                left -= len(line)
        path.with_suffix(".part").replace(path)
    return path


def build():
    given = os.environ.get("DANLU_DATA_BIN")
    if given:
        return Path(given)
    call(["cargo", "build", "--release", "--package", "danlu-data", "--example", "data_speed"], cwd=ROOT)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return ROOT / target / "release" / "examples" / "data_speed"


def datatrove(source, threads):
    python = environment("datatrove")
    say("datatrove, the slice")
    command = [python, HERE / "peers" / "data.py", "--threads", str(threads), "--input", source,
               "--tokenizer", FOLDER / "tokenizer" / "tokenizer.json", "--out", FOLDER / "datatrove"]
    return last_json(command, {"DATATROVE_COLORIZE_LOGS": "0"})


def juicer(planted, args):
    """data-juicer on a small slice, because of its time; None where it cannot be installed."""
    if not args.juicer_megabytes:
        return None
    try:
        python = environment("juicer")
    except Failed as error:
        say(f"without data-juicer: {error}")
        return None
    say("data-juicer, a small slice")
    command = [python, HERE / "peers" / "juicer.py", "--threads", str(args.threads),
               "--input", head(planted, args.juicer_megabytes), "--out", FOLDER / "juicer"]
    return last_json(command, {})


def environment(name):
    """target/bench-NAME with a peer's packages, made once."""
    folder, packages = ROOT / "target" / f"bench-{name}", PACKAGES[name]
    python, done = folder / "bin" / "python", folder / "installed.txt"
    if not done.exists() or done.read_text() != "\n".join(packages):
        say(f"installing {packages[0]} into {folder.relative_to(ROOT)} (once)")
        call([sys.executable, "-m", "venv", folder])
        call([python, "-m", "pip", "install", "--quiet", *packages])
        done.write_text("\n".join(packages))
    return python


def judge(truths, watched):
    """How many planted pairs were found, by the true similarity of their texts as deduplication saw them: filters that
    cut lines change it. A pair counts as found when not both of its documents are left."""
    with open(watched, encoding="utf-8") as lines:
        return judged(truths, [json.loads(line) for line in lines])


def judged(truths, records):
    by_id = {record["id"]: record for record in records}
    pairs, found, bands, exact = 0, 0, {}, [0, 0]
    for truth in truths:
        original, copy = by_id.get(truth["original"]), by_id.get(truth["copy"])
        if original is None or copy is None:
            continue  # a filter dropped it before
        gone = "kept" in original or "kept" in copy
        if truth["kind"] == "exact":
            exact = [exact[0] + gone, exact[1] + 1]
            continue
        similarity = plant.jaccard(plant.ngrams(original["text"]), plant.ngrams(copy["text"]))
        if similarity >= FOUND_FROM:
            pairs, found = pairs + 1, found + gone
            band = next((f"{low}" for low, high in BANDS if low <= similarity < high), "1.0")
            seen = bands.setdefault(band, [0, 0])
            seen[0], seen[1] = seen[0] + gone, seen[1] + 1
    drops = [record for record in records if "kept_text" in record]
    true = [plant.jaccard(plant.ngrams(record["text"]), plant.ngrams(record["kept_text"])) for record in drops]
    return {
        "near_duplicate_recall": ratio(found, pairs),
        "planted_pairs": pairs,
        "recall_by_similarity": {band: seen[0] / seen[1] for band, seen in sorted(bands.items())},
        "exact_recall": ratio(*exact),
        "false_removals": sum(similarity < FALSE_BELOW for similarity in true),
        "removals_examined": len(drops),
        "lowest_similarity_removed": min(true, default=None),
        "largest_error_of_similarity": max((abs(s - r["similarity"]) for s, r in zip(true, drops)), default=None),
    }


def rate(run):
    """Megabytes of text in a second on one core."""
    return run["bytes"] / 1e6 / run["seconds"] / run["threads"]


def join(full, capped, judged, part=None, peer=None, third=None):
    if peer and (part["bytes"], part["documents"], part["threads"]) != (peer["bytes"], peer["documents"], peer["threads"]):
        raise Unfair(f"danlu's slice has {part['bytes']} bytes, {peer['side']}'s {peer['bytes']}")
    return {
        "bench": "data",
        "danlu_mb_per_s_per_core": rate(full),
        "peer_mb_per_s_per_core": peer and rate(peer),
        # Both on the same text. What the whole corpus gives stands beside it, since the slice weighs each side's start more.
        "ratio": peer and ratio(rate(part), rate(peer)),
        "ratio_of_the_whole": peer and ratio(rate(full), rate(peer)),
        "peak_memory_gb": full["peak_rss_bytes"] and full["peak_rss_bytes"] / 1e9,
        "peer_peak_memory_gb": peer and peer["peak_rss_bytes"] / 1e9,
        **judged,
        "same_at_512_mb": full["result"] == capped["result"],
        "peak_memory_gb_at_512_mb": capped["peak_rss_bytes"] and capped["peak_rss_bytes"] / 1e9,
        "peer": peer and f"{peer['side']} {peer['version']}",
        "juicer_mb_per_s_per_core": third and rate(third),
        "juicer_ratio": third and ratio(rate(full), rate(third)),
        "danlu_bytes": full["bytes"],
        "peer_bytes": peer and peer["bytes"],
        "threads": full["threads"],
        "danlu": full,
        "danlu_at_512_mb": capped,
        "danlu_on_the_slice": part,
        "peer_run": peer,
        "juicer_run": third,
    }


def table(f):
    rows = []
    for name, run in [("danlu", f["danlu"]), ("danlu, 512 MB", f["danlu_at_512_mb"]),
                      ("danlu, slice", f["danlu_on_the_slice"]), (f["peer"], f["peer_run"])]:
        if run:
            rows.append([name, tables.whole(run["bytes"] / 1e6), tables.whole(run["documents"]), tables.whole(run["entered_dedup"]),
                         tables.whole(run["dropped"]), tables.whole(run["tokens"]), f"{run['seconds']:.1f}",
                         tables.times(rate(run)), tables.gigabytes(run["peak_rss_bytes"])])
    header = ["", "MB", "documents", "after filters", "duplicates", "tokens", "seconds", "MB/s/core", "peak GB"]
    stages = [f"{name}: " + ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in run["stages"].items())
              for name, run in [("danlu", f["danlu"]), (f["peer"], f["peer_run"])] if run]
    bands = ", ".join(f"{band}: {tables.percent(share)}" for band, share in f["recall_by_similarity"].items())
    last = [
        f"planted near duplicates found: {tables.percent(f['near_duplicate_recall'])} of {f['planted_pairs']} ({bands}); "
        f"exact: {tables.percent(f['exact_recall'])}",
        f"removals below {FALSE_BELOW}: {f['false_removals']} of {f['removals_examined']} examined; the same at 512 MB: {f['same_at_512_mb']}",
    ]
    if f["peer"]:
        last.append(f"danlu / {f['peer']}: {tables.times(f['ratio'])} on the same {f['peer_bytes'] / 1e6:.0f} MB "
                    f"({tables.times(f['ratio_of_the_whole'])} with danlu on the whole; {f['peer']} was given no more because of its time)")
    if third := f["juicer_run"]:
        last.append(f"danlu / data-juicer {third['version']}, which has fewer rules here and writes no tokens: "
                    f"{tables.times(f['juicer_ratio'])} ({third['bytes'] / 1e6:.0f} MB in {third['seconds']:.0f} s)")
    return "\n".join([tables.table(header, rows), *stages, *last])
