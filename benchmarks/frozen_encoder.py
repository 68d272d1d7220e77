"""What a step costs with a frozen encoder that networks have in common, against one for each: by turns, processor time.

    python -m benchmarks.frozen_encoder --out benchmarks/results/frozen_encoder_202611.md

Both sides of a method are built in one process and take their steps in turn. The time is the process's own on one
thread, so that other work on the machine moves it little.
"""

import copy
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import torch
import typer

METHODS = ("meanteacher", "cps", "gct", "psmt", "ael", "u2pl", "unimatch_v2")
BACKBONE, CROP, BATCH = "resnet50", 97, 2

app = typer.Typer(add_completion=False)


def weights_of_an_encoder(path: Path) -> Path:
    """Random ones in a file, as a pretrained encoder is: further networks start with them too."""
    from trainers.models.build import build_model
    from trainers.models.model_config import ModelConfig

    model = build_model(ModelConfig(backbone=BACKBONE, weights="none"), num_classes=2, seed=0)
    torch.save(model.backbone.state_dict(), path)
    return path


def made(method: str, weights: Path, folder: Path, *, common: bool) -> Any:
    """A run whose networks have the encoder in common, or each their own."""
    from tests.trainers.methods.test_every_method import config
    from trainers.loop.run import Run

    whole = config(
        method,
        data={"crop": CROP, "batch_size": BATCH},
        model={"backbone": BACKBONE, "weights": str(weights), "freeze": True},
        schedule={"epochs": 1, "steps_per_epoch": 1000},
    )
    with ExitStack() as stack:
        if not common:
            stack.enter_context(mock.patch("trainers.methods.ema.copied", copy.deepcopy))
            stack.enter_context(mock.patch("trainers.loop.method_context.share"))
        return Run(whole, folder)


def turns(method: str, weights: Path, folder: Path, rounds: int) -> tuple[list[float], list[float], int, int]:
    """Seconds of the steps with one encoder and with one for each, and the weights that each side holds, in bytes."""
    from trainers.loop.step_means import StepMeans

    with ExitStack() as stack:
        sides: list[tuple[Any, Iterator[Any]]] = []
        for common in (True, False):
            run = stack.enter_context(closing(made(method, weights, folder / f"{method}-{common}", common=common)))
            batches = run.loader.epoch(0)
            stack.callback(batches.close)
            sides.append((run, batches))
        seconds: tuple[list[float], list[float]] = ([], [])
        for number in range(rounds + 1):
            for (run, batches), kept in zip(sides, seconds, strict=True):
                batch = next(batches)
                begun = time.process_time()
                run.train_step(batch, StepMeans(run.process))
                if number:  # the first one warms up
                    kept.append(time.process_time() - begun)
        kept_bytes, own_bytes = (weights_held(run) for run, _ in sides)
    return seconds[0], seconds[1], kept_bytes, own_bytes


def weights_held(run: Any) -> int:
    """Bytes of the weights and statistics of all networks, each tensor once."""
    every = {
        one.data_ptr(): one.nbytes
        for network in run.method.networks().values()
        for one in (*network.parameters(), *network.buffers())
    }
    return sum(every.values())


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="Markdown file of the table.")],
    rounds: Annotated[int, typer.Option(min=2, help="Steps of each side.")] = 5,
) -> None:
    """Time both sides of every method."""
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        weights = weights_of_an_encoder(Path(name) / "encoder.pth")
        for method in METHODS:
            one, each, kept, apart = turns(method, weights, Path(name), rounds)
            ratios = [first / second for first, second in zip(one, each, strict=True)]
            rows.append(
                f"| {method} | {1000 * statistics.median(each):.0f} | {statistics.median(ratios):.2f} "
                f"({min(ratios):.2f} to {max(ratios):.2f}) | {kept / apart:.2f} |"
            )
            typer.echo(rows[-1])
    out.write_text(page(rows, rounds))


def page(rows: list[str], rounds: int) -> str:
    """The results' file."""
    return "\n".join(
        [
            "# A frozen encoder that networks have in common, against one for each",
            "",
            f"DeepLabV3+ with a frozen {BACKBONE}, crops of {CROP} pixels, {BATCH} + {BATCH} images, inter-pixel loss",
            "on. *Each its own*: a step's processor time on one thread, in ms. *In common*: as a multiple of that,",
            f"median of {rounds} steps by turns (smallest to largest). *Weights*: what all networks hold, likewise.",
            "",
            "| method | each its own, ms a step | in common | weights |",
            "|---|---|---|---|",
            *rows,
            "",
            "Command: `python -m benchmarks.frozen_encoder --out benchmarks/results/frozen_encoder_202611.md "
            f"--rounds {rounds}`. {datetime.now(UTC).date()}; {platform.machine()}, {os.cpu_count()} cores, no GPU; "
            f"load average {os.getloadavg()[0]:.1f}; Python {platform.python_version()}, torch {version('torch')}.",
            "",
        ]
    )


if __name__ == "__main__":
    app()
