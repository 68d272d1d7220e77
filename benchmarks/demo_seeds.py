"""Does the demo end with the same decided verdict whatever its seeds are? The demo itself, with other seeds.

    python -m benchmarks.demo_seeds run --folder studies/demos             # goes on where it was left
    python -m benchmarks.demo_seeds table --folder studies/demos --out benchmarks/results/demos_202611.md

Demo number n starts the sampler with seed n and the trainings with seed 1000 n, so that no training of one demo is in
another. Scenes, labelled list and held-out scenes are the demo's own.
"""

import csv
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from ipix_tune.study.confirm_arms import EQUAL

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

STUDY = Path(__file__).resolve().parent.parent / "search_spaces" / "digits.yaml"
DEMOS = 10
SEEDS_APART = 1000
DONE = "demo-seconds.txt"

Folder = Annotated[Path, typer.Option(help="Where the demos' studies lie.")]


@app.command()
def run(folder: Folder, demos: Annotated[int, typer.Option(min=1)] = DEMOS) -> None:
    """Run the demos that have not ended, one after the other."""
    for number in range(demos):
        study = folder / f"demo{number}"
        if (study / DONE).exists():
            continue
        begun, clock = (study / "study.yaml").exists(), time.monotonic()
        command = [sys.executable, "-m", "ipix_tune.sweep", str(STUDY), "--name", study.name]
        command += [f"--set=storage={folder}", f"--set=sampler.seed={number}"]
        command += [f"--set=trainer.seed={number * SEEDS_APART}"]
        subprocess.run(command + ["--resume"] * begun, check=True)
        seconds = time.monotonic() - clock
        (study / DONE).write_text("" if begun else f"{seconds:.0f}")
        typer.echo(f"{study.name}: {seconds:.0f} s")


def verdicts(study: Path) -> list[dict[str, str]]:
    """The rows of a demo's table of verdicts."""
    with (study / "tables" / "verdicts.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def standard_name(name: str) -> str:
    """The name of a configuration without `top 1`, which is another one in every demo, where it has a second name."""
    first, _, rest = name.partition(f" {EQUAL} ")
    names = [part for part in (first, *rest.rstrip(")").split(", ")) if part and not part.startswith("top ")]
    return names[0] if names else name


@app.command()
def table(folder: Folder, out: Annotated[Path, typer.Option(help="A Markdown file.")]) -> None:
    """Write every demo's verdicts and how often each comparison was decided, and how."""
    studies = [study for number in range(DEMOS) if ((study := folder / f"demo{number}") / DONE).exists()]
    if not studies:
        raise typer.BadParameter(f"{folder} has no demo that ended; `run` first")
    found: dict[tuple[str, str], list[str]] = {}
    lines = ["| demo | seconds | verdicts |", "|---|---|---|"]
    for study in studies:
        rows = verdicts(study)
        for row in rows:
            found.setdefault((standard_name(row["first"]), standard_name(row["second"])), []).append(row["verdict"])
        words = "<br>".join(row["words"] for row in rows)
        lines.append(f"| {study.name} | {(study / DONE).read_text() or 'resumed'} | {words} |")
    counts = ["| comparison | " + " | ".join(KINDS) + " |", "|---|" + "---|" * len(KINDS)]
    for (first, second), kinds in found.items():
        counts.append(f"| {first} against {second} | " + " | ".join(str(kinds.count(kind)) for kind in KINDS) + " |")
    text = [
        f"# {len(studies)} demos",
        "",
        "`search_spaces/digits.yaml` as `make demo` runs it, each time with another seed of the sampler and of all "
        "trainings.",
        "",
        *counts,
        "",
        *lines,
        "",
        "Commands: `python -m benchmarks.demo_seeds run --folder studies/demos`, then `table`.",
        f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, torch {version('torch')}, "
        f"ray {version('ray')}; {platform.machine()}, {os.cpu_count()} cores, no GPU.",
        "",
    ]
    out.write_text("\n".join(text))
    typer.echo(out.read_text())


KINDS = ("better", "worse", "equivalent", "undecided")


if __name__ == "__main__":
    app()
