"""What several processes exchange in a training step on GPUs, and how often their hosts wait, counted without a GPU.

    python -m benchmarks.process_counts --rows counts.jsonl --out benchmarks/results/process_counts_202611.md

Each method's rows are kept as they come, and the page is written from all of them; what is there is not counted again.

Two gloo processes train on tensors that say they are on a GPU (`fake_cuda`), with `torch.nn.SyncBatchNorm` as PyTorch
has it. What is counted is the third step of each method, as in `benchmarks.gpu_counts`, by `optim.batch_norm`. DDP is
left out: its sums of gradients go on during the backward pass, and no host waits for them.
"""

import json
import os
import tempfile
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
BOTH: tuple[Over, Over] = ("global", "device")

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


def _work(rank: int, folder: Path, rows: Path, asked: list[tuple[str, Over]], settings: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    try:
        for method, over in asked:
            found = {"method": method, "over": over, **settings, **counted(method, over, folder, **settings)}
            if rank == 0:
                with rows.open("a") as file:
                    file.write(json.dumps(found) + "\n")
    finally:
        dist.destroy_process_group()


def on_processes(
    asked: list[tuple[str, Over]], rows: Path, *, crop: int = 65, batch: int = 4, backbone: str = "small"
) -> None:
    """Add what process 0 counts for each method and `optim.batch_norm` to ``rows``, as JSON lines; ``batch`` images are
    shared by all processes."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"crop": crop, "batch": batch, "backbone": backbone}
        spawn(_work, args=(Path(folder), rows, asked, settings), nprocs=WORLD)


def read(rows: Path) -> dict[tuple[str, Over], dict[str, Any]]:
    """All rows of a file, by method and `optim.batch_norm`."""
    lines = rows.read_text().splitlines() if rows.exists() else []
    return {(row["method"], row["over"]): row for row in map(json.loads, lines)}


@app.command()
def main(
    rows: Annotated[Path, typer.Option(help="JSON lines; rows are added, and what has some is not counted again.")],
    out: Annotated[Path, typer.Option(help="The page, written anew from all rows.")],
    method: Annotated[list[str] | None, typer.Option(help="Only these methods.")] = None,
    crop: Annotated[int, typer.Option(help="Side of the crops; the counts do not depend on it.")] = 65,
) -> None:
    """Count every method that has no rows yet."""
    known = read(rows)
    asked = [(name, over) for name in method or list(SETTINGS) for over in BOTH if (name, over) not in known]
    try:
        if asked:
            on_processes(asked, rows, crop=crop)
    finally:
        out.write_text(page(read(rows)))
    typer.echo(out.read_text())


def page(found: dict[tuple[str, Over], dict[str, Any]]) -> str:
    """The methods that were counted with both settings, and those that were not."""
    names = [name for name in SETTINGS if all((name, over) in found for over in BOTH)]
    crops = " or ".join(sorted({str(row["crop"]) for row in found.values()}))
    lines = [
        "# Exchanges between processes and host waits of a step on several GPUs",
        "",
        f"`python -m benchmarks.process_counts`, PyTorch {torch.__version__}, {date.today()}; {os.cpu_count()} cores, "
        "no GPU: counted on two processes, on tensors that only say they are on one. The third step of each method's "
        f"last stage on `digits`, crop {crops}, 2 + 2 images a process, small network, deterministic mode. DDP's sums "
        "of gradients are left out: no host waits for them.",
        "",
        "| method | exchanges, `batch_norm: global` | `device` | host waits, `global` | `device` |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in names:
        cells = [str(found[name, over][key]) for key in ("exchanges", "waits") for over in BOTH]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    if left := [name for name in SETTINGS if name not in names]:
        lines += ["", f"Not counted: {', '.join(left)}."]
    waiting = {name: found[name, "device"]["where"] for name in names if found[name, "device"]["waits"]}
    lines += ["", "Where hosts wait with `device`:", ""] if waiting else []
    for name, where in waiting.items():
        lines.append(f"- {name}: {'; '.join(f'{times} x `{place}`' for place, times in where.items())}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    app()
