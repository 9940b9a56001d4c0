#!/usr/bin/env python3
"""Pictures of emoji with their names in English and Chinese, for recipes/captions.toml:

    python3 scripts/fetch_emoji.py

Fetches with npm the packages emoji-datasource-google (Google's pictures of 64 pixels a side; MIT, the pictures Apache-2.0),
cldr-annotations-modern and cldr-annotations-derived-modern (the names; Unicode-3.0) and writes the pictures to
corpora/fetched/emoji and a line for each to corpora/fetched/emoji.jsonl, as {"image", "emoji", "group", "en", "zh"}. `group`
is the emoji without its skin tone: what has the same is to be in one split. Left out, and counted: what lacks a picture or a
name in either language, emoji of two people with a tone each, and pictures that are the same as an earlier one to the byte
(flags of islands that fly another country's).
"""

import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile

PACKAGES = ["emoji-datasource-google@16.0.0", "cldr-annotations-modern@45.0.0", "cldr-annotations-derived-modern@45.0.0"]
OUT = pathlib.Path(__file__).resolve().parent.parent / "corpora" / "fetched"
LANGUAGES = ["en", "zh"]


def fetch(folder):
    """The packages' files by package and name."""
    packed = subprocess.run(["npm", "pack", "--silent", *PACKAGES], cwd=folder, check=True, capture_output=True, text=True)
    files = {}
    for archive in packed.stdout.split():
        with tarfile.open(pathlib.Path(folder) / archive) as tar:
            wanted = [m for m in tar if m.isfile() and m.name.endswith(("/emoji.json", "annotations.json", ".png"))]
            for member in wanted:
                name = member.name.removeprefix("package/")
                # Of other languages nothing is read, of pictures the single ones.
                parts = name.split("/")
                if name.endswith(".png") and parts[:3] != ["img", "google", "64"] or \
                        name.endswith("annotations.json") and parts[1] not in LANGUAGES:
                    continue
                files[name] = tar.extractfile(member).read()
    return files


def names(files, language):
    """Of each emoji, written without variation selectors, its name."""
    found = {}
    for key in ["annotations", "annotationsDerived"]:
        table = json.loads(files[f"{key}/{language}/annotations.json"])[key]["annotations"]
        found |= {emoji.replace("\ufe0f", ""): entry["tts"][0] for emoji, entry in table.items() if entry.get("tts")}
    return found


def pictures(files):
    """Each emoji and its single skin tones: code, group, file."""
    for entry in json.loads(files["emoji.json"]):
        group = entry["unified"].lower()
        yield group, group, entry["image"]
        for tone, variant in (entry.get("skin_variations") or {}).items():
            if "-" not in tone:
                yield variant["unified"].lower(), group, variant["image"]


def main():
    with tempfile.TemporaryDirectory() as folder:
        try:
            files = fetch(folder)
        except (OSError, subprocess.CalledProcessError) as error:
            sys.exit(f"{error}: this needs npm and its registry")
    told = {language: names(files, language) for language in LANGUAGES}
    out, lines, seen, left_out = OUT / "emoji", [], set(), {"without a picture": 0, "without a name": 0, "the same": 0}
    out.mkdir(parents=True, exist_ok=True)
    for code, group, image in sorted(pictures(files)):
        picture = files.get(f"img/google/64/{image}")
        emoji = "".join(chr(int(point, 16)) for point in code.split("-"))
        captions = {language: told[language].get(emoji.replace("\ufe0f", "")) for language in LANGUAGES}
        if picture is None:
            left_out["without a picture"] += 1
        elif not all(captions.values()):
            left_out["without a name"] += 1
        elif picture in seen:
            left_out["the same"] += 1
        else:
            seen.add(picture)
            (out / image).write_bytes(picture)
            lines.append({"image": f"emoji/{image}", "emoji": emoji, "group": group} | captions)
    partial = OUT / "emoji.partial"
    partial.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    partial.rename(OUT / "emoji.jsonl")
    groups = len({line["group"] for line in lines})
    print(f"{len(lines)} pictures of {groups} emoji in {OUT / 'emoji.jsonl'}; left out: {left_out}")


if __name__ == "__main__":
    main()
