"""What several processes exchange in a training step on GPUs, and how often their hosts wait, counted without a GPU.

    python -m benchmarks.process_counts --out benchmarks/results/process_counts_202611.md

Two gloo processes train on tensors that say they are on a GPU (`fake_cuda`), with `torch.nn.SyncBatchNorm` as PyTorch
has it. What is counted is the third step of each method, as in `benchmarks.gpu_counts`, by `optim.batch_norm`. DDP is
left out: its sums of gradients go on during the backward pass, and no host waits for them.
"""

import os
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal
from unittest import mock

import torch
import torch.distributed as dist
import typer
from torch.multiprocessing.spawn import spawn

from benchmarks.gpu_counts import config_of
from benchmarks.helpers.counted_step import counted_step
from benchmarks.helpers.method_settings import SETTINGS

WORLD = 2
Over = Literal["global", "device"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def counted(method: str, over: Over, folder: Path, *, crop: int, batch: int, backbone: str) -> dict[str, Any]:
    """One step of a method's last stage on this process."""
    from trainers.loop.process_group import Process

    made = config_of(method, crop=crop, batch=batch, deterministic=True, interpixel=False)
    changes = {"optim": {"batch_norm": over}, "model": {"backbone": backbone}}
    config = made.model_copy(
        update={name: getattr(made, name).model_copy(update=values) for name, values in changes.items()}
    )
    with mock.patch.object(Process, "wrapped", lambda self, model: model):
        count = counted_step(config, folder)
    return {"exchanges": count.exchanges.total(), "waits": count.waits.total(), "where": dict(count.waits)}


def _work(rank: int, folder: Path, asked: list[tuple[str, Over]], settings: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    try:
        for method, over in asked:
            torch.save(counted(method, over, folder, **settings), folder / f"{method} {over} {rank}")
    finally:
        dist.destroy_process_group()


def on_processes(
    asked: list[tuple[str, Over]], *, crop: int = 65, batch: int = 4, backbone: str = "small"
) -> Iterator[tuple[str, Over, dict[str, Any]]]:
    """What process 0 counts for each method and `optim.batch_norm`; ``batch`` images are shared by all processes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spawn(_work, args=(folder, asked, {"crop": crop, "batch": batch, "backbone": backbone}), nprocs=WORLD)
        for method, over in asked:
            yield method, over, torch.load(folder / f"{method} {over} 0")


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="The page to write.")],
    method: Annotated[list[str] | None, typer.Option(help="Only these methods.")] = None,
    crop: Annotated[int, typer.Option(help="Side of the crops; the counts do not depend on it.")] = 65,
) -> None:
    """Count every method."""
    names = method or list(SETTINGS)
    both: tuple[Over, Over] = ("global", "device")
    asked = [(name, over) for name in names for over in both]
    found = {(name, over): one for name, over, one in on_processes(asked, crop=crop)}
    lines = [
        "# Exchanges between processes and host waits of a step on several GPUs",
        "",
        f"`python -m benchmarks.process_counts`, PyTorch {torch.__version__}, {date.today()}; {os.cpu_count()} cores, "
        "no GPU: counted on two processes, on tensors that only say they are on one. The third step of each method on "
        f"`digits`, crop {crop}, 2 + 2 images a process, small network, deterministic mode. DDP's sums of gradients "
        "are left out: no host waits for them.",
        "",
        "| method | exchanges, `batch_norm: global` | `device` | host waits, `global` | `device` |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in names:
        cells = [str(found[name, over][key]) for key in ("exchanges", "waits") for over in both]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    out.write_text("\n".join(lines) + "\n")
    typer.echo(out.read_text())


if __name__ == "__main__":
    app()
