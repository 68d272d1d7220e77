"""What `benchmarks.methods` measured, as a table: scores and differences paired by seed, costs, commits."""

import platform
import statistics
from collections import defaultdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from benchmarks.digits_methods import standard_error

BASELINE = "supervised"
BLOCK, BLOCKS = 5, 7
"""Steps timed at once, and how often."""
Key = tuple[str, float | None, float]
"""Method, decay where it is not the published one, alpha."""


def render(runs: list[dict[str, Any]], *, costs: list[dict[str, Any]]) -> str:
    """The table as Markdown; differences are paired by seed."""
    found: dict[Key, dict[int, float]] = defaultdict(dict)
    commits: dict[Key, set[str]] = defaultdict(set)
    failed: dict[Key, list[str]] = defaultdict(list)
    for row in runs:
        key = row["method"], row["decay"], row["alpha"]
        commits[key].add(row["commit"])
        if "miou" in row:
            found[key][row["seed"]] = row["miou"]
        else:
            failed[key].append(f"seed {row['seed']}: {row['failed']}")
    by_cost = {(row["method"], row["alpha"]): row for row in costs}
    base = found[BASELINE, None, 0.0]
    steps = {row["steps"] for row in runs if "steps" in row}
    lines = [
        "# All methods on `digits`, with and without the inter-pixel loss",
        "",
        f"The unified preset with a small network, {', '.join(map(str, sorted(steps)))} steps per run, 12 labelled "
        "images. mIoU in % on the official validation list after the last step, mean ± standard error over the seeds; "
        "nothing was selected on it and nothing tuned for a method. `decay`: every method that has an averaged teacher "
        "once with its published `ema_decay`, made for trainings twenty to a hundred times as long, and once with one "
        "that suits this length. Differences are paired by seed, ± their standard "
        "error. Seconds per step: a multiple of UniMatch's without the inter-pixel loss, by turns in one process "
        f"({BLOCKS} blocks of {BLOCK} steps: median, smallest to largest). Passes: images through a network per step, "
        "with gradient + without, in units of the batch of each stream; calls of single parts are not in it. "
        "Peak memory: the whole process, libraries included. ST and ST++: the cost of a step of their first stage, on "
        "labels alone. Commit: the tree that the row's runs are from; + marks one with changes.",
        "",
        "| method | decay | inter-pixel | seeds | mIoU | against supervised-only | gain of the inter-pixel loss "
        "| passes | s / step | peak MiB | commit |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for key in sorted(commits, key=lambda key: (order(found, *key[:2]), key[0], key[1] or 0.0, key[2])):
        name, decay, alpha = key
        by_seed = found[key]
        price = None if decay is not None else by_cost.get((name, alpha))
        priced = (
            ["", "", ""]
            if price is None
            else [
                f"{price.get('gradient', 0):g} + {price.get('no gradient', 0):g}",
                f"{price['ratio']:.2f} ({price['low']:.2f} to {price['high']:.2f})",
                f"{price['peak']:.0f}",
            ]
        )
        cells = [
            name,
            "" if decay is None else f"{decay:g}",
            "KL" if alpha else "",
            str(len(by_seed)) + (f" of {len(by_seed) + len(failed[key])}" if failed[key] else ""),
            mean_of(by_seed),
            "" if key == (BASELINE, None, 0.0) else paired(by_seed, base),
            paired(by_seed, found[name, decay, 0.0]) if alpha else "",
            *priced,
            ", ".join(sorted(commits[key])),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        *(f"Failed: {name}, alpha {alpha:g}, {one}" for (name, _, alpha), all_ in failed.items() for one in all_),
    ]
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision"))
    lines += [
        "",
        "Commands: `python -m benchmarks.methods run --rows runs.jsonl`, the same with `--decay 0.9`, "
        "`python -m benchmarks.methods cost --rows cost.jsonl`, `python -m benchmarks.methods table --runs runs.jsonl "
        "--costs cost.jsonl --out benchmarks/results/methods.md`.",
        f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, {versions}; {platform.machine()}, CPU, "
        "1 thread per run.",
        "",
    ]
    return "\n".join(lines)


def mean_of(by_seed: dict[int, float]) -> str:
    """Mean and standard error of a row."""
    values = list(by_seed.values())
    if len(values) < 2:
        return f"{values[0]:.2f}" if values else ""
    return f"{statistics.mean(values):.2f} ± {standard_error(values):.2f}"


def order(found: dict[Key, dict[int, float]], name: str, decay: float | None) -> float:
    """Mean score of a method without the inter-pixel loss, the lowest first."""
    values = found[name, decay, 0.0] or found[name, decay, 1.0]
    return statistics.mean(values.values()) if values else 0.0


def paired(first: dict[int, float], second: dict[int, float]) -> str:
    """Mean difference over the seeds that both have, with its standard error."""
    apart = [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]
    if len(apart) < 2:
        return f"{apart[0]:+.2f} (n = 1)" if apart else ""
    return f"{statistics.mean(apart):+.2f} ± {standard_error(apart):.2f} (n = {len(apart)})"
