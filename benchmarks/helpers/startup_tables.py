"""The table of `benchmarks.startup`."""

import json
import os
import platform
import statistics
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

TRIALS = 4
"""Of a study: the first is cold, the others warm."""
PARTS = ("started", "workers", "imported", "data", "built", "stepped")
"""What has happened, in this order, in the process of rank 0, when a time is noted."""
WORDS = ("process", "workers, process group", "imports", "data", "model, loader", "first step")


def page(rows: Path, out: Path) -> str:
    """The page for ``out``: times of all rounds in ``rows``."""
    lines = [
        "# From a trial's start to the end of its first training step",
        "",
        "A trial starts when Tune asks the searcher for it: drawing the configuration, writing it down, starting or "
        "taking over processes and all that follows count. Ray is up by then. A torchrun starts with its process. "
        f"A study has {TRIALS} trials, one after the other: the first is cold, the others are warm. Median seconds "
        "(smallest to largest).",
        "",
        *_times(rows),
        "",
        f"Medians of the parts, in the process of rank 0. *{WORDS[0]}*: until our code runs in the trial's process, or "
        f"in torchrun's; *{WORDS[1]}*: until Ray Train's workers are joined and have the trainable, or torchrun's are "
        "joined.",
        "",
        *_parts(rows),
    ]
    loads = [json.loads(line)["load"] for line in rows.read_text().splitlines()]
    versions = ", ".join(f"{name} {version(name)}" for name in ("ray", "optuna", "torch"))
    lines += [
        "",
        "Commands: `python -m benchmarks.startup measure --rounds 5 --rows startup.jsonl`, then "
        f"`python -m benchmarks.startup table --rows startup.jsonl --out {out}`.",
        f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, {versions}; {platform.machine()}, "
        f"{os.cpu_count()} cores, no GPU. The machine is shared: load average over a minute when a run began "
        f"{min(loads):.1f} to {max(loads):.1f}. Ray's processes run at niceness 15, torchrun's at 0.",
        "",
    ]
    return "\n".join(lines)


def _cases(rows: Path) -> dict[tuple[str, int], list[dict[str, float]]]:
    """The parts of every run, by start and number of workers."""
    cases: dict[tuple[str, int], list[dict[str, float]]] = {}
    for line in rows.read_text().splitlines():
        row = json.loads(line)
        cases.setdefault((row["start"], row["workers"]), []).append(row["parts"])
    return dict(sorted(cases.items(), key=lambda case: (case[0][1], ("torchrun", "cold", "warm").index(case[0][0]))))


def _times(rows: Path) -> list[str]:
    cases = {case: [sum(parts.values()) for parts in runs] for case, runs in _cases(rows).items()}
    lines = ["| workers | start | runs | seconds | over torchrun |", "|---|---|---|---|---|"]
    for (start, workers), totals in cases.items():
        middle = statistics.median(totals)
        over = "" if start == "torchrun" else f"{middle - statistics.median(cases['torchrun', workers]):+.1f}"
        spread = f"{middle:.1f} ({min(totals):.1f} to {max(totals):.1f})"
        lines.append(f"| {workers} | {start} | {len(totals)} | {spread} | {over} |")
    return lines


def _parts(rows: Path) -> list[str]:
    lines = [f"| workers | start | {' | '.join(WORDS)} |", "|---|---|" + "---|" * len(WORDS)]
    for (start, workers), runs in _cases(rows).items():
        medians = [statistics.median(run[part] for run in runs) for part in PARTS]
        lines.append(f"| {workers} | {start} | {' | '.join(f'{one:.2f}' for one in medians)} |")
    return lines
