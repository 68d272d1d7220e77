"""Everything that a first GPU has to answer, in stages within ten minutes; a rehearsal on a CPU with small sizes.

    python -m benchmarks.gpu --rows gpu.jsonl --out benchmarks/results/gpu.md --unimatch PATH
    python -m benchmarks.gpu methods loader --rows gpu.jsonl --out gpu.md                   # some stages
    python -m benchmarks.gpu --cpu --rows cpu.jsonl --out cpu.md                            # a rehearsal
    python -m benchmarks.gpu networks --rows nets.jsonl --out nets.md                       # a minute of each network
    python -m benchmarks.gpu processes --nproc 8 --rows gpu8.jsonl --out gpu8.md            # several GPUs

Every stage is a process of its own with a budget of time. Its rows are printed and kept as they come, and the table is
written after each stage, so that what is measured stays whatever fails later. It needs torch, torchvision, numpy,
pillow, scipy, scikit-learn, rich, typer, psutil, pytest, pydantic, lmdb and ruamel.yaml; neither Ray nor Optuna nor
W&B.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.helpers import gpu_tables
from benchmarks.helpers.step_sides import with_this_tree

BUDGETS = {"tests": 90, "methods": 150, "kernels": 30, "step": 90, "loader": 60, "compile": 100, "unimatch": 70}
"""Seconds of each stage, in this order; 590 together."""
NETWORKS_S = 300
"""A minute for each of four networks, with what it takes to build and to score them."""
PROCESSES_S = 540
STOP_S = 5

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    rows: Annotated[Path, typer.Option(help="JSON lines; rows are added.")],
    out: Annotated[Path, typer.Option(help="A Markdown file, written anew from all rows after each stage.")],
    stages: Annotated[
        list[str] | None,
        typer.Argument(help=f"Some of: {', '.join(BUDGETS)}, networks, processes; default: all but the last two."),
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="A rehearsal with small sizes.")] = False,
    unimatch: Annotated[Path | None, typer.Option(help="A checkout of UniMatch.", exists=True, file_okay=False)] = None,
    only: Annotated[list[str] | None, typer.Option(help="Methods, for the stages methods and processes.")] = None,
    nproc: Annotated[int, typer.Option(min=2, help="Processes of the stage processes, one for each GPU.")] = 2,
    budget: Annotated[float, typer.Option(min=0.1, help="Multiplies each stage's time.")] = 1.0,
) -> None:
    """Run the stages one after the other. Exit code 1 where one of them failed."""
    allowed = {**BUDGETS, "networks": NETWORKS_S, "processes": PROCESSES_S}
    chosen = stages or list(BUDGETS)
    for stage in chosen:
        if stage not in allowed:
            raise typer.BadParameter(f"{stage}: there are {', '.join(allowed)}")
    begun, failed = time.monotonic(), []
    for stage in chosen:
        asked = {
            "stage": stage,
            "cpu": cpu,
            "unimatch": str(unimatch.resolve()) if unimatch else "",
            "only": only or [],
            "nproc": nproc,
            "seconds": budget * allowed[stage],
        }
        typer.echo(f"[{time.monotonic() - begun:4.0f} s] {stage}")
        ended = run_stage(asked, rows)
        if ended["result"] != "done":
            failed.append(stage)
        typer.echo(f"[{time.monotonic() - begun:4.0f} s] {stage}: {ended['result']}")
        out.write_text(gpu_tables.render(gpu_tables.read(rows)))
    typer.echo(out.read_text())
    if failed:
        typer.echo(f"failed: {', '.join(failed)}", err=True)
        raise typer.Exit(1)


def run_stage(asked: dict[str, Any], rows: Path) -> dict[str, Any]:
    """The stage in a process of its own, stopped with all its children when its time is over; its rows and how it ended
    are added to the file."""
    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.gpu_stages", json.dumps(asked), str(rows.resolve())],
        env=os.environ | {"PYTHONPATH": with_this_tree()},
        start_new_session=True,
    )
    try:
        code = process.wait(asked["seconds"])
        result = "done" if code == 0 else f"failed with exit code {code}"
    except subprocess.TimeoutExpired:
        result = f"stopped after {asked['seconds']:.0f} s"
    finally:
        _end(process)
    ended = {"stage": asked["stage"], "result": result, "seconds": time.monotonic() - begun}
    with rows.open("a") as stream:
        stream.write(json.dumps(ended) + "\n")
    return ended


def _end(process: subprocess.Popen[bytes]) -> None:
    """Whatever is left of a stage, its own children too."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


if __name__ == "__main__":
    app()
