"""How long `ipix-tune predict` takes beside the bare forward passes of the same images.

    python -m benchmarks.predict_time --out benchmarks/results/predict_time_202611.md

Both sides are timed in one process, one after the other, in every round: on the clock, and in the process's own
processor time, all threads together, which other work on the machine moves little. The bare side has the images
decoded, normalised and grouped on the device already, and throws the logits away; the other side reads JPEG files and
writes index PNGs, and where said overlays. Weights are random: what a step costs does not depend on them."""

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from torch import Tensor

from trainers.config import TrainConfig
from trainers.inference.images import given_images
from trainers.inference.model import LoadedModel, load_model
from trainers.inference.predict import grouped
from trainers.inference.write import Outputs, write_predictions
from trainers.loop.fit import fit, numerics

app = typer.Typer(add_completion=False)
BACKBONES = ("small", "resnet18", "resnet50")
SIZE = (375, 500)
"""Height and width, as most images of Pascal VOC have."""


def trained(folder: Path, backbone: str, device: str) -> LoadedModel:
    """A network that has trained one step, from its run's folder."""
    config = TrainConfig.model_validate(
        {
            "data": {"name": "digits", "crop": 32, "batch_size": 2, "holdout": {"images": 1}},
            "method": {"name": "supervised"},
            "model": {"backbone": backbone, "weights": "none"},
            "schedule": {"epochs": 1, "steps_per_epoch": 1},
            "precision": {"device": device},
        }
    )
    fit(config, folder)
    return load_model(folder)


def photographs(folder: Path, count: int) -> None:
    """JPEG files: parts of scikit-learn's two photographs."""
    from sklearn.datasets import load_sample_images

    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        photo = load_sample_images().images[number % 2]
        top, left = (int(rng.integers(have - want + 1)) for have, want in zip(photo.shape[:2], SIZE, strict=True))
        Image.fromarray(photo[top : top + SIZE[0], left : left + SIZE[1]]).save(folder / f"{number:03}.jpg", quality=90)


Seconds = tuple[float, float]
"""On the clock, and of the process's threads together."""


def seconds(work: Callable[[], object], device: torch.device) -> Seconds:
    """Until it is done, on the device too."""
    begun, busy = time.perf_counter(), time.process_time()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun, time.process_time() - busy


@torch.no_grad()
def forward(model: LoadedModel, batches: list[Tensor]) -> None:
    """The bare passes."""
    with numerics(model.config.precision):
        for batch in batches:
            model.network(batch)


def measured(model: LoadedModel, photos: Path, out: Path, rounds: int) -> dict[str, list[Seconds]]:
    """Seconds of every round, by side."""
    found = given_images(model, [photos])
    groups = [torch.stack([model.read(item.image) for item, _ in group]) for group in grouped(model, found)]
    batches = [model.normalise(group) for group in groups]

    def written(number: int, *, overlay: bool) -> None:
        write_predictions(model, found, out / f"{number}-{overlay}", outputs=Outputs(overlay=overlay))

    forward(model, batches)  # warms up
    sides: dict[str, list[Seconds]] = {"bare": [], "masks": [], "overlays": []}
    for number in range(rounds):
        sides["bare"].append(seconds(lambda: forward(model, batches), model.device))
        sides["masks"].append(seconds(partial(written, number, overlay=False), model.device))
        sides["overlays"].append(seconds(partial(written, number, overlay=True), model.device))
    return sides


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="Markdown file of the table.")],
    images: Annotated[int, typer.Option(help="How many images.")] = 16,
    rounds: Annotated[int, typer.Option(help="How often each side is timed.")] = 5,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    backbones: Annotated[list[str] | None, typer.Option("--backbone", help="Default: all three.")] = None,
) -> None:
    """Time both sides."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        photographs(Path(place) / "in", images)
        for backbone in backbones or BACKBONES:
            model = trained(Path(place) / backbone, backbone, device)
            sides = measured(model, Path(place) / "in", Path(place) / f"{backbone}-out", rounds)
            rows.append(row(backbone, sides, images))
            typer.echo(rows[-1])
            out.write_text(page(rows, images, rounds, device, backbones or ()))


def row(backbone: str, sides: dict[str, list[Seconds]], images: int) -> str:
    """Of the table: milliseconds an image, and ratios round by round, by processor time and by the clock."""
    cells = [backbone, f"{1000 * statistics.median(busy for _, busy in sides['bare']) / images:.0f}"]
    for kind in (1, 0):
        for name in ("masks", "overlays"):
            ratios = [one[kind] / other[kind] for one, other in zip(sides[name], sides["bare"], strict=True)]
            cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    return f"| {' | '.join(cells)} |"


def page(rows: list[str], images: int, rounds: int, device: str, backbones: Sequence[str]) -> str:
    """The results' file."""
    where = (
        torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()}, {os.cpu_count()} cores, no GPU"
    )
    some = "".join(f" --backbone {one}" for one in backbones)
    return "\n".join(
        [
            "# Time of `predict` against the bare forward passes",
            "",
            f"{images} JPEG files of {SIZE[1]} x {SIZE[0]} pixels, whole images, DeepLabV3+ with each backbone.",
            "*Bare*: the network's passes over images that are decoded and normalised on the device already, in",
            "milliseconds of processor time an image. *Masks*, *overlays too*: a whole `write_predictions` (read,",
            f"normalise, predict, write) as a multiple of that; median of {rounds} rounds by turns in one process",
            "(smallest to largest). *Processor*: time of all threads together. *Clock*: reading and writing may go on",
            "beside the network, and so may other work on the machine.",
            "",
            "| backbone | bare | masks, processor | overlays too, processor | masks, clock | overlays too, clock |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            "Command: `python -m benchmarks.predict_time --out benchmarks/results/predict_time_202611.md "
            f"--images {images} --rounds {rounds} --device {device}{some}`. "
            f"{datetime.now(UTC).date()}; {where}; "
            f"load average {os.getloadavg()[0]:.1f}; Python {platform.python_version()}, "
            f"torch {version('torch')}, pillow {version('pillow')}.",
            "",
        ]
    )


if __name__ == "__main__":
    app()
