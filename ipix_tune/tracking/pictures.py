"""Held-out images in W&B: its own images with masks of truth and prediction, and the file that the report reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.columns import PICTURES
from analysis.ingest.held_out import FILE, read_held_out
from ipix_tune.storage.object_store import Store
from trainers.interface.held_out_file import due, file_of
from trainers.interface.labels import IGNORE

KEY = PICTURES.rstrip("/")
"""Name in W&B's history."""


def left_by(config: dict[str, Any], epoch: int) -> bytes | None:
    """The file of held-out images that a trial has left after an epoch; None where there is none.

    Args:
        config: of the trial, as `ipix_tune.execution.trainable.trial_config` makes it.
    """
    evaluation, schedule = (config["trainer"].get(part) for part in ("evaluation", "schedule"))
    if not isinstance(evaluation, dict) or "pictures" not in evaluation or not isinstance(schedule, dict):
        return None  # another trainer's
    if not due(epoch, pictures=evaluation["pictures"], every=evaluation["every"], epochs=schedule["epochs"]):
        return None
    path = file_of(Path(config["run_dir"]), epoch)
    try:
        if config["store"] is None:
            return path.read_bytes()
        store = Store(config["store"])
        return store.get(path.as_posix()) if store.exists(path.as_posix()) else None
    except OSError:
        return None


def images_of(data: bytes, classes: Sequence[str], *, most: int) -> list[Any]:
    """W&B's images: a fixed few of the held-out ones, with truth and prediction as masks, by class names. Smaller ones
    have a black margin, ignored in both masks, on the right and below: W&B shows a list of images in the first one's
    size.

    Args:
        most: how many, evenly spread over those that have pictures.
    """
    import wandb

    found = read_held_out(data)
    labels = dict(enumerate(classes)) | {IGNORE: "ignore"}
    names = [found.names[place] for place in found.shown]
    count = min(most, len(names))
    chosen = [names[(2 * place + 1) * len(names) // (2 * count)] for place in range(count)]
    pictures = [one for one in map(found.picture, chosen) if one is not None]
    size = tuple(np.max([one.truth.shape for one in pictures], axis=0)) if pictures else ()
    return [
        wandb.Image(
            _framed(one.image, size, 0),
            caption=one.name,
            masks={
                "prediction": {"mask_data": _framed(one.prediction, size, IGNORE), "class_labels": labels},
                "ground_truth": {"mask_data": _framed(one.truth, size, IGNORE), "class_labels": labels},
            },
        )
        for one in pictures
    ]


def _framed(pixels: NDArray[np.uint8], size: tuple[int, ...], value: int) -> NDArray[np.uint8]:
    """(H, W, ...) brought to ``size`` with a margin of ``value`` below and on the right."""
    margins = [(0, side - own) for side, own in zip(size, pixels.shape, strict=False)]
    return np.pad(pixels, margins + [(0, 0)] * (pixels.ndim - len(size)), constant_values=value)


def keep(data: bytes, run: Any) -> None:
    """Among the files of a W&B run, in the place of that of an earlier epoch."""
    path = Path(run.dir) / FILE
    path.write_bytes(data)
    run.save(str(path), base_path=run.dir, policy="now")
