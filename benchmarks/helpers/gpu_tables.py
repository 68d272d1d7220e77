"""Rows of `benchmarks.gpu` as Markdown: a table for each stage, with what failed, and what was not reached."""

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trainers.common.environment import git_commit

Row = dict[str, Any]
HEADINGS = {
    "tests": "Tests marked `gpu`",
    "methods": "Every method: small network, bf16, deterministic",
    "kernels": "Single operators",
    "step": "UniMatch's step on batches made before, by switch",
    "loader": "UniMatch's step with its loader, by workers",
    "compile": "`precision.compile`, from an empty cache",
    "unimatch": "Against UniMatch's loop, turns in order",
    "networks": "A minute of each network: UniMatch with the inter-pixel loss, bf16, random weights",
    "processes": "Several processes against one, and batch norm over all of them",
}
COLUMNS = {
    "result": ("result", "{}"),
    "processes": ("processes", "{}"),
    "steps": ("steps", "{}"),
    "ms": ("ms a step", "{:.1f}"),
    "images_s": ("images a second", "{:.0f}"),
    "loss": ("mean loss: first three steps, the others", "{}"),
    "interpixel": ("inter-pixel loss", "{:.2g}"),
    "miou": ("mIoU, held out", "{:.1f}"),
    "host_ms": ("of which the host was busy", "{:.1f}"),
    "waits": ("host waits a step", "{}"),
    "collectives": ("collectives a step", "{}"),
    "evaluation_s": ("evaluation, s", "{:.2f}"),
    "whole_s": ("two steps, evaluation, checkpoint, s", "{:.2f}"),
    "cold_s": ("first three steps, s", "{:.1f}"),
    "peak_mib": ("peak MiB", "{:.0f}"),
    "tflops": ("TFLOP/s", "{:.1f}"),
    "copy_gb_s": ("copy, GB/s", "{:.0f}"),
    "of_copy_rate": ("of the copy rate", "{:.0%}"),
    "difference": ("largest difference", "{:.0e}"),
    "skipped": ("skipped", "{}"),
    "failed": ("failed", "{}"),
}


def read(rows: Path) -> list[Row]:
    """All rows of the file."""
    return [json.loads(line) for line in rows.read_text().splitlines()]


def render(rows: list[Row]) -> str:
    """All stages that have rows, in order; their profiles below them."""
    devices = sorted({row["device"] for row in rows if "device" in row})
    lines = [f"# A training on {', '.join(devices) or 'no device'}", ""]
    for stage, heading in HEADINGS.items():
        some = [row for row in rows if row["stage"] == stage]
        if not some:
            continue
        ends = [f"{row['result']} ({row['seconds']:.0f} s)" for row in some if "seconds" in row]
        lines += [f"## {heading}", "", f"Stage `{stage}`: {', '.join(ends) or 'not ended'}.", ""]
        lines += [*_table([row for row in some if "name" in row]), ""]
        for row in some:
            if "profile" in row:
                lines += [f"Profile, {row['name']}:", "", "| operator | ms | calls |", "|---|---|---|"]
                lines += [f"| `{name}` | {ms:.2f} | {calls} |" for name, ms, calls in row["profile"]] + [""]
    return "\n".join([*lines, footer(), ""])


def _table(rows: list[Row]) -> list[str]:
    shown = [key for key in COLUMNS if any(row.get(key) is not None for row in rows)]
    if not rows:
        return ["No row."]
    lines = [f"| | {' | '.join(COLUMNS[key][0] for key in shown)} |", "|---" * (len(shown) + 1) + "|"]
    for row in rows:
        cells = ["" if row.get(key) is None else _cell(COLUMNS[key][1].format(row[key])) for key in shown]
        lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")


def footer() -> str:
    """Date, commit, versions, cores."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "numpy", "pillow"))
    commit = git_commit() or "not known"
    made = f"{datetime.now(UTC):%Y-%m-%d}; commit {commit}; Python {platform.python_version()}, {versions}"
    return f"{made}; {os.cpu_count()} cores."
