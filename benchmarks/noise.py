"""What makes seeds differ on `digits`, and what makes them differ less.

    python -m benchmarks.noise run --folder studies/noise               # goes on where it was left
    python -m benchmarks.noise table --folder studies/noise --out benchmarks/results/noise_202611.md
    python -m benchmarks.noise recorded docs/example-report             # of a confirmation that was run

Every labelled list is trained from every initialisation with every order (views and dropout included): a crossed
design, of which `analysis/stats/variance_split.py` tells how much each of the three adds to the variance of a run. All
runs are scored on the same scenes, so that what fewer held-out scenes add is seen by leaving scenes out.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

CONFIG = Path(__file__).with_suffix(".yaml")
FACTORS = ("labelled draw", "initialisation", "order and views")
METHODS = ("supervised", "fixmatch")
LEVELS = 3
OWN_SETTINGS = {
    "fixmatch": ["method.conf_thresh=0.7"],
    "unimatch": ["method.conf_thresh=0.7"],
    "st": ["method.flip=false"],
}

Folder = Annotated[Path, typer.Option(help="Where the counts of the trainings lie.")]


@app.command()
def run(
    folder: Folder,
    levels: Annotated[int, typer.Option(min=2, help="Levels of each of the three sources.")] = LEVELS,
    only: Annotated[list[str] | None, typer.Option(help="Methods.")] = None,
    jobs: Annotated[int, typer.Option(help="Trainings at a time, of one thread each.")] = 2,
) -> None:
    """Train the cells that are missing, the smaller designs first."""
    cells = sorted(product(range(levels), repeat=len(FACTORS)), key=lambda cell: (max(cell), cell))
    wanted = [(method, cell) for cell in cells for method in only or METHODS]
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda one: _train(folder, *one), wanted))


def file_of(folder: Path, method: str, cell: tuple[int, ...]) -> Path:
    """Where the counts of a cell lie."""
    return folder / method / f"{'-'.join(map(str, cell))}.npz"


def _train(folder: Path, method: str, cell: tuple[int, ...]) -> None:
    file = file_of(folder, method, cell)
    if file.exists():
        return
    command = [sys.executable, "-m", "benchmarks.noise", "one", method, *map(str, cell), "--folder", str(folder)]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


@app.command(hidden=True)
def one(method: str, draw: int, init: int, order: int, folder: Folder) -> None:
    """One training, in a process of its own."""
    from benchmarks.helpers.scored_training import miou, train_and_count
    from trainers.cli.train import load

    own = [f"method.name={method}", *OWN_SETTINGS.get(method, [])]
    seeds = [f"data.draw.seed={draw}", f"seeds.init={init}", f"seeds.order={order}"]
    file = file_of(folder, method, (draw, init, order))
    train_and_count(load(CONFIG, [*own, *seeds]), file)
    typer.echo(f"{method} {draw}-{init}-{order}: {miou(np.load(file)['last0']):.2f}")


@app.command()
def table(folder: Folder, out: Annotated[Path, typer.Option(help="A Markdown file.")]) -> None:
    """Write what the finished cells say: of the largest crossed design that all methods have."""
    from benchmarks.helpers.noise_tables import Design, render

    designs = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")}
    levels = 0
    while designs and all(
        file_of(folder, method, cell).exists()
        for method in designs
        for cell in product(range(levels + 1), repeat=len(FACTORS))
    ):
        levels += 1
    if levels < 2:
        raise typer.BadParameter(f"{folder}: a design of two levels of each source is not finished; `run` first")
    loaded = {
        method: Design(
            {
                cell: dict(np.load(file_of(folder, method, cell)))
                for cell in product(range(levels), repeat=len(FACTORS))
            },
            levels=levels,
        )
        for method in designs
    }
    out.write_text(render(loaded, FACTORS))
    typer.echo(out.read_text())


@app.command()
def recorded(
    study: Annotated[Path, typer.Argument(help="A confirmed study's folder, with tables/.", exists=True)],
) -> None:
    """What the mean over the last evaluations would have saved in a confirmation that was run."""
    from benchmarks.helpers.noise_recorded import render

    typer.echo(render(study))


if __name__ == "__main__":
    app()
