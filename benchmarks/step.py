"""One training step against itself with each optimisation off, and against UniMatch's own loop, in alternating rounds.

    python -m benchmarks.step compare --unimatch PATH --crop 129 --batch 4 --rows step.jsonl      # and --bare
    python -m benchmarks.step switches --crop 129 --batch 4 --rows step.jsonl
    python -m benchmarks.step parts --crop 129 --batch 4 --rows step.jsonl
    python -m benchmarks.step table --rows step.jsonl --out benchmarks/results/step_cpu_202611.md
    python -m benchmarks.step gpu --unimatch PATH --out benchmarks/results/step_gpu.md            # under 8 minutes

Every side is a process of its own (`step_side`), all on the same JPEG files; they take turns, so that a machine that is
slower for a while is slower for all.
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import step_tables
from benchmarks.step_data import make
from benchmarks.step_plain import OPTIMISATIONS
from benchmarks.step_side import Side, environment

app = typer.Typer(add_completion=False)

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
Unimatch = Annotated[Path | None, typer.Option(help="A checkout of UniMatch.")]


def folder_of_images() -> Path:
    """In the user's cache folder."""
    from trainers.data.layout import cache_folder

    return make(cache_folder() / "step-images")


@contextmanager
def started(side: Side) -> Iterator[subprocess.Popen[str]]:
    """The side's process, after its warm-up."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.step_side"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env=environment(side) | {"PYTHONPATH": str(Path.cwd())},
        )
        try:
            if _answer(process) is None:
                said.seek(0)
                raise RuntimeError(f"{side.kind} did not start:\n{said.read()[-3000:]}")
            yield process
        finally:
            if process.poll() is None and process.stdin is not None:
                process.stdin.write("stop\n")
                process.stdin.flush()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _answer(process: subprocess.Popen[str]) -> dict[str, Any] | None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{"):
            found: dict[str, Any] = json.loads(line)
            return found
    return None


def alternate(sides: dict[str, Side], *, rounds: int, steps: int, rows: Path) -> None:
    """Rounds in which every side has its turn, in an order that turns round; one row for each turn."""
    with ExitStack() as stack:
        processes = {name: stack.enter_context(started(side)) for name, side in sides.items()}
        for number in range(rounds):
            names = list(processes)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                process = processes[name]
                assert process.stdin is not None
                process.stdin.write(f"{steps}\n")
                process.stdin.flush()
                answer = _answer(process)
                if answer is None:
                    raise RuntimeError(f"{name} ended in the middle")
                row = {"name": name, "round": number, "load": os.getloadavg()[0], "time": time.time()}
                with rows.open("a") as stream:
                    stream.write(json.dumps({**row, "side": dataclasses.asdict(sides[name]), **answer}) + "\n")
                typer.echo(f"{number} {name}: {statistics.median(answer['seconds']):.3f} s a step")


def run_alone(side: Side, *, steps: int) -> dict[str, Any]:
    """One turn of one side."""
    with started(side) as process:
        assert process.stdin is not None
        process.stdin.write(f"{steps}\n")
        process.stdin.flush()
        answer = _answer(process)
    if answer is None:
        raise RuntimeError(f"{side.kind} ended in the middle")
    return answer


@app.command()
def compare(
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
    """Our step, with its loader and on batches made before, against UniMatch's loop and the bare network."""
    ours = Side(
        kind="ours",
        data=str(folder_of_images()),
        crop=crop,
        batch=batch,
        backbone=backbone,
        device=device,
        precision=precision,
        method=method,
        threads=threads,
        workers=workers,
        cores=cores,
        compile=compile,
    )
    sides = {"ours": ours}
    if bare:
        sides |= {kind: dataclasses.replace(ours, kind=kind, workers=0) for kind in ("cached", "bare")}
    if unimatch is not None:
        sides["unimatch"] = dataclasses.replace(ours, kind="unimatch", unimatch=str(unimatch), compile="off")
        if device == "cuda":
            sides["unimatch_bf16"] = dataclasses.replace(sides["unimatch"], kind="unimatch_bf16")
    alternate(sides, rounds=rounds, steps=steps, rows=rows)


@app.command()
def switches(
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
    only: Annotated[list[str] | None, typer.Option(help="Some of the optimisations.")] = None,
) -> None:
    """Our step, its loader in the same process, with each optimisation off in turn; the inter-pixel loss is on."""
    ours = Side(
        kind="ours",
        data=str(folder_of_images()),
        crop=crop,
        batch=batch,
        backbone=backbone,
        device=device,
        precision=precision,
        method=method,
        threads=threads,
        workers=0,
        interpixel=True,
    )
    for name in only or OPTIMISATIONS:
        sides = {"all on": ours, f"without {name}": dataclasses.replace(ours, off=(name,))}
        alternate(sides, rounds=rounds, steps=steps, rows=rows)


@app.command()
def parts(
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
    side = Side(
        kind="ours",
        data=str(folder_of_images()),
        crop=crop,
        batch=batch,
        backbone=backbone,
        device=device,
        precision=precision,
        method=method,
        threads=threads,
        workers=0,
        interpixel=interpixel,
        parts=True,
    )
    alternate({"parts": side}, rounds=1, steps=steps, rows=rows)


@app.command()
def table(rows: Rows, out: Annotated[Path, typer.Option(help="A Markdown file.")]) -> None:
    """Write the tables of all rows."""
    out.write_text(step_tables.render(step_tables.read(rows)))
    typer.echo(out.read_text())


@app.command()
def gpu(
    out: Annotated[Path, typer.Option(help="A Markdown file.")],
    unimatch: Unimatch = None,
    workers: Workers = 8,
) -> None:
    """Everything for a GPU: R50 and R101 at 321 and 513, 8 + 8 images, then every switch and the kernel of the loss."""
    from benchmarks.step_gpu import measure_gpu

    measure_gpu(out, unimatch=unimatch, workers=workers)


if __name__ == "__main__":
    app()
