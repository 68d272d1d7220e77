"""What a step costs against crop, batch and classes; the inter-pixel loss's part; one process and two; evaluation.

    python -m benchmarks.step_costs curves --rows costs.jsonl
    python -m benchmarks.step_costs interpixel --rows costs.jsonl
    python -m benchmarks.step_costs roofline --rows costs.jsonl
    python -m benchmarks.step_costs processes --rows costs.jsonl
    python -m benchmarks.step_costs evaluation --rows costs.jsonl
    python -m benchmarks.step_costs table --rows costs.jsonl --out costs.md --plot costs.png

The first two go round their settings in turn; every command adds rows.
"""

import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.helpers import step_tables
from benchmarks.helpers.step_config import config_of
from benchmarks.helpers.step_costs_tables import (
    CURVES,
    USUAL,
    curves_table,
    draw,
    interpixel_table,
    other_tables,
    roofline_table,
)
from benchmarks.helpers.step_sides import folder_of_images, started
from benchmarks.helpers.step_turns import Side
from benchmarks.step import Backbone, Device, Precision, Threads, ours

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

Rows = Annotated[Path, typer.Option(help="JSON lines; rows are added.")]
STEPS = 4
"""Timed steps of a setting, in every round."""
NAIVE_CROPS = (129, 321)
UNIMATCH = Path(__file__).parents[1] / "search_spaces" / "digits_confirm.yaml"


def _add(rows: Path, row: dict[str, Any]) -> None:
    with rows.open("a") as stream:
        stream.write(json.dumps({"load": os.getloadavg()[0], **row}) + "\n")
    typer.echo(json.dumps(row))


@app.command()
def curves(rows: Rows, rounds: Annotated[int, typer.Option()] = 2) -> None:
    """The small network's step, on batches made before, over each setting in turn."""
    data = str(folder_of_images())
    for _ in range(rounds):
        for axis, values in CURVES.items():
            for value in values:
                setting: dict[str, Any] = USUAL | {axis: value}
                side = Side(
                    kind="cached", data=data, backbone="small", threads=1, workers=0, interpixel=True, **setting
                )
                with started(side) as turn:
                    found = turn(STEPS)
                times = {"seconds": statistics.median(found["seconds"]), "cpu_seconds": found["cpu_seconds"] / STEPS}
                _add(rows, {"what": "curve", "axis": axis, "value": value, **times})


@app.command()
def interpixel(
    rows: Rows,
    rounds: Annotated[int, typer.Option()] = 5,
    batch: Annotated[int, typer.Option()] = 4,
    classes: Annotated[int, typer.Option()] = 21,
) -> None:
    """Forward and backward of the loss for one view: time and peak memory, ours and the formula as it reads."""
    import torch

    from benchmarks.helpers.step_plain import plain_kl
    from trainers.losses.pixel_softmax import PixelKl

    torch.set_num_threads(1)
    for crop in NAIVE_CROPS:
        setting = f"crop {crop}, batch {batch}, classes {classes}"
        generator = torch.Generator().manual_seed(0)
        teacher, student = torch.randn(2, batch, classes, crop * crop, generator=generator) * 3
        student.requires_grad_()
        omega = torch.rand(batch, crop * crop, generator=generator) < 0.8
        passes = {
            name: functools.partial(_passes, loss, student, teacher, omega)
            for name, loss in (("blocks", PixelKl.apply), ("formula", plain_kl))
        }
        for number in range(rounds):
            for name, work in passes.items():
                begun, cpu = time.perf_counter(), time.process_time()
                work()
                times = {"seconds": time.perf_counter() - begun, "cpu_seconds": time.process_time() - cpu}
                _add(rows, {"what": "interpixel", "setting": setting, "name": name, "round": number, **times})
        for name, work in passes.items():
            peak = peak_bytes(work)
            maps = peak / (student.numel() * 4)
            _add(rows, {"what": "interpixel memory", "setting": setting, "name": name, "bytes": peak, "maps": maps})


def _passes(loss: Any, student: Any, teacher: Any, omega: Any) -> None:
    student.grad = None
    loss(student, teacher, omega, omega, 4.0).sum().backward()


