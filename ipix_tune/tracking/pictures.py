"""Held-out images in W&B: its own images with masks of truth and prediction, and the file that the report reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.columns import PICTURES
from analysis.ingest.held_out import FILE, read_held_out
from ipix_tune.storage.object_store import Store
from trainers.interface.held_out_file import due, file_of

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
    """W&B's images: a fixed few of the held-out ones, with truth and prediction as masks, by class names.

    Args:
        most: how many, evenly spread over those that have pictures.
    """
    import wandb

    found = read_held_out(data)
    labels = dict(enumerate(classes)) | {255: "ignore"}
    names = [found.names[place] for place in found.shown]
    count = min(most, len(names))
    chosen = [names[(2 * place + 1) * len(names) // (2 * count)] for place in range(count)]
    pictures = [found.picture(name) for name in chosen]
    return [
        wandb.Image(
            one.image,
            caption=one.name,
            masks={
                "prediction": {"mask_data": one.prediction, "class_labels": labels},
                "ground_truth": {"mask_data": one.truth, "class_labels": labels},
            },
        )
        for one in pictures
        if one is not None
    ]


def keep(data: bytes, run: Any) -> None:
    """Among the files of a W&B run, in the place of that of an earlier epoch."""
    path = Path(run.dir) / FILE
    path.write_bytes(data)
    run.save(str(path), base_path=run.dir, policy="now")
