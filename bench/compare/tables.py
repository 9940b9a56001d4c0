"""The figures as tables for people."""


def whole(value):
    return "-" if value is None else f"{value:,.0f}"


def times(value):
    return "-" if value is None else f"{value:.2f}"


def percent(value):
    return "-" if value is None else f"{value * 100:.1f}%"


def gigabytes(value):
    return "-" if value is None else f"{value / 1e9:.2f}"


def table(header, rows):
    """Columns under each other, the first to the left and the others to the right."""
    rows = [header, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    pad = lambda i, cell: cell.ljust(widths[i]) if i == 0 else cell.rjust(widths[i])  # noqa: E731
    return "\n".join("  ".join(pad(i, cell) for i, cell in enumerate(row)).rstrip() for row in rows)


def training(f):
    rows = []
    for mode, figures in f["modes"].items():
        low, high = figures["spread"]["lowest"], figures["spread"]["highest"]
        rows.append(
            [
                "danlu" if mode == "danlu" else f"PyTorch {mode}",
                whole(figures["tokens_per_second"]),
                f"{whole(low)} to {whole(high)}",
                str(figures["steps"]),
                times(f["danlu_tokens_per_second"] / figures["tokens_per_second"]),
                gigabytes(figures["peak_rss_bytes"]),
                f"{figures['first_loss']:.3f} -> {figures['last_loss']:.3f}",
            ]
        )
    header = [f"{f['model']} {f['precision']}", "tokens/s", "over the steps", "steps", "danlu is", "peak GB", "loss"]
    notes = [f"{mode}: {figures['note']}" for mode, figures in f["modes"].items() if "note" in figures]
    notes += [f"not counted: {reason}" for reason in f.get("refused", {}).values()]
    last = (
        f"danlu / PyTorch {f['peer_mode']}: speed {times(f['ratio'])}, memory {times(f['memory_ratio'])}; "
        f"{whole(f['danlu_gflops'])} GFLOP/s, {percent(f['fraction_of_peak'])} of the measured "
        f"{whole(f['peak_gflops'])}"
    )
    return "\n".join([heading(f), table(header, rows), *notes, last])


def cases(f, unit, key):
    label = {"gflops": "GFLOP/s", "tokens_per_second": "tokens/s"}[unit]
    rows = []
    for case in f["cases"]:
        name = ", ".join("x".join(map(str, v)) if isinstance(v, (list, tuple)) else str(v) for v in map(case.get, key))
        low, high = case["danlu_spread"]["lowest"], case["danlu_spread"]["highest"]
        rows.append(
            [
                name,
                whole(case[f"danlu_{unit}"]),
                f"{whole(low)} to {whole(high)}",
                whole(case[f"peer_{unit}"]),
                case["peer_mode"],
                times(case["ratio"]),
            ]
        )
    header = [", ".join(key), f"danlu {label}", "over the rounds", f"PyTorch {label}", "its best mode", "ratio"]
    last = (
        f"geometric mean of the ratios {times(f['ratio'])}; memory {times(f['memory_ratio'])} of PyTorch's"
        f"; {percent(f['fraction_of_peak'])} of danlu's measured peak"
    )
    alone = [f"danlu alone: {' '.join(str(c[k]) for k in key)}: {whole(c[f'danlu_{unit}'])} {label}" for c in f["danlu_alone"]]
    return "\n".join([heading(f), table(header, rows), *alone, last])


def heading(f):
    v, cpu = f["versions"], f["cpu"]
    return f"danlu {v['danlu']} ({cpu['danlu']}), PyTorch {v['torch']} ({cpu['torch']}), {f['threads']} threads\n"
