"""From the two sides' raw figures to medians, ratios and the best mode. Pure functions: nothing here starts a process."""

import math
import statistics


class Unfair(Exception):
    """The two sides did not do the same work."""


def spread(values):
    """Median, extremes and quartiles of values in any order."""
    values = sorted(values)
    quartiles = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {
        "median": statistics.median(values),
        "lowest": values[0],
        "lower_quartile": quartiles[0],
        "upper_quartile": quartiles[2],
        "highest": values[-1],
        "samples": len(values),
    }


def geometric_mean(values):
    values = list(values)
    return math.exp(sum(math.log(v) for v in values) / len(values)) if values else None


def ratio(a, b):
    return a / b if a and b else None


def peak_memory(runs):
    """The largest peak of a side's processes; None where a system does not tell."""
    known = [run["peak_rss_bytes"] for run in runs if run.get("peak_rss_bytes")]
    return max(known, default=None)


def check_same_work(danlu, peer, tolerance=0.02):
    """Same number of parameters, same tokens in a step, same loss before the first update."""
    for key in ("parameters", "tokens_per_step", "threads"):
        if danlu[key] != peer[key]:
            raise Unfair(f"{key}: danlu has {danlu[key]}, {peer['mode']} has {peer[key]}")
    ours, theirs = danlu["first_loss"], peer["first_loss"]
    if not abs(ours - theirs) <= tolerance * theirs:
        raise Unfair(f"first loss: danlu has {ours:.4f}, {peer['mode']} has {theirs:.4f}")


def same_work(danlu, peer_runs):
    """The modes that did the same work, and mode -> reason for the others. Compiled for a limited processor, PyTorch has
    been seen to compute something else; its other mode still counts."""
    kept, refused = {}, {}
    for mode, runs in peer_runs.items():
        try:
            for run in runs:
                check_same_work(danlu, run)
            kept[mode] = runs
        except Unfair as reason:
            refused[mode] = str(reason)
    if not kept:
        raise Unfair("; ".join(refused.values()))
    return kept, refused


def training(danlu_runs, peer_runs):
    """Joins training processes; `peer_runs` is mode -> runs. The fastest mode that did the same work is the peer."""
    peer_runs, refused = same_work(danlu_runs[0], peer_runs)
    modes = {"danlu": _trained(danlu_runs), **{mode: _trained(runs) for mode, runs in peer_runs.items()}}
    best = max(peer_runs, key=lambda mode: modes[mode]["tokens_per_second"])
    ours, theirs, first = modes["danlu"], modes[best], danlu_runs[0]
    gflops = ours["tokens_per_second"] * first["flops_per_token"] / 1e9
    peaks = [run["peak_gflops"] for run in danlu_runs if run.get("peak_gflops")]
    peak = statistics.median(peaks) if peaks else None
    return {
        "bench": "train",
        "model": first["model"],
        "precision": first["precision"],
        "danlu_tokens_per_second": ours["tokens_per_second"],
        "peer_tokens_per_second": theirs["tokens_per_second"],
        "peer_mode": best,
        "ratio": ratio(ours["tokens_per_second"], theirs["tokens_per_second"]),
        "memory_ratio": ratio(ours["peak_rss_bytes"], theirs["peak_rss_bytes"]),
        "fraction_of_peak": ratio(gflops, peak),
        "danlu_gflops": gflops,
        "peak_gflops": peak,
        "parameters": first["parameters"],
        "modes": modes,
        **({"refused": refused} if refused else {}),
        **_versions(danlu_runs, peer_runs),
    }


def _trained(runs):
    """One mode: the median over all timed steps of all its processes."""
    seconds = [s for run in runs for s in run["step_seconds"]]
    tokens = runs[0]["tokens_per_step"]
    notes = sorted({run["note"] for run in runs if run.get("note")})
    return {
        "tokens_per_second": tokens / statistics.median(seconds),
        "spread": spread([tokens / s for s in seconds]),
        "peak_rss_bytes": peak_memory(runs),
        "first_loss": runs[0]["first_loss"],
        "last_loss": runs[0]["last_loss"],
        "steps": len(seconds),
        "processes": len(runs),
        **({"note": "; ".join(notes)} if notes else {}),
    }


def cases(bench, unit, key, danlu_runs, peer_runs):
    """Joins processes that each report a list of cases. `key` are the fields that name a case, `unit` the field that
    holds its rate. In each case the peer is its fastest mode there; the ratio is the geometric mean of the cases'."""
    rates = {"danlu": _rates(danlu_runs, unit, key), **{m: _rates(r, unit, key) for m, r in peer_runs.items()}}
    common = [name for name in rates["danlu"] if any(name in rates[mode] for mode in peer_runs)]
    if not common:
        raise Unfair("the two sides have no case in common")
    listed = []
    for name in common:
        ours = statistics.median(rates["danlu"][name])
        theirs = {mode: statistics.median(rates[mode][name]) for mode in peer_runs if name in rates[mode]}
        best = max(theirs, key=theirs.get)
        listed.append(
            {
                **dict(zip(key, name)),
                f"danlu_{unit}": ours,
                f"peer_{unit}": theirs[best],
                "peer_mode": best,
                "ratio": ratio(ours, theirs[best]),
                "danlu_spread": spread(rates["danlu"][name]),
                "peer_spread": spread(rates[best][name]),
            }
        )
    best = max(peer_runs, key=lambda m: sum(case["peer_mode"] == m for case in listed))
    alone = [dict(zip(key, name), **{f"danlu_{unit}": statistics.median(rates["danlu"][name])})
             for name in rates["danlu"] if name not in common]
    fractions = [run["fraction_of_peak"] for run in danlu_runs if run.get("fraction_of_peak")]
    return {
        "bench": bench,
        f"danlu_{unit}": geometric_mean(case[f"danlu_{unit}"] for case in listed),
        f"peer_{unit}": geometric_mean(case[f"peer_{unit}"] for case in listed),
        "peer_mode": best,
        "ratio": geometric_mean(case["ratio"] for case in listed),
        "memory_ratio": ratio(peak_memory(danlu_runs), peak_memory(peer_runs[best])),
        "fraction_of_peak": statistics.median(fractions) if fractions else None,
        "cases": listed,
        "danlu_alone": alone,
        "peak_rss_bytes": {"danlu": peak_memory(danlu_runs), **{m: peak_memory(r) for m, r in peer_runs.items()}},
        **_versions(danlu_runs, peer_runs),
    }


def _rates(runs, unit, key):
    """Case -> its rate in each process. A list in a name, such as a shape, becomes a tuple."""
    rates = {}
    for run in runs:
        for case in run["cases"]:
            name = tuple(tuple(v) if isinstance(v, list) else v for v in (case[k] for k in key))
            rates.setdefault(name, []).append(case[unit])
    return rates


def _versions(danlu_runs, peer_runs):
    peer = next(iter(peer_runs.values()))[0]
    return {
        "versions": {"danlu": danlu_runs[0]["version"], "torch": peer["version"]},
        "threads": danlu_runs[0]["threads"],
        "cpu": {"danlu": danlu_runs[0]["cpu"], "torch": peer["cpu"]},
    }
