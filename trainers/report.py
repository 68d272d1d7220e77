"""All that a trainer knows of whoever is watching: one record per epoch out, one verdict back.

Metric names are flat and slashed. mIoU and IoU are in percent; other names end in their unit.

==============================  ==========================================================================
``train/loss``                  total loss, mean over the epoch's steps
``train/loss/<term>``           one raw loss term, before its weight (``interpixel`` is before alpha and ramp)
``train/interpixel/omega``      mean |Omega| / (H W) over images, steps and views
``train/interpixel/empty``      share of images with |Omega| < 2, which contribute 0
``train/interpixel/ramp``       warm-up factor r(it) at the epoch's last step
``train/lr``                    backbone learning rate at the epoch's last step
``train/stage``                 of a method of several stages, from 0
``train/skipped_images``        corrupt images skipped so far (only where the config allows it)
``val/miou``                    the network that the method evaluates, on the held-out training images
``val/<network>/miou``          every network there is: student, teacher, ...
``val/recent/miou``             mean of ``val/miou`` over the latest evaluations (``evaluation.recent`` of them)
``val/iou/<class index>``       per class, missing where the class is absent
``val/absent_classes``          classes that occur neither in prediction nor in target
``final/<...>``                 the same on the validation list `data.val`, only in a final run
``time/epoch_s``                wall time of the epoch's training steps
``time/step_ms``                milliseconds a training step, waiting for data included: the mean of the epoch's steps
                                but the first; rank 0's
``time/eval_s``                 wall time of its evaluation
``memory/peak_mib``             MiB at the peak so far, evaluation included, of the process that took most. On a GPU:
                                what PyTorch's tensors took there. On a CPU: resident memory of the process since its
                                start, libraries included, the loader's workers not
==============================  ==========================================================================
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainers.config import TrainConfig

MEASURED = ("time/", "memory/")
"""How the names of metrics begin that are measured on the machine, and so differ between equal runs."""

METRICS = "metrics.jsonl"
"""File in a run's folder: an epoch's record in every line."""


class Verdict(Enum):
    """What the watcher answers after an epoch."""

    CONTINUE = "continue"
    STOP = "stop"


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One finished epoch.

    Args:
        epoch: number of finished epochs, from 1.
        step: number of finished optimiser steps.
        metrics: flat numbers, named as in the module docstring.
        checkpoint: file from which this epoch can be resumed, already on disk; None where none was due.
        split_hash: hash of the labelled, unlabelled and held-out lists.
    """

    epoch: int
    step: int
    metrics: dict[str, float]
    checkpoint: Path | None
    split_hash: str


Callback = Callable[[EpochRecord], Verdict]
"""Called on every process after every epoch; rank 0's verdict counts. A resumed run first gives every earlier record
again, oldest first, so that a watcher that missed one learns of it: a watcher keeps the first record of an epoch."""


def read_records(path: Path) -> list[EpochRecord]:
    """The epochs in a run's `metrics.jsonl`, without their checkpoints; none where there is no file yet."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("\n")]
    own = ("epoch", "step", "split_hash")
    return [
        EpochRecord(
            **{name: row[name] for name in own},
            metrics={name: value for name, value in row.items() if name not in own},
            checkpoint=None,
        )
        for row in rows
    ]


def validation_called(config: "TrainConfig") -> str:
    """What the images of `data.val` are: a benchmark's set has a name, a list of one's own is a list."""
    return "official validation set" if type(config.data).official_val else "validation list"


def named_classes(config: "TrainConfig") -> Sequence[str] | None:
    """The names that the config gives to its classes; None where it gives none."""
    names: Sequence[str] | None = getattr(config.data, "classes", None)
    return names


def closing_lines(config: "TrainConfig", records: Sequence[EpochRecord]) -> list[str]:
    """Scores with what they are worth: which images, which epoch, which budget, one seed."""
    last, lines = records[-1], []
    best = max(records, key=lambda record: record.metrics.get("val/miou", -1.0))
    if "val/miou" in last.metrics:
        lines.append(
            f"held-out training images: mIoU {last.metrics['val/miou']:.2f} % in the last epoch, "
            f"{best.metrics['val/miou']:.2f} % in the best (epoch {best.epoch}){_left_out(config, last, 'val')}"
        )
    names = named_classes(config) or ()
    prefix = "final/last" if "final/last/miou" in last.metrics else "val"
    if "final/last/miou" in last.metrics:
        text = f"{validation_called(config)}: mIoU {last.metrics['final/last/miou']:.2f} % with the last weights"
        if "final/best/miou" in last.metrics:
            text += f", {last.metrics['final/best/miou']:.2f} % with those of epoch {best.epoch}"
        lines.append(text + _left_out(config, last, "final/last"))
    iou = {name: last.metrics.get(f"{prefix}/iou/{index}") for index, name in enumerate(names)}
    if any(value is not None for value in iou.values()):
        shown = ", ".join(
            f"{name} {'absent' if value is None else format(value, '.2f')}" for name, value in iou.items()
        )
        lines.append(f"IoU by class, in % with the last weights: {shown}")
    lines.append(
        f"1 seed ({config.seed}), {last.epoch} epochs, {last.step} steps, split {last.split_hash[:12]}; "
        "seeds of one config differ, so one run decides nothing"
    )
    return lines


def _left_out(config: "TrainConfig", record: EpochRecord, prefix: str) -> str:
    """How many classes the mean is not over: neither there nor predicted."""
    absent = int(record.metrics.get(f"{prefix}/absent_classes", 0))
    if not absent or config.evaluation.absent == "zero":
        return ""
    return f", without {absent} class{'es' if absent > 1 else ''} neither in the masks nor predicted"
