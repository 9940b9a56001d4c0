"""The two sides as processes: how each is made ready, started and read."""

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent

# glibc gives large blocks back to the system and faults them in again at every step; PyTorch's users set these.
KEEP_PAGES = {
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(32 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
}


class Failed(Exception):
    """A side could not be made ready, or its process ended badly."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def call(command, **options):
    """Runs to the end; its output goes to standard error."""
    say("+ " + " ".join(str(part) for part in command))
    try:
        subprocess.run(command, stdout=sys.stderr, check=True, **options)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failed(f"{command[0]}: {error}") from error


def last_json(command, environment):
    """Runs a side's process and reads its last line."""
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        raise Failed(" ".join(map(str, command)) + f" ended with {done.returncode}:\n{done.stderr.strip()[-2000:]}")
    try:
        return json.loads(lines[-1])
    except ValueError as error:
        raise Failed(f"{command[0]} did not end with a line of JSON: {lines[-1][:200]}") from error


class Danlu:
    """Our side: `$DANLU_BIN`, or the release build of this tree."""

    def __init__(self, threads, cpu=None):
        given = os.environ.get("DANLU_BIN")
        if given:
            self.binary = Path(given)
        else:
            call(["cargo", "build", "--release", "--package", "danlu"], cwd=ROOT)
            target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
            self.binary = (ROOT / target) / "release" / "danlu"
        self.threads, self.environment = threads, {"DANLU_CPU": cpu} if cpu else {}

    def run(self, part, **options):
        command = [self.binary, "--threads", str(self.threads), "bench", part, "--json"]
        return last_json(command + flags(options), self.environment)


class Torch:
    """The peer: PyTorch in a virtual environment of its own under target/, or in that of `$DANLU_BENCH_PYTHON`."""

    def __init__(self, threads, cpu=None):
        given = os.environ.get("DANLU_BENCH_PYTHON")
        self.python = Path(given) if given else virtual_environment()
        self.threads = threads
        self.environment = {**KEEP_PAGES, "OMP_NUM_THREADS": str(threads)}
        if cpu:
            self.environment["ATEN_CPU_CAPABILITY"] = cpu

    def run(self, part, **options):
        command = [self.python, HERE / "peers" / f"{part}.py", "--threads", str(self.threads)]
        return last_json(command + flags(options), self.environment)


def flags(options):
    return [part for name, value in options.items() if value is not None for part in (f"--{name}", str(value))]


def virtual_environment():
    """Makes target/bench-venv with the pinned packages, once; about 5 GB with what PyTorch's wheel brings along."""
    folder = ROOT / "target" / "bench-venv"
    python, done = folder / "bin" / "python", folder / "installed.txt"
    wanted = (HERE / "requirements.txt").read_text()
    if not done.exists() or done.read_text() != wanted:
        say(f"installing PyTorch into {folder.relative_to(ROOT)} (several GB, once)")
        call([sys.executable, "-m", "venv", folder])
        call([python, "-m", "pip", "install", "--quiet", "--requirement", HERE / "requirements.txt"])
        done.write_text(wanted)
    return python
