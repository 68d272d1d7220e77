"""How much memory a training step takes: estimated (`trainers.loop.memory_estimate`), and checked against what a CPU
allocates.

    python -m benchmarks.memory_estimate check --rows memory.jsonl
    python -m benchmarks.memory_estimate estimate --rows memory.jsonl
    python -m benchmarks.memory_estimate table --rows memory.jsonl --out benchmarks/results/memory_estimate_202611.md

`check` trains a real step on `digits` under PyTorch's profiler, which sees every allocation of a tensor, and takes the
most that was allocated at one time, with what was there before. `estimate` is of VOC's 21 classes.
"""

import json
import platform
import subprocess
import tempfile
import time
from datetime import date
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from trainers.config import TrainConfig
from trainers.loop.memory_estimate import MIB, Asking, StepMemory, step_memory

GIB = 1024**3
CHECKED: list[dict[str, Any]] = [
    {"method": "supervised", "backbone": "small", "crop": 129, "batch": 4},
    {"method": "unimatch", "backbone": "small", "crop": 129, "batch": 4},
    {"method": "unimatch", "backbone": "small", "crop": 129, "batch": 4, "alpha": 0.5},
    {"method": "unimatch", "backbone": "small", "crop": 129, "batch": 4, "amp": "bf16"},
    {"method": "meanteacher", "backbone": "small", "crop": 129, "batch": 4},
    {"method": "cps", "backbone": "small", "crop": 129, "batch": 4},
    {"method": "cct", "backbone": "small", "crop": 129, "batch": 4},
    {"method": "ael", "backbone": "small", "crop": 129, "batch": 4},
    {"method": "ucc", "backbone": "small", "crop": 129, "batch": 4},
    {"method": "supervised", "backbone": "resnet50", "crop": 129, "batch": 2},
    {"method": "unimatch", "backbone": "resnet50", "crop": 129, "batch": 2},
    {"method": "unimatch", "backbone": "resnet50", "crop": 129, "batch": 2, "amp": "bf16"},
]
BACKBONES, CROPS, METHODS, AMPS = (
    ("resnet50", "resnet101"),
    (321, 513, 801),
    ("supervised", "unimatch", "cct", "ael", "ucc"),
    ("off", "bf16"),
)
BATCH = 8
"""Labelled images a GPU, and as many unlabelled ones."""
VOC_CLASSES, DIGITS_CLASSES = 21, 11

Only = Annotated[list[str] | None, typer.Option("--method", help="Only this method; several times for several.")]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def config_of(one: dict[str, Any], data: dict[str, Any]) -> TrainConfig:
    """The training config of a row."""
    return TrainConfig.model_validate(
        {
            "data": {"crop": one["crop"], "batch_size": one["batch"], **data},
            "method": {"name": one["method"]},
            "model": {"backbone": one["backbone"], "weights": "none"},
            "interpixel": {"alpha": one.get("alpha", 0.0)},
            "schedule": {"epochs": 4, "steps_per_epoch": 4},
            "precision": {"device": "cpu", "amp": one.get("amp", "off")},
        }
    )


@app.command()
def check(rows: Annotated[Path, typer.Option(help="JSON lines; rows are added.")], only: Only = None) -> None:
    """Real steps against the estimate."""
    for one in CHECKED:
        if only and one["method"] not in only:
            continue
        config = config_of(one, {"name": "digits", "holdout": {"images": 8, "source": "unlabelled"}})
        measured = allocated(config)
        begun = time.monotonic()
        [found] = step_memory([Asking(config=config, num_classes=DIGITS_CLASSES, steps_per_epoch=4)])
        seconds = time.monotonic() - begun
        _add(rows, {"kind": "check", **one, "measured": measured, "estimated": tensors(found), "seconds": seconds})


def tensors(found: StepMemory) -> int:
    """What the profiler sees: no copies for DDP, no allowances."""
    return found.weights + found.optimiser + found.step


def allocated(config: TrainConfig) -> int:
    """Most bytes of tensors at one time in a run's second step, weights and optimiser with them."""
    from torch._C._profiler import _EventType
    from torch.profiler import ProfilerActivity, profile

    from trainers.loop.fit import numerics
    from trainers.loop.run import Run
    from trainers.loop.step_means import StepMeans

    with tempfile.TemporaryDirectory() as folder, numerics(config.precision):
        run = Run(config, Path(folder))
        batches, step_means = run.loader.epoch(0), StepMeans(run.process)
        run.train_step(next(batches), step_means)
        batch = next(batches)
        for optimizer in run.networks.optimizers.values():
            optimizer.zero_grad(set_to_none=True)  # as the step does first; the profiler does not see these go
        before = _held(run, batch)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            run.train_step(batch, step_means)
        events = list(seen.profiler.kineto_results.experimental_event_tree())
    found, stack = [], events
    while stack:
        event = stack.pop()
        stack.extend(event.children)
        if event.tag == _EventType.Allocation:
            found.append((event.start_time_ns, event.extra_fields.alloc_size))
    now = peak = 0
    for _, size in sorted(found):
        now += size
        peak = max(peak, now)
    return before + peak


