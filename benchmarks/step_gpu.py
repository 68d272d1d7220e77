"""`benchmarks.step gpu`: what a GPU's table needs, within eight minutes. Written where there was none: it has not been
run on a GPU."""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import typer

from benchmarks import step_tables
from benchmarks.step_roofline import Rates, measure
from benchmarks.step_side import Side

SECONDS = 450
"""After which no further comparison is begun."""
SETTINGS = (("resnet50", 321), ("resnet101", 321), ("resnet50", 513), ("resnet101", 513))
BATCH = 8


def measure_gpu(out: Path, *, unimatch: Path | None, workers: int) -> None:
    """Measure and write the table; comparisons that did not fit are named in it.

    Raises:
        typer.BadParameter: there is no CUDA device.
    """
    if not torch.cuda.is_available():
        raise typer.BadParameter("PyTorch finds no CUDA device here; on a CPU use `compare`, `switches` and `parts`")
    from benchmarks.step import alternate, folder_of_images

    begun, missing = time.monotonic(), []
    lines = [
        f"# One training step on {torch.cuda.get_device_name()}",
        "",
        "UniMatch's loop with fp32, with bf16 and channels_last put around it, and ours (bf16, channels_last); 8 + 8 "
        "images.",
        "",
    ]
    rates = measure("cuda", precision="bf16")
    lines += [f"Measured: {rates.flops / 1e12:.0f} TFLOP/s (bf16 products), {rates.bytes / 1e9:.0f} GB/s (copy).", ""]
    lines += kernel_table(rates)
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        rows.touch()
        data = str(folder_of_images())
        for backbone, crop in SETTINGS:
            if time.monotonic() - begun > SECONDS:
                missing.append(f"{backbone} at {crop}")
                continue
            ours = Side(
                kind="ours",
                data=data,
                crop=crop,
                batch=BATCH,
                backbone=backbone,
                device="cuda",
                precision="bf16",
                workers=workers,
                off=("deterministic",),
            )
            sides = {"ours": ours}
            if (backbone, crop) == SETTINGS[0]:
                sides["ours, deterministic"] = replace(ours, off=())
                sides["ours, compiled"] = replace(ours, compile="default")
                sides["cached"] = replace(ours, kind="cached")
                sides["bare"] = replace(ours, kind="bare")
            if unimatch is not None:
                sides["unimatch"] = replace(ours, kind="unimatch", unimatch=str(unimatch), off=())
                sides["unimatch_bf16"] = replace(ours, kind="unimatch_bf16", unimatch=str(unimatch), off=())
            alternate(sides, rounds=2, steps=8, rows=rows)
        lines.append(step_tables.render(step_tables.read(rows)))
    if missing:
        lines += [f"Not measured, for want of time: {', '.join(missing)}.", ""]
    out.write_text("\n".join(lines))
    typer.echo(out.read_text())


def kernel_table(rates: Rates) -> list[str]:
    """Time of the inter-pixel loss's kernels against the bytes that they must move at the measured copy rate."""
    from trainers.losses.pixel_softmax import PixelKl

    lines = ["| inter-pixel loss, 8 images, 21 classes | ms | of the copy bandwidth |", "|---|---|---|"]
    for crop in (321, 513):
        shape = (BATCH, 21, crop * crop)
        teacher, student = torch.randn(2, *shape, device="cuda")
        student.requires_grad_()
        mask = torch.ones(BATCH, crop * crop, dtype=torch.bool, device="cuda")

        def passes(student: torch.Tensor = student, teacher: torch.Tensor = teacher, mask: torch.Tensor = mask) -> None:
            student.grad = None
            PixelKl.apply(student, teacher, mask, mask, 4.0).sum().backward()

        seconds = _median(passes)
        moved = 5 * student.numel() * 4
        share = 100 * moved / seconds / rates.bytes
        lines.append(f"| crop {crop}, forward and backward | {1000 * seconds:.3f} | {share:.0f} % |")
    return [*lines, ""]


def _median(work: Callable[[], None]) -> float:
    times: list[float] = []
    for _ in range(20):
        begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begun.record()
        work()
        ended.record()
        torch.cuda.synchronize()
        times.append(begun.elapsed_time(ended) / 1000)
    return statistics.median(times[5:])