def peak_bytes(work: Any) -> int:
    """The most that PyTorch's allocator holds above what it held before, from the profiler's record of every
    allocation."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    held = most = 0
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


@app.command()
def roofline(
    context: typer.Context,
    rows: Rows,
    crop: Annotated[int, typer.Option()] = 129,
    batch: Annotated[int, typer.Option()] = 2,
    backbone: Backbone = "resnet50",
    device: Device = "cpu",
    precision: Precision = "fp32",
    threads: Threads = 1,
) -> None:
    """Operations and bytes of one of our steps, and how long the machine would need for them at its measured rates."""
    import itertools

    import torch

    from benchmarks.helpers.step_roofline import Counted, measure
    from trainers.loop.fit import numerics
    from trainers.loop.run import Run
    from trainers.loop.step_means import StepMeans

    side = ours(context, kind="cached", workers=0)
    config = config_of(side)
    with tempfile.TemporaryDirectory() as folder, numerics(config.precision):
        run = Run(config, Path(folder))
        batches = list(itertools.islice(run.loader.epoch(0), 3))
        step_means = StepMeans(run.process)
        run.train_step(batches[0], step_means)
        rates = measure(device, precision=precision)
        with Counted(rates) as counted:
            run.train_step(batches[1], step_means)
        seconds = []
        for _ in range(3):
            begun = time.perf_counter()
            run.train_step(batches[2], step_means)
            if device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - begun)
        again = measure(device, precision=precision)
    best = min(seconds)
    _add(
        rows,
        {
            "what": "roofline",
            "name": f"{backbone}, crop {crop}, {batch} + {batch}, {device}, {precision}, threads: {threads}",
            "tflop": counted.flops / 1e12,
            "gbyte": counted.bytes / 1e9,
            "gflops": [rates.flops / 1e9, again.flops / 1e9],
            "gbytes": [rates.bytes / 1e9, again.bytes / 1e9],
            "least": counted.seconds,
            "seconds": best,
        },
    )


def _trained(*, epochs: int, steps: int, processes: int) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl` of the demo's first trial, so long, under torchrun."""
    from ipix_tune.config.load_study import load
    from ipix_tune.config.search_space import SearchSpace
    from ipix_tune.trainer.own.own_config import own_config
    from trainers.common.yaml_file import dump

    study = load(UNIMATCH)
    config = own_config(SearchSpace(study).to_config(study.points[0]))
    schedule = config.schedule.model_copy(update={"epochs": epochs, "steps_per_epoch": steps})
    with tempfile.TemporaryDirectory() as folder:
        file, run = Path(folder) / "config.yaml", Path(folder) / "run"
        file.write_text(dump(config.model_copy(update={"schedule": schedule})))
        launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m", "trainers.train"]
        done = subprocess.run(
            [sys.executable, "-m", *launcher, str(file), "--run-dir", str(run)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        if done.returncode:
            raise RuntimeError(f"the training has failed:\n{done.stderr[-3000:]}")
        return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@app.command()
def processes(rows: Rows, rounds: Annotated[int, typer.Option()] = 2) -> None:
    """A step of the demo's global batch on one process and on two, of one thread each."""
    for number in range(rounds):
        for count in (1, 2) if number % 2 == 0 else (2, 1):
            found = _trained(epochs=2, steps=20, processes=count)
            _add(rows, {"what": "processes", "processes": count, "seconds": found[-1]["time/step_ms"] / 1000})


@app.command()
def evaluation(rows: Rows) -> None:
    """Evaluation's share of an epoch's time at the demo's settings; the first epoch is left out."""
    found = _trained(epochs=3, steps=40, processes=1)[1:]
    train, scored = (sum(row[f"time/{name}"] for row in found) for name in ("epoch_s", "eval_s"))
    _add(rows, {"what": "evaluation", "share": scored / (train + scored), "seconds": scored / len(found)})


@app.command()
def table(
    rows: Rows,
    out: Annotated[Path, typer.Option(help="A Markdown file.")],
    plot: Annotated[Path | None, typer.Option(help="A PNG of the curves.")] = None,
) -> None:
    """Write what the rows say."""
    found = step_tables.read(rows)
    by: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in found:
        by[row["what"]].append(row)
    lines = [*interpixel_table(by), *roofline_table(by["roofline"]), *other_tables(by), *curves_table(by["curve"])]
    if plot is not None and by["curve"]:
        draw(by["curve"], plot)
        lines += [f"![A step's time against crop, batch and classes]({plot.name})", ""]
    out.write_text("\n".join([*lines, *step_tables.footer(found)]))
    typer.echo(out.read_text())


if __name__ == "__main__":
    app()