def _held(run: Any, batch: Any) -> int:
    """Bytes of what lies there before a step: weights, banks, moments, and a batch."""
    from torch.utils._pytree import tree_leaves

    kept = [*tree_leaves(run.weights()), *tree_leaves([one.state_dict() for one in run.networks.optimizers.values()])]
    kept += [value for network in run.method.networks().values() for value in network.state_dict().values()]
    for part in (batch.labelled, batch.unlabelled):
        kept += _of(part)
    storages = {one.untyped_storage()._cdata: one.untyped_storage().nbytes() for one in kept if torch.is_tensor(one)}
    return sum(storages.values())


def _of(part: Any) -> list[Any]:
    if torch.is_tensor(part) or part is None:
        return [part]
    values = part if isinstance(part, tuple) else vars(part).values()
    return [leaf for value in values for leaf in _of(value)]


@app.command()
def estimate(rows: Annotated[Path, typer.Option(help="JSON lines; rows are added.")], only: Only = None) -> None:
    """R50 and R101 at three crops."""
    data = {"name": "voc", "root": "none", "holdout": {"images": 1}}
    for backbone, crop in product(BACKBONES, CROPS):
        begun = time.monotonic()
        asked = [
            {"method": method, "backbone": backbone, "crop": crop, "batch": BATCH, "amp": amp}
            for method, amp in product(only or METHODS, AMPS)
        ]
        found = step_memory([Asking(config=config_of(one, data), num_classes=VOC_CLASSES) for one in asked])
        seconds = (time.monotonic() - begun) / len(asked)
        for one, memory in zip(asked, found, strict=True):
            bytes_of = {f"{name}_bytes": size for name, size in vars(memory).items()}
            _add(rows, {"kind": "estimate", **one, **bytes_of, "cuda_bytes": memory.on("cuda"), "seconds": seconds})


def _add(rows: Path, row: dict[str, Any]) -> None:
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True)
    row |= {"commit": commit.stdout.strip(), "torch": torch.__version__, "python": platform.python_version()}
    with rows.open("a") as file:
        file.write(json.dumps(row) + "\n")
    typer.echo(json.dumps(row))


@app.command()
def table(
    rows: Annotated[Path, typer.Option(help="JSON lines that `check` and `estimate` wrote.")],
    out: Annotated[Path, typer.Option(help="The page to write.")],
) -> None:
    """Both as a page."""
    out.write_text(page([json.loads(line) for line in rows.read_text().splitlines()]))


def page(rows: list[dict[str, Any]]) -> str:
    """The page's text."""
    found = [row for row in rows if row["kind"] == "estimate"]
    checked = [row for row in rows if row["kind"] == "check"]
    last = rows[-1]
    lines = [
        "# Estimated memory of a training step",
        "",
        "Commands: those of `benchmarks/memory_estimate.py`. 2 cores, no GPU; "
        f"torch {last['torch']}, Python {last['python']}, commit {last['commit']}, {date.today():%Y-%m-%d}.",
        "",
        "**Nothing here was measured on a GPU.** A step runs on tensors without values; every storage is counted from "
        "the operator that makes it to the last tensor that shares it (`trainers/loop/live_bytes.py`). In the totals: "
        "weights, SGD's momentum, batch, activations, gradients, the next batch, and 1.56 GiB allowed for CUDA's own "
        "memory and the workspaces of cuDNN and cuBLAS. Not in them: what the allocator loses between blocks; DDP's "
        "copies of the gradients with several processes (as much as the weights); evaluation of whole images.",
        "",
        f"## GiB on one GPU, {BATCH} labelled and {BATCH} unlabelled images (supervised: {BATCH} labelled)",
        "",
        "VOC's 21 classes, output stride 16, channels last, no inter-pixel loss.",
        "",
        f"| backbone | method | precision | {' | '.join(f'crop {crop}' for crop in CROPS)} |",
        "|---|---|---|" + "---:|" * len(CROPS),
    ]
    for backbone, method, amp in product(BACKBONES, METHODS, AMPS):
        rows_of = [row for row in found if _is(row, backbone=backbone, method=method, amp=amp)]
        if not rows_of:
            continue
        sizes = {row["crop"]: f"{row['cuda_bytes'] / GIB:.1f}" for row in rows_of}
        name = "fp32" if amp == "off" else amp
        lines.append(f"| {backbone} | {method} | {name} | {' | '.join(sizes.get(crop, '') for crop in CROPS)} |")
    lines += [
        "",
        "## Check on a CPU",
        "",
        "Tensors alone, without allowances: what PyTorch's profiler saw allocated at one time in a real step on "
        "`digits`, and the estimate of the same step.",
        "",
        "| backbone | method | crop | images | precision | measured, MiB | estimated, MiB | error |",
        "|---|---|---:|---:|---|---:|---:|---:|",
    ]
    for row in checked:
        amp = "fp32" if row.get("amp", "off") == "off" else row["amp"]
        method = row["method"] + (" + inter-pixel" if row.get("alpha") else "")
        measured, estimated = row["measured"] / MIB, row["estimated"] / MIB
        lines.append(
            f"| {row['backbone']} | {method} | {row['crop']} | {row['batch']} | {amp} | {measured:.1f} | "
            f"{estimated:.1f} | {100 * (estimated / measured - 1):+.1f} % |"
        )
    lines += [
        "",
        "The measured figures also have what kernels allocate for themselves. The differences were not traced further.",
    ]
    return "\n".join(lines) + "\n"


def _is(row: dict[str, Any], **values: Any) -> bool:
    return all(row[key] == value for key, value in values.items())


if __name__ == "__main__":
    app()
