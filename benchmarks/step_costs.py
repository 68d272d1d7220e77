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

from benchmarks import step_tables
from benchmarks.step_side import Side

app = typer.Typer(add_completion=False)

Rows = Annotated[Path, typer.Option(help="JSON lines; rows are added.")]
CURVES: dict[str, tuple[int, ...]] = {"crop": (64, 96, 128, 192, 256), "batch": (2, 4, 8, 16), "classes": (21, 42, 84)}
"""Every other setting is the first crop, batch 4 and 21 classes."""
NAIVE_CROPS = (129, 321)


def _add(rows: Path, row: dict[str, Any]) -> None:
    with rows.open("a") as stream:
        stream.write(json.dumps({"load": os.getloadavg()[0], **row}) + "\n")
    typer.echo(json.dumps(row))


@app.command()
def curves(rows: Rows, rounds: Annotated[int, typer.Option()] = 2) -> None:
    """The small network's step, on batches made before, over each setting in turn."""
    from benchmarks.step import folder_of_images, run_alone

    data = str(folder_of_images())
    for _ in range(rounds):
        for axis, values in CURVES.items():
            for value in values:
                setting: dict[str, Any] = {"crop": 64, "batch": 4, "classes": 21, axis: value}
                side = Side(
                    kind="cached", data=data, backbone="small", threads=1, workers=0, interpixel=True, **setting
                )  # fmt: skip
                found = run_alone(side, steps=4)
                seconds = statistics.median(found["seconds"])
                _add(rows, {"what": "curve", "axis": axis, "value": value, "seconds": seconds})


@app.command()
def interpixel(
    rows: Rows,
    rounds: Annotated[int, typer.Option()] = 5,
    batch: Annotated[int, typer.Option()] = 4,
    classes: Annotated[int, typer.Option()] = 21,
) -> None:
    """Forward and backward of the loss for one view: time and peak memory, ours and the formula as it reads."""
    import torch

    from benchmarks.step_plain import plain_kl
    from trainers.losses.pixel_softmax import PixelKl

    torch.set_num_threads(1)
    for crop in NAIVE_CROPS:
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
                row = {"what": "interpixel", "crop": crop, "name": name, "seconds": time.perf_counter() - begun}
                _add(rows, {**row, "cpu_seconds": time.process_time() - cpu, "round": number})
        for name, work in passes.items():
            peak = peak_bytes(work)
            maps = peak / (student.numel() * 4)
            _add(rows, {"what": "interpixel memory", "crop": crop, "name": name, "bytes": peak, "maps": maps})


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
    rows: Rows,
    crop: Annotated[int, typer.Option()] = 129,
    batch: Annotated[int, typer.Option()] = 2,
    backbone: Annotated[str, typer.Option()] = "resnet50",
    device: Annotated[str, typer.Option()] = "cpu",
    precision: Annotated[str, typer.Option()] = "fp32",
    threads: Annotated[int, typer.Option()] = 1,
) -> None:
    """Operations and bytes of one of our steps, and how long the machine would need for them at its measured rates."""
    import itertools

    import torch

    from benchmarks.step import folder_of_images
    from benchmarks.step_roofline import Counted, measure
    from benchmarks.step_side import config_of
    from trainers.fit import numerics
    from trainers.run import Run
    from trainers.tally import Tally

    side = Side(
        kind="cached",
        data=str(folder_of_images()),
        crop=crop,
        batch=batch,
        backbone=backbone,
        device=device,
        precision=precision,
        threads=threads,
        workers=0,
    )
    config = config_of(side)
    with tempfile.TemporaryDirectory() as folder, numerics(config.precision):
        run = Run(config, Path(folder))
        batches = list(itertools.islice(run.loader.epoch(0), 3))
        tally = Tally(run.process)
        run.train_step(batches[0], tally)
        rates = measure(device, precision=precision)
        with Counted(rates) as counted:
            run.train_step(batches[1], tally)
        seconds = []
        for _ in range(3):
            begun = time.perf_counter()
            run.train_step(batches[2], tally)
            if device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - begun)
        again = measure(device, precision=precision)
    best = min(seconds)
    _add(
        rows,
        {
            "what": "roofline",
            "name": f"{backbone}, crop {crop}, {batch} + {batch}, {device}, {precision}, {threads} threads",
            "tflop": counted.flops / 1e12,
            "gbyte": counted.bytes / 1e9,
            "gflops": [rates.flops / 1e9, again.flops / 1e9],
            "gbytes": [rates.bytes / 1e9, again.bytes / 1e9],
            "least": counted.seconds,
            "seconds": best,
        },
    )


STUDY = {
    "data": {"name": "digits", "crop": 64, "batch_size": 4, "holdout": {"images": 48, "source": "unlabelled"}},
    "method": {"name": "unimatch", "conf_thresh": 0.7},
    "model": {"backbone": "small", "weights": "none", "upsample": "nearest"},
    "views": {"cutmix_partner": "batch", "flip_p": 0, "hue": 0.03, "gray_p": 0, "scale_min": 0.7, "scale_max": 1.5},
    "interpixel": {"alpha": 1, "t2_scale": True, "resolution": "stride4"},
    "optim": {"head_lr_multiplier": 1, "lr": 0.1},
    "schedule": {"epochs": 9, "steps_per_epoch": 40},
}
"""A trial of the demo (search_spaces/digits.yaml)."""


