#!/usr/bin/env python3
"""Reads a TensorBoard log folder that danlu wrote with TensorBoard's own reader and compares it with expected curves.

    pip install tensorboard
    DANLU_EVENTS_DIR=/tmp/events cargo test --release -p danlu-store --test tensorboard
    python scripts/check_tensorboard.py /tmp/events/log /tmp/events/expected.json

The expected JSON maps each tag to its [step, value] pairs; TensorBoard keeps values in single precision. Without an
expected JSON the curves found are printed: that serves to look into the folder of a real run.
Exit status: 0 when equal, 1 when they differ, 2 on wrong usage.
"""

import json
import struct
import sys

from tensorboard.backend.event_processing import event_accumulator


def single(value):
    """The value in single precision, as TensorBoard keeps it."""
    return struct.unpack("f", struct.pack("f", value))[0]


def read(folder):
    """Tag -> [(step, value), ...] as TensorBoard shows them, with nothing left out."""
    accumulator = event_accumulator.EventAccumulator(folder, size_guidance={event_accumulator.SCALARS: 0})
    accumulator.Reload()
    return {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}


def main(arguments):
    if len(arguments) not in (1, 2):
        print(__doc__, file=sys.stderr)
        return 2
    found = read(arguments[0])
    if len(arguments) == 1:
        for tag, points in sorted(found.items()):
            print(f"{tag}: {len(points)} points, first {points[0]}, last {points[-1]}")
        return 0
    with open(arguments[1], encoding="utf-8") as file:
        expected = {tag: [(step, single(value)) for step, value in points] for tag, points in json.load(file).items()}
    if found == expected:
        print(f"equal: {len(found)} curves, {sum(map(len, found.values()))} points")
        return 0
    for tag in sorted(found.keys() | expected.keys()):
        ours, theirs = found.get(tag), expected.get(tag)
        if ours != theirs:
            print(f"{tag}: TensorBoard reads {ours}, expected {theirs}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
