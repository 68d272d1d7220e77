"""Do the methods beat supervised-only on `digits`? A table from the study that asks it.

    python -m ipix_tune.sweep benchmarks/digits_methods.yaml      # continues with --resume
    python -m ipix_tune.sweep benchmarks/digits_all_labels.yaml
    python -m benchmarks.digits_methods studies/digits-methods studies/digits-all-labels \
        --out benchmarks/results/digits_methods.md

Every row has the same steps, seeds and images to be scored on. The score is the mIoU on the official validation
list after the last epoch; nothing was selected on it.
"""

import json
import math
import platform
import statistics
import sys
from collections import defaultdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
import typer

SCORE = "final/last/miou"
BASELINE = "supervised-only"
FEW = 12
"""Labelled images of every row that does not say otherwise."""


def label(config: dict[str, dict[str, Any]]) -> str:
    """The name of the row that a training config belongs to."""
    name = {"supervised": "supervised-only", "fixmatch": "FixMatch", "unimatch": "UniMatch"}[
        str(config["method"]["name"])
    ]
    if config["interpixel"]["alpha"]:
        name += f" + inter-pixel ({str(config['interpixel']['distance']).upper()})"
    labels = config["data"]["draw"]["labelled"]
    return name if labels == FEW else f"{name}, {labels} labels"


def scores(studies: list[Path]) -> tuple[dict[str, dict[int, float]], set[int]]:
    """Score by row and seed, and the numbers of steps that occur (there should be one)."""
    history, runs = (
        [row for study in studies for row in pq.read_table(study / f"tables/{name}.parquet").to_pylist()]
        for name in ("history", "runs")
    )
    last = {row["run_id"]: row for row in history if row.get(SCORE)}
    rows: dict[str, dict[int, float]] = defaultdict(dict)
    steps = set()
    for run in runs:
        if run["state"] == "complete" and run["run_id"] in last:
            config = json.loads(run["config"])
            rows[label(config)][run["seed"]] = last[run["run_id"]][SCORE]
            steps.add(run["epochs"] * config["schedule"]["steps_per_epoch"])
    return rows, steps


def standard_error(values: list[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def render(rows: dict[str, dict[int, float]], steps: set[int], command: str) -> str:
    """The table as Markdown, with the difference from supervised-only in units of its standard error."""
    if BASELINE not in rows:
        raise typer.BadParameter(f"the study has no finished run of {BASELINE}; found: {sorted(rows)}")
    base = list(rows[BASELINE].values())
    lines = [
        "# Methods on `digits`",
        "",
        f"mIoU in % on the official validation list, last epoch, {', '.join(map(str, sorted(steps)))} steps per run, "
        f"{FEW} labelled images unless the row says otherwise; "
        "mean ± standard error over the seeds. `difference` is to supervised-only, its standard error from both rows.",
        "",
        "| method | seeds | mIoU | difference | difference / standard error | each seed |",
        "|---|---|---|---|---|---|",
    ]
    for name, by_seed in sorted(rows.items(), key=lambda item: statistics.mean(item[1].values())):
        values = list(by_seed.values())
        mean, error = statistics.mean(values), standard_error(values)
        difference = mean - statistics.mean(base)
        spread = math.hypot(error, standard_error(base))
        ratio = "" if name == BASELINE else f"{difference / spread:.1f}"
        shift = "" if name == BASELINE else f"{difference:+.2f} ± {spread:.2f}"
        each = ", ".join(f"{seed}: {value:.2f}" for seed, value in sorted(by_seed.items()))
        lines.append(f"| {name} | {len(values)} | {mean:.2f} ± {error:.2f} | {shift} | {ratio} | {each} |")
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "ray", "optuna"))
    lines += [
        "",
        "Commands: `python -m ipix_tune.sweep` with `benchmarks/digits_methods.yaml` and with "
        f"`benchmarks/digits_all_labels.yaml`, then `{command}`.",
        f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, {versions}; "
        f"{platform.machine()}, CPU, 1 thread per run.",
        "",
    ]
    return "\n".join(lines)


def main(
    studies: Annotated[list[Path], typer.Argument(help="Folders of the finished studies.")],
    out: Annotated[Path, typer.Option(help="Markdown file to write.")],
) -> None:
    """Write the table."""
    rows, steps = scores(studies)
    out.write_text(render(rows, steps, f"python -m benchmarks.digits_methods {' '.join(sys.argv[1:])}"))
    typer.echo(out.read_text())


if __name__ == "__main__":
    typer.run(main)
