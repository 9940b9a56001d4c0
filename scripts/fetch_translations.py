#!/usr/bin/env python3
"""Sentences of LibreOffice's help in English and Chinese, for recipes/translation.toml:

    python3 scripts/fetch_translations.py

Fetches the packages libreoffice-help-en-us and libreoffice-help-zh-cn of Debian or Ubuntu (MPL-2.0, the version that the
machine's own lists have) with apt-get, pairs paragraphs of the same file and the same id, and writes each pair once, a line
each, to corpora/fetched/libreoffice-help.jsonl as {"en": ..., "zh": ...}. What is the same in both is left out: it was
not translated.
"""

import html.parser
import json
import pathlib
import re
import subprocess
import sys
import tempfile

PACKAGES = {"en-US": "libreoffice-help-en-us", "zh-CN": "libreoffice-help-zh-cn"}
OUT = pathlib.Path(__file__).resolve().parent.parent / "corpora" / "fetched" / "libreoffice-help.jsonl"
PARAGRAPHS = {"p", "h1", "h2", "h3", "h4", "h5", "h6"}
# Elements without an end.
VOID = {"br", "img", "meta", "link", "input", "hr"}


class Paragraphs(html.parser.HTMLParser):
    """Texts of the paragraphs that have an id; what is hidden (another system's menus) is left out."""

    def __init__(self):
        super().__init__()
        self.found, self.at, self.hidden, self.depth = {}, None, None, 0

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag in PARAGRAPHS and attributes.get("id"):
            self.at = attributes["id"]
            self.found.setdefault(self.at, [])
        if tag in VOID:
            return
        self.depth += 1
        if self.hidden is None and attributes.get("hidden"):
            self.hidden = self.depth

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if self.hidden == self.depth:
            self.hidden = None
        self.depth -= 1
        if tag in PARAGRAPHS:
            self.at = None

    def handle_data(self, text):
        if self.at is not None and self.hidden is None:
            self.found[self.at].append(text)


def paragraphs(path):
    parser = Paragraphs()
    parser.feed(path.read_text(encoding="utf-8"))
    texts = {key: re.sub(r"\s+", " ", "".join(parts)).strip() for key, parts in parser.found.items()}
    return {key: text for key, text in texts.items() if text}


def download(folder):
    command = ["apt-get", "download", "-q", *PACKAGES.values()]
    if subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        # The machine's lists are missing, or older than what the server still has.
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(command, cwd=folder, check=True)


def fetch(folder):
    download(folder)
    packages = sorted(pathlib.Path(folder).glob("*.deb"))
    for package in packages:
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    return pathlib.Path(folder) / "usr/share/libreoffice/help", [package.name for package in packages]


def pairs(helps):
    seen = set()
    for page in sorted((helps / "en-US").rglob("*.html")):
        other = helps / "zh-CN" / page.relative_to(helps / "en-US")
        if not other.exists():
            continue
        english, chinese = paragraphs(page), paragraphs(other)
        for key in english.keys() & chinese.keys():
            pair = (english[key], chinese[key])
            if pair[0] != pair[1] and pair not in seen:
                seen.add(pair)
                yield pair


def main():
    with tempfile.TemporaryDirectory() as folder:
        try:
            helps, packages = fetch(folder)
        except (OSError, subprocess.CalledProcessError) as error:
            sys.exit(f"{error}: this needs apt-get and dpkg-deb; run `apt-get update` first where no lists are there")
        lines = [json.dumps({"en": en, "zh": zh}, ensure_ascii=False) for en, zh in sorted(pairs(helps))]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    partial = OUT.with_suffix(".partial")
    partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    partial.rename(OUT)
    print(f"{len(lines)} pairs of {' and '.join(packages)} in {OUT}")


if __name__ == "__main__":
    main()
