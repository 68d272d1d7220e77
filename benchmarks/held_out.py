"""What pictures and counts of held-out images cost: an evaluation without and with them, and a row of W&B.

`python -m benchmarks.held_out` on one CPU core; images and masks are drawn, the network is `small`.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ipix_tune.tracking.client import client_settings
from ipix_tune.tracking.pictures import images_of, keep
from trainers.config import TrainConfig
from trainers.data.layout import Item
from trainers.data.read import Reader
from trainers.loop.evaluate import evaluate
from trainers.loop.held_out import MOST_SHOWN, HeldOutWriter
from trainers.loop.process_group import current
from trainers.models.build import build_model

REPEATS = 3
SIZES = {
    "300 images of 96 x 96, 11 classes": (300, 96, 96, 11),
    "100 images of 375 x 500, 21 classes": (100, 375, 500, 21),
}


def main() -> None:
    """Prints a row of a Markdown table for each size."""
    torch.set_num_threads(1)
    print("| held-out images | evaluation s | with 4 pictures s | with pictures of all s | file kB | W&B row s |")
    print("|---|---|---|---|---|---|")
    for called, (count, height, width, classes) in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            cells = _measured(Path(folder), count, height, width, classes)
        print(f"| {called} | {' | '.join(cells)} |")


def _measured(folder: Path, count: int, height: int, width: int, classes: int) -> list[str]:
    items = [_item(folder, number, height, width, classes) for number in range(count)]
    data = {"name": "folder", "root": str(folder), "num_classes": classes, "crop": 64, "batch_size": 2}
    model = {"backbone": "small", "weights": "none"}
    config = TrainConfig.model_validate({"data": data, "method": {"name": "supervised"}, "model": model})
    network = build_model(config.model, num_classes=classes, seed=0)
    reader, process, file = Reader(classes, cache_bytes=2**31), current("cpu"), folder / "held_out.npz"

    def scored(shown: int | None) -> Callable[[], None]:
        def run() -> None:
            seen = None if shown is None else HeldOutWriter(items, num_classes=classes, shown=shown, process=process)
            evaluate(
                {"student": network},
                items,
                config=config,
                reader=reader,
                num_classes=classes,
                process=process,
                main="student",
                prefix="val",
                watch=None if seen is None else seen.add,
            )
            if seen is not None:
                seen.write(file, epoch=1, reader=reader)

        return run

    times = [_least(scored(shown)) for shown in (None, 4, MOST_SHOWN)]
    return [
        *(f"{one:.2f}" for one in times),
        f"{file.stat().st_size / 1e3:.0f}",
        f"{_logged(folder, file, classes):.2f}",
    ]


def _item(folder: Path, number: int, height: int, width: int, classes: int) -> Item:
    """A smooth image, and a mask of blocks."""
    rng = np.random.default_rng(number)
    image, mask = folder / f"{number}.png", folder / f"{number}-mask.png"
    Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((width, height)).save(image)
    blocks = Image.fromarray(rng.integers(0, classes, (6, 8), dtype=np.uint8))
    blocks.resize((width, height), Image.Resampling.NEAREST).save(mask)
    return Item(image=image, mask=mask, root=folder)


def _logged(folder: Path, file: Path, classes: int) -> float:
    """Seconds of the driver for a row with four pictures."""
    import wandb

    run = wandb.init(dir=str(folder), mode="offline", settings=client_settings())
    names = [f"class {index}" for index in range(classes)]

    def log() -> None:
        data = file.read_bytes()
        run.log({"pictures": images_of(data, names, most=4)})
        keep(data, run)

    seconds = _least(log)
    run.finish()
    return seconds


def _least(call: Callable[[], None]) -> float:
    """Seconds of the fastest of a few calls; one before them is not timed."""
    call()
    found = []
    for _ in range(REPEATS):
        begun = time.process_time()
        call()
        found.append(time.process_time() - begun)
    return min(found)


if __name__ == "__main__":
    main()
