"""Rows of `benchmarks.step` as Markdown tables. Ratios are of medians over all steps of all turns; a turn's spread is
given so that a reader sees what a ratio is worth."""

import json
import os
import platform
import statistics
from collections import defaultdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.step_parts import NAMES

Row = dict[str, Any]


def read(rows: Path) -> list[Row]:
    """All rows of the file."""
    return [json.loads(line) for line in rows.read_text().splitlines()]


def _setting(row: Row) -> tuple[Any, ...]:
    side = row["side"]
    keys = ("device", "precision", "backbone", "crop", "batch", "threads", "cores", "method", "partner")
    return tuple(side[key] for key in keys)


def _title(setting: tuple[Any, ...]) -> str:
    device, precision, backbone, crop, batch, threads, cores, method, partner = setting
    kept = f", kept on {cores} core{'s' if cores > 1 else ''}" if cores else ""
    return (
        f"{backbone}, crop {crop}, {batch} + {batch} images, {method} (partner {partner}), {device}, {precision}, "
        f"{threads} thread{'s' if threads > 1 else ''}{kept}"
    )


def _step(rows: list[Row]) -> float:
    return float(statistics.median(second for row in rows for second in row["seconds"]))


def _cpu(rows: list[Row]) -> float:
    return float(statistics.median(row["cpu_seconds"] / len(row["seconds"]) for row in rows))


def render(rows: list[Row]) -> str:
    """Every comparison, every switch, every table of parts that the rows hold."""
    lines: list[str] = []
    kinds: dict[str, list[Row]] = {"compare": [], "switches": [], "parts": []}
    for row in rows:
        name = row["name"]
        which = "parts" if name == "parts" else "switches" if name.startswith(("all on", "without")) else "compare"
        kinds[which].append(row)
    for which, table in (("compare", _compared), ("switches", _switched), ("parts", _parts)):
        by_setting: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
        for row in kinds[which]:
            by_setting[_setting(row)].append(row)
        for setting, some in by_setting.items():
            lines += [f"### {_title(setting)}", "", *table(some), ""]
    return "\n".join([*lines, *footer(rows)])


def _by_name(rows: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["name"]].append(row)
    return found


def _compared(rows: list[Row]) -> list[str]:
    sides = _by_name(rows)
    images = 2 * rows[0]["side"]["batch"]
    lines = [
        "| side | turns | s a step (turns' medians) | images/s | to ours | CPU s a step | to ours | peak MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, some in sides.items():
        turns = [statistics.median(row["seconds"]) for row in some]
        step, cpu = _step(some), _cpu(some)
        spread = f"{step:.3f} ({min(turns):.3f} to {max(turns):.3f})"
        ratios = [f"{step / _step(sides['ours']):.2f}", f"{cpu:.2f}", f"{cpu / _cpu(sides['ours']):.2f}"]
        memory = max(row["memory_mib"] for row in some)
        cells = [name, str(len(some)), spread, f"{images / step:.2f}", *ratios, f"{memory:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _switched(rows: list[Row]) -> list[str]:
    sides = _by_name(rows)
    lines = ["| | s a step to all on | CPU s a step to all on | peak MiB |", "|---|---|---|---|"]
    base = sides["all on"]
    memory = max(row["memory_mib"] for row in base)
    lines.append(f"| all on | 1 ({_step(base):.3f} s) | 1 ({_cpu(base):.3f} s) | {memory:.0f} |")
    for name, some in sides.items():
        if name == "all on":
            continue
        beside = [row for row in base if _between(row, some)] or base
        ratios = f"{_step(some) / _step(beside):.3f} | {_cpu(some) / _cpu(beside):.3f}"
        lines.append(f"| {name} | {ratios} | {max(row['memory_mib'] for row in some):.0f} |")
    return lines


def _between(row: Row, some: list[Row]) -> bool:
    """Whether the row is of the same alternation: not more than a turn before or after."""
    turn = 2 * sum(row["seconds"]) + 60
    return bool(min(one["time"] for one in some) - turn <= row["time"] <= max(one["time"] for one in some) + turn)


def _parts(rows: list[Row]) -> list[str]:
    lines = ["| part | s a step | share |", "|---|---|---|"]
    steps = sum(len(row["seconds"]) for row in rows)
    seconds = {name: sum(row["parts"].get(name, 0.0) for row in rows) / steps for name in NAMES}
    whole = sum(seconds.values())
    lines += [f"| {name} | {value:.4f} | {100 * value / whole:.1f} % |" for name, value in seconds.items()]
    return lines


def footer(rows: list[Row]) -> list[str]:
    """Machine, versions, date, load."""
    loads = [row["load"] for row in rows if "load" in row]
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "numpy", "pillow"))
    devices = {row["side"]["device"] for row in rows if "side" in row}
    where = f"{platform.machine()}, {os.cpu_count()} cores, {'a GPU' if 'cuda' in devices else 'no GPU'}"
    load = f" Load average over a minute at the ends of turns: {min(loads):.1f} to {max(loads):.1f}." if loads else ""
    return [f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, {versions}; {where}.{load}", ""]