def _trained(changes: dict[str, Any], processes: int) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl` of a training under torchrun."""
    from trainers.config import TrainConfig
    from trainers.yamlfile import dump

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.yaml").write_text(dump(TrainConfig.model_validate({**STUDY, **changes})))
        launcher = ["torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", "0"]
        command = [sys.executable, "-m", *launcher, "-m", "trainers.train", f"{folder}/config.yaml"]
        subprocess.run(
            [*command, "--run-dir", f"{folder}/run"],
            check=True,
            capture_output=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        return [json.loads(line) for line in (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()]


@app.command()
def processes(rows: Rows, rounds: Annotated[int, typer.Option()] = 2) -> None:
    """A step of the same global batch on one process and on two."""
    for number in range(rounds):
        for count in (1, 2) if number % 2 == 0 else (2, 1):
            found = _trained({"schedule": {"epochs": 2, "steps_per_epoch": 20}}, count)
            _add(rows, {"what": "processes", "processes": count, "seconds": found[-1]["time/step_ms"] / 1000})


@app.command()
def evaluation(rows: Rows) -> None:
    """Evaluation's share of a trial's time at the demo's settings."""
    found = _trained({"schedule": {"epochs": 3, "steps_per_epoch": 40}}, 1)[1:]
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
    lines = [*_interpixel(by), *_roofline(by["roofline"]), *_rest(by)]
    if plot is not None and by["curve"]:
        draw(by["curve"], plot)
        lines += [f"![A step's time against crop, batch and classes]({plot.name})", ""]
    out.write_text("\n".join([*lines, *step_tables.footer(found)]))
    typer.echo(out.read_text())


def _interpixel(by: dict[str, list[dict[str, Any]]]) -> list[str]:
    if not by["interpixel"]:
        return []
    lines = ["| crop | form | CPU s, forward and backward | to ours | peak above the logits, in maps | to ours |"]
    lines.append("|---|---|---|---|---|---|")
    for crop in NAIVE_CROPS:
        times = {
            name: statistics.median(
                row["cpu_seconds"] for row in by["interpixel"] if (row["crop"], row["name"]) == (crop, name)
            )
            for name in ("blocks", "formula")
        }
        maps = {row["name"]: row["maps"] for row in by["interpixel memory"] if row["crop"] == crop}
        for name in ("blocks", "formula"):
            ratios = times[name] / times["blocks"], maps[name] / maps["blocks"]
            lines.append(
                f"| {crop} | {name} | {times[name]:.3f} | {ratios[0]:.2f} | {maps[name]:.2f} | {ratios[1]:.2f} |"
            )
    return [*lines, ""]


def _roofline(found: list[dict[str, Any]]) -> list[str]:
    if not found:
        return []
    lines = ["| step | TFLOP | GB moved | products GFLOP/s | copy GB/s | least s | s | share |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for row in found:
        rates = [" to ".join(f"{one:.0f}" for one in sorted(row[name])) for name in ("gflops", "gbytes")]
        cells = [row["name"], f"{row['tflop']:.3f}", f"{row['gbyte']:.2f}", *rates, f"{row['least']:.3f}"]
        cells += [f"{row['seconds']:.3f}", f"{100 * row['least'] / row['seconds']:.0f} %"]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _rest(by: dict[str, list[dict[str, Any]]]) -> list[str]:
    lines = []
    if by["processes"]:
        one, two = (
            statistics.median(row["seconds"] for row in by["processes"] if row["processes"] == count)
            for count in (1, 2)
        )
        lines += [f"Two processes: {one / two:.2f} times the steps a second of one ({one:.3f} s to {two:.3f} s).", ""]
    if by["evaluation"]:
        share = 100 * statistics.median(row["share"] for row in by["evaluation"])
        lines += [f"Evaluation at the demo's settings: {share:.1f} % of a trial's time.", ""]
    return lines


def draw(found: list[dict[str, Any]], file: Path) -> None:
    """One panel for each axis, seconds of every round as points, their medians joined."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(CURVES), figsize=(11, 3.4), layout="constrained")
    names = {"crop": "side of the crop", "batch": "labelled images (as many unlabelled)", "classes": "classes"}
    for panel, (axis, values) in zip(panels, CURVES.items(), strict=True):
        rows = [row for row in found if row["axis"] == axis]
        panel.plot([row["value"] for row in rows], [row["seconds"] for row in rows], "o", color="0.6", markersize=4)
        medians = [statistics.median(row["seconds"] for row in rows if row["value"] == value) for value in values]
        panel.plot(values, medians, color="tab:blue")
        panel.set(xlabel=names[axis], ylim=(0, None), xticks=values)
    panels[0].set_ylabel("seconds a step")
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    app()
