"""Rows of `benchmarks.step` as Markdown tables. Ratios are of medians over all steps of all turns; a turn's spread is
given so that a reader sees what a ratio is worth."""

import json
import os
import platform
import statistics
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.helpers.step_parts import NAMES

Row = dict[str, Any]


def read(rows: Path) -> list[Row]:
    """All rows of the file."""
    return [json.loads(line) for line in rows.read_text().splitlines()]


def _kind(row: Row) -> str:
    """What an alternation is, by the first of its sides."""
    return {"parts": "Parts", "all on": "Switches"}.get(row["name"], "Sides")


def _title(row: Row) -> str:
    side = row["side"]
    threads, cores, workers = side["threads"], side["cores"], side["workers"]
    words = [
        f"{side['backbone']}, crop {side['crop']}, {side['batch']} + {side['batch']} images",
        f"{side['method']} (partner {side['partner']}){' with the inter-pixel loss' if side['interpixel'] else ''}",
        f"{side['device']}, {side['precision']}, {threads} thread{'s' if threads > 1 else ''}",
        f"{workers} loader worker{'s' if workers > 1 else ''}" if workers else "loader in the same process",
    ]
    if side["compile"] != "off":
        words.append(f"compile {side['compile']}")
    if cores:
        words.append(f"kept on {cores} core{'s' if cores > 1 else ''}")
    return f"### {_kind(row)}: {', '.join(words)}"


def _step(rows: list[Row]) -> float:
    return float(statistics.median(second for row in rows for second in row["seconds"]))


def _cpu(rows: list[Row]) -> float:
    return float(statistics.median(row["cpu_seconds"] / len(row["seconds"]) for row in rows))


def render(rows: list[Row]) -> str:
    """Every comparison, every switch, every table of parts that the rows hold; alternations with the same title, which
    is that of their first row, are in one table."""
    alternations: dict[float, list[Row]] = defaultdict(list)
    for row in rows:
        alternations[row["begun"]].append(row)
    tables: dict[str, list[Row]] = defaultdict(list)
    for some in alternations.values():
        tables[_title(some[0])] += some
    lines: list[str] = []
    for kind, table in (("Sides", _compared), ("Switches", _switched), ("Parts", _parts)):
        for title, some in tables.items():
            if _kind(some[0]) == kind:
                lines += [title, "", *table(some), ""]
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
        ratios = [f"{step / _step(sides['ours']):.2f}", f"{cpu:.3f}", f"{cpu / _cpu(sides['ours']):.2f}"]
        memory = max(row["memory_mib"] for row in some)
        cells = [name, str(len(some)), spread, f"{images / step:.2f}", *ratios, f"{memory:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _switched(rows: list[Row]) -> list[str]:
    sides = _by_name(rows)
    lines = ["| | s a step to all on (rounds) | CPU s a step to all on (rounds) | peak MiB |", "|---|---|---|---|"]
    base = sides.pop("all on")
    memory = max(row["memory_mib"] for row in base)
    lines.append(f"| all on | 1 ({_step(base):.3f} s) | 1 ({_cpu(base):.3f} s) | {memory:.0f} |")
    for name, some in sides.items():
        ratios = f"{_ratio(some, base, _step)} | {_ratio(some, base, _cpu)}"
        lines.append(f"| {name} | {ratios} | {max(row['memory_mib'] for row in some):.0f} |")
    return lines


def _ratio(some: list[Row], base: list[Row], measure: Callable[[list[Row]], float]) -> str:
    """To those of the base that ran in the same rounds, and from the smallest to the largest of a round."""
    beside = {(row["begun"], row["round"]): row for row in base}
    pairs = [(row, beside[row["begun"], row["round"]]) for row in some]
    whole = measure(some) / measure([other for _, other in pairs])
    rounds = [measure([row]) / measure([other]) for row, other in pairs]
    return f"{whole:.2f} ({min(rounds):.2f} to {max(rounds):.2f})"


def _parts(rows: list[Row]) -> list[str]:
    lines = ["| part | s a step | share |", "|---|---|---|"]
    steps = sum(len(row["seconds"]) for row in rows)
    seconds = {name: sum(row["parts"].get(name, 0.0) for row in rows) / steps for name in NAMES}
    whole = sum(seconds.values())
    lines += [f"| {name} | {value:.4f} | {100 * value / whole:.1f} % |" for name, value in seconds.items()]
    return [*lines, f"| all | {whole:.4f} | 100 % |"]


def footer(rows: list[Row]) -> list[str]:
    """Machine, versions, date, load."""
    loads = [row["load"] for row in rows if "load" in row]
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "numpy", "pillow"))
    devices = {row["side"]["device"] for row in rows if "side" in row}
    where = f"{platform.machine()}, {os.cpu_count()} cores, {'a GPU' if 'cuda' in devices else 'no GPU'}"
    load = f" Load average over a minute at the ends of turns: {min(loads):.1f} to {max(loads):.1f}." if loads else ""
    return [f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, {versions}; {where}.{load}", ""]
