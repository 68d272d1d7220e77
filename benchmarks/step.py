"""One training step against itself with each optimisation off, and against UniMatch's own loop, in alternating rounds.

    python -m benchmarks.step compare --unimatch PATH --crop 129 --batch 4 --rows step.jsonl      # and --bare
    python -m benchmarks.step switches --crop 129 --batch 4 --rows step.jsonl
    python -m benchmarks.step parts --crop 129 --batch 4 --rows step.jsonl
    python -m benchmarks.step table --rows step.jsonl --out benchmarks/results/step_cpu_202611.md

Every side is a process of its own (`step_side`), all on the same JPEG files; they take turns, so that a machine that is
slower for a while is slower for all. `benchmarks.gpu` has what a GPU's table needs.
"""

import dataclasses
import json
import os
import statistics
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.helpers import step_tables
from benchmarks.helpers.step_plain import OPTIMISATIONS
from benchmarks.helpers.step_sides import folder_of_images, started
from benchmarks.helpers.step_turns import Side

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


Crop = Annotated[int, typer.Option(help="Side of the square crop.")]
Batch = Annotated[int, typer.Option(help="Labelled images a step; as many unlabelled ones come with them.")]
Backbone = Annotated[str, typer.Option(help="small, resnet50, resnet101.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Precision = Annotated[str, typer.Option(help="fp32 or bf16.")]
Method = Annotated[str, typer.Option(help="Any method of trainers.methods.")]
Threads = Annotated[int, typer.Option(help="Threads of PyTorch's operators.")]
Workers = Annotated[int, typer.Option(help="Our loader workers; UniMatch has one for each of its three streams.")]
Cores = Annotated[int, typer.Option(help="Keep every side on so many cores; 0: wherever it likes.")]
Rounds = Annotated[int, typer.Option(help="Turns of each side.")]
Steps = Annotated[int, typer.Option(help="Timed steps of a turn.")]
Rows = Annotated[Path, typer.Option(help="JSON lines; rows are added.")]
Unimatch = Annotated[Path | None, typer.Option(help="A checkout of UniMatch.", exists=True, file_okay=False)]


def alternate(sides: dict[str, Side], *, rounds: int, steps: int, rows: Path) -> None:
    """Rounds in which every side has its turn, in an order that turns round; one row for each turn."""
    begun = time.time()
    with ExitStack() as stack:
        turns = {name: stack.enter_context(started(side)) for name, side in sides.items()}
        for number in range(rounds):
            names = list(turns)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                answer = turns[name](steps)
                row = {"name": name, "begun": begun, "round": number, "load": os.getloadavg()[0]}
                with rows.open("a") as stream:
                    stream.write(json.dumps({**row, "side": dataclasses.asdict(sides[name]), **answer}) + "\n")
                typer.echo(f"{number} {name}: {statistics.median(answer['seconds']):.3f} s a step")


def ours(context: typer.Context, **others: Any) -> Side:
    """Our side, as those of the command's options say that have a field's name."""
    fields = {field.name for field in dataclasses.fields(Side)}
    given = {name: value for name, value in context.params.items() if name in fields}
    return Side(**{"kind": "ours", "data": str(folder_of_images()), **given, **others})


@app.command()
def compare(
    context: typer.Context,
    rows: Rows,
    unimatch: Unimatch = None,
    crop: Crop = 129,
    batch: Batch = 4,
    backbone: Backbone = "resnet50",
    device: Device = "cpu",
    precision: Precision = "fp32",
    method: Method = "unimatch",
    threads: Threads = 2,
    workers: Workers = 1,
    cores: Cores = 0,
    rounds: Rounds = 3,
    steps: Steps = 4,
    bare: Annotated[bool, typer.Option(help="Also the network's forward and backward alone.")] = False,
    compile: Annotated[str, typer.Option(help="precision.compile of our sides.")] = "off",
) -> None:
    """Our step, with its loader and on batches made before, against UniMatch's loop and the bare network. With
    `--precision bf16` also against UniMatch's loop in bf16 autocast and channels last."""
    side = ours(context, unimatch="")
    sides = {"ours": side}
    if bare:
        sides |= {kind: dataclasses.replace(side, kind=kind, workers=0) for kind in ("cached", "bare")}
    if unimatch is not None:
        sides["unimatch"] = dataclasses.replace(side, kind="unimatch", unimatch=str(unimatch), compile="off")
        if precision == "bf16":
            sides["unimatch_bf16"] = dataclasses.replace(sides["unimatch"], kind="unimatch_bf16")
    alternate(sides, rounds=rounds, steps=steps, rows=rows)


@app.command()
def switches(
    context: typer.Context,
    rows: Rows,
    crop: Crop = 129,
    batch: Batch = 4,
    backbone: Backbone = "resnet50",
    device: Device = "cpu",
    precision: Precision = "fp32",
    method: Method = "unimatch",
    threads: Threads = 1,
    rounds: Rounds = 3,
    steps: Steps = 3,
    only: Annotated[list[str] | None, typer.Option(help=f"Some of: {', '.join(OPTIMISATIONS)}.")] = None,
) -> None:
    """Our step, its loader in the same process, with each optimisation off in turn; the inter-pixel loss is on."""
    if unknown := set(only or ()) - OPTIMISATIONS.keys():
        raise typer.BadParameter(f"--only {unknown.pop()}: there are {', '.join(OPTIMISATIONS)}")
    side = ours(context, workers=0, interpixel=True)
    for name in only or OPTIMISATIONS:
        sides = {"all on": side, f"without {name}": dataclasses.replace(side, off=(name,))}
        alternate(sides, rounds=rounds, steps=steps, rows=rows)


@app.command()
def parts(
    context: typer.Context,
    rows: Rows,
    crop: Crop = 129,
    batch: Batch = 4,
    backbone: Backbone = "resnet50",
    device: Device = "cpu",
    precision: Precision = "fp32",
    method: Method = "unimatch",
    threads: Threads = 1,
    steps: Steps = 3,
    interpixel: Annotated[bool, typer.Option(help="With the inter-pixel loss.")] = False,
) -> None:
    """Where our step's time goes, its loader in the same process."""
    side = ours(context, workers=0, parts=True)
    alternate({"parts": side}, rounds=1, steps=steps, rows=rows)


@app.command()
def table(rows: Rows, out: Annotated[Path, typer.Option(help="A Markdown file.")]) -> None:
    """Write the tables of all rows."""
    out.write_text(step_tables.render(step_tables.read(rows)))
    typer.echo(out.read_text())


if __name__ == "__main__":
    app()
