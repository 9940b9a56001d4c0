"""What the peers' scripts share: threads, timing, peak memory, and the one line of JSON at the end."""

import argparse
import json
import os
import resource
import statistics
import sys
import time

import torch


def arguments(**extra):
    """Parses `--threads` and the given options, name -> default."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    for name, default in extra.items():
        parser.add_argument("--" + name, type=type(default), default=default)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    return args


def peak_rss_bytes():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def median_seconds(run, seconds, least=3):
    """The median time of a run over about `seconds`, after one that does not count."""
    run()
    times, begun = [], time.perf_counter()
    while len(times) < least or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def finish(**figures):
    figures.update(side="torch", version=torch.__version__, threads=torch.get_num_threads())
    figures.update(peak_rss_bytes=peak_rss_bytes(), cpu=torch.backends.cpu.get_cpu_capability())
    print(json.dumps(figures), flush=True)
