"""How often the confirmation's verdicts are wrong, and what they cost: `analysis.stats.confirm.seed_race.judge` on
simulated seeds.

    python -m benchmarks.confirmation run calibration    # and the other parts; goes on where it stopped
    python -m benchmarks.confirmation render --out benchmarks/results/confirmation_202611.md

Every cell (a part's setting) is a file of its own in --pieces. Every repetition runs the race that `ipix-tune confirm`
runs: judge, run what it wants, judge again.
"""

import json
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.helpers.confirmation_cells import calibration, candidate, curse, enough, family, pooled
from benchmarks.helpers.confirmation_tables import tables

Cell = Callable[[], dict[str, Any]]
PIECES = Path("studies/confirmation-pieces")
NOISES, EFFECTS, BUDGETS = (0.3, 0.45, 0.6), (0.0, 0.3, 0.6, 1.0), (3, 5, 7, 10)
CHUNK = 15
"""Studies of the winner's curse in a cell."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Part(StrEnum):
    """What is simulated."""

    CALIBRATION = "calibration"
    CANDIDATES = "candidates"
    ENOUGH = "enough"
    FAMILIES = "families"
    ROBUSTNESS = "robustness"
    CURSE = "curse"


def cells(part: Part, repetitions: int, studies: int) -> Iterator[tuple[str, Cell]]:
    """Names and simulations of a part's cells."""
    if part is Part.CALIBRATION:
        for noise in NOISES:
            for budget in BUDGETS:
                for effect in EFFECTS:
                    cell = partial(calibration, repetitions, noise=noise, seeds=budget, effect=effect)
                    yield f"{noise}-{budget}-{effect}", cell
    elif part is Part.ROBUSTNESS:
        for shape in ("normal", "t4", "skewed"):
            for effect in (0.0, 0.6):
                for budget in (5, 10):
                    cell = partial(calibration, repetitions, noise=0.45, seeds=budget, effect=effect, shape=shape)
                    yield f"{shape}-{budget}-{effect}", cell
    elif part is Part.FAMILIES:
        for layout in ("all pairs of 5", "1 against 10"):
            for truth, shape in (("equal", "normal"), ("mixed", "normal"), ("equal", "t4"), ("equal", "skewed")):
                yield f"{layout}-{truth}-{shape}", partial(family, repetitions, layout=layout, truth=truth, shape=shape)
    elif part is Part.CANDIDATES:
        for comparisons in (1, 10):
            for noise in NOISES:
                yield f"rule-{comparisons}-{noise}", partial(candidate, comparisons=comparisons, noise=noise)
        for unequal in (False, True):
            for seeds in (5, 10):
                yield f"pooled-{unequal}-{seeds}", partial(pooled, unequal=unequal, seeds=seeds)
    elif part is Part.ENOUGH:
        for comparisons in (1, 10):
            yield f"{comparisons}", partial(enough, comparisons=comparisons)
    else:
        for noise in NOISES:
            for start in range(0, studies, CHUNK):
                chunk = range(start, min(start + CHUNK, studies))
                yield f"{noise}-{start}-{chunk.stop}", partial(curse, noise=noise, studies=chunk)


@app.command("run")
def run(
    part: Part,
    pieces: Annotated[Path, typer.Option(help="Folder of the cells' results.")] = PIECES,
    repetitions: Annotated[int, typer.Option(min=10, help="Of each cell.")] = 2000,
    studies: Annotated[int, typer.Option(min=1, help="Synthetic studies of the winner's curse, by noise.")] = 60,
) -> None:
    """Simulate the cells of a part that are not there yet."""
    pieces.mkdir(parents=True, exist_ok=True)
    for name, simulate in cells(part, repetitions, studies):
        path = pieces / f"{part}-{name.replace(' ', '_')}.json"
        if path.exists():
            continue
        began = time.perf_counter()
        found = simulate() | {"part": part.value}
        took = time.perf_counter() - began
        path.write_text(json.dumps(found | {"took_s": took}))
        print(f"{part} {name}: {took:.1f} s", file=sys.stderr, flush=True)


@app.command("render")
def render(
    out: Annotated[Path, typer.Option(help="Markdown file to write.")],
    pieces: Annotated[Path, typer.Option(help="Folder of the cells' results.")] = PIECES,
) -> None:
    """The tables as Markdown, above what a person wrote under `## What this says`."""
    found: dict[str, list[dict[str, Any]]] = {part.value: [] for part in Part}
    for path in sorted(pieces.glob("*.json")):
        piece = json.loads(path.read_text())
        found[piece["part"]].append(piece)
    took = sum(piece["took_s"] for of_part in found.values() for piece in of_part)
    command = shlex.join(["python", "-m", "benchmarks.confirmation", "run", "PART"])
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "optuna"))
    origin = [
        f"Command: `{command}` for each of {', '.join(Part)};",
        f"{took:.0f} s in all, each on one of 2 cores that others used too, no GPU.",
        f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, {versions}.",
        "",
    ]
    kept = out.read_text().partition("## What this says")[1:] if out.exists() else ()
    out.write_text("\n".join([*tables(found), *origin]) + ("\n" + "".join(kept) if any(kept) else ""))


if __name__ == "__main__":
    app()
