"""What a reader opens who follows one trial from its YAML line to its row in the report.

    python -m benchmarks.trial_walk read                      # the way that docs/explanation/one-trial.md shows
    python -m benchmarks.trial_walk watch --steps steps.txt   # what a trial runs, and what is opened, in order
    python -m benchmarks.trial_walk watch --tree ../older --study older.yaml     # of another checkout, for comparison

A page of the documentation goes along the way that a trial's numbers take; `read` counts what a reader of it opens.
`watch` asks the program instead.

One trial of two epochs is searched, trained, logged and reported by the tree's own command; every process is watched.
Its point has numbers that nobody else has, and so have its scores. A reader who follows them opens a function when it
is given one of these numbers, or returns one, for the first time (`walk_hook`), whichever process calls it. Beside that
stands what ran at all: every function, when it is called for the first time. A room is a package, such as
`ipix_tune.search` or `trainers.data`.
"""

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

PAGE = Path("docs/explanation/one-trial.md")
STEP = re.compile(r"^\| \d+ \| `([^`]+)` \| `([^`]+)` \|", re.MULTILINE)
HOOK = Path(__file__).with_name("helpers") / "walk_hook.py"
PACKAGES = ("ipix_tune", "analysis", "trainers")
POINT = {"interpixel.alpha: 0.0625": "interpixel.alpha: 0.0612347", "interpixel.tau: 0.8": "interpixel.tau: 0.8123457"}
"""The study's own point, and the one whose numbers are followed."""
UNCONFIRMED = "confirm.after_search=false"
"""Only for a study file that asks for a confirmation after the search: before 0.2 there was no such key."""
ONE_TRIAL = [
    "budget.trials=1",
    "trainer.schedule.epochs=2",
    "trainer.schedule.steps_per_epoch=2",
    "trainer.evaluation.every=1",
    "scheduler.grace_epochs=1",
]


@dataclass(frozen=True)
class Opened:
    """A function, and the number for which it is opened; "" where it only ran."""

    file: str
    function: str
    number: str

    @property
    def room(self) -> str:
        """The package."""
        return self.file.rpartition("/")[0]


def walked(tree: Path, study: Path) -> tuple[list[Opened], list[Opened]]:
    """What follows the trial, and all that ran, each in the order of first calls; files relative to ``tree``.

    Args:
        study: a study file with the point `POINT`.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "hook").mkdir()
        (folder / "out").mkdir()
        (folder / "hook" / "sitecustomize.py").write_text(HOOK.read_text())
        text = study.read_text()
        for own, followed in POINT.items():
            if own not in text:
                raise typer.BadParameter(f"{study} has no line {own!r}", param_hint="--study")
            text = text.replace(own, followed)
        (folder / "study.yaml").write_text(text)
        watched = {
            "PYTHONPATH": os.pathsep.join([str(tree), str(folder / "hook")]),
            "IPIX_WALK_TREE": f"{tree}/",
            "IPIX_WALK_OUT": str(folder / "out"),
            "IPIX_WALK_PACKAGES": " ".join(PACKAGES),
        }
        changes = [f"storage={folder}/studies", *ONE_TRIAL, *([UNCONFIRMED] if "after_search" in text else [])]
        subprocess.run(
            [sys.executable, "-m", "ipix_tune.sweep", f"{folder}/study.yaml", *(f"--set={one}" for one in changes)],
            cwd=tree,
            env={**os.environ, **watched},
            check=True,
            stdout=sys.stderr,
        )
        lines = [line.split(" ", 1) for file in (folder / "out").iterdir() for line in file.read_text().splitlines()]
        scores = [
            json.loads(line).get("val/miou")
            for file in (folder / "studies").rglob("metrics.jsonl")
            for line in file.read_text().splitlines()
        ]
    numbers = {line.rpartition(" ")[2] for line in POINT.values()} | {repr(one) for one in scores if one is not None}
    every = []
    for _, line in sorted(lines, key=lambda one: float(one[0])):
        place, number = json.loads(line)
        file, _, function = place.partition(" ")
        if file.split("/")[0] in PACKAGES:
            every.append(Opened(file, function, number))
    return firsts([one for one in every if one.number in numbers]), firsts([one for one in every if not one.number])


def firsts(opened: Sequence[Opened]) -> list[Opened]:
    """Each function once."""
    found: dict[tuple[str, str], Opened] = {}
    for one in opened:
        found.setdefault((one.file, one.function), one)
    return list(found.values())


def returns(opened: Sequence[Opened]) -> int:
    """How often the next function lies in a room that had been left before."""
    left: set[str] = set()
    found, room = 0, ""
    for one in opened:
        if one.room != room:
            found += one.room in left
            left.add(room)
            room = one.room
    return found


def on_page(tree: Path) -> list[Opened]:
    """The steps of the page, in order."""
    return [Opened(file, function, "") for file, function in STEP.findall((tree / PAGE).read_text())]


def is_there(tree: Path, step: Opened) -> bool:
    """Whether the file has such a function, method or class."""
    here: ast.AST = ast.parse((tree / step.file).read_text()) if (tree / step.file).exists() else ast.Module([], [])
    for name in step.function.split("."):
        within = ast.iter_child_nodes(here)
        found = [one for one in within if isinstance(one, ast.FunctionDef | ast.ClassDef) and one.name == name]
        if not found:
            return False
        here = found[0]
    return True


def row(label: str, opened: Sequence[Opened]) -> str:
    """A row of the table: files, functions, rooms, returns."""
    files = dict.fromkeys(one.file for one in opened)
    each = ", ".join(f"{sum(file.startswith(f'{name}/') for file in files)} in {name}" for name in PACKAGES)
    rooms = len({one.room for one in opened})
    return f"| {label} | {len(files)} ({each}) | {len(opened)} | {rooms} | {returns(opened)} |"


@app.command()
def read(tree: Annotated[Path, typer.Option(help="A checkout.")] = Path()) -> None:
    """Print the row of the way that the page shows."""
    typer.echo(row("on the page", on_page(tree)))


@app.command()
def watch(
    tree: Annotated[Path, typer.Option(help="A checkout.")] = Path(),
    study: Annotated[Path | None, typer.Option(help="A study file; the tree's search_spaces/digits.yaml.")] = None,
    steps: Annotated[Path | None, typer.Option(help="A file for what is opened, in order.")] = None,
) -> None:
    """Print the rows of what follows the trial's numbers and of what runs."""
    followed, ran = walked(tree.resolve(), study or tree / "search_spaces" / "digits.yaml")
    for label, opened in (("follows the trial", followed), ("runs", ran)):
        typer.echo(row(label, opened))
    if steps is not None:
        steps.write_text("".join(f"{one.file} {one.function} {one.number}\n" for one in followed))


if __name__ == "__main__":
    app()
