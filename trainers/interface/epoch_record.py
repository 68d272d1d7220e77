"""All that a trainer knows of whoever is watching: one record per epoch out, one verdict back.

Metric names are flat and slashed. IoU, Dice and accuracy are in percent; other names end in their unit.

==============================  ==========================================================================
``train/loss``                  total loss, mean over the epoch's steps
``train/loss/<term>``           one raw loss term, before its weight (``interpixel`` is before alpha and ramp)
``train/interpixel/omega``      mean |Omega| / (H W) over images, steps and views
``train/interpixel/empty``      share of images with |Omega| < 2, which contribute 0
``train/interpixel/ramp``       warm-up factor r(it) at the epoch's last step
``train/lr``                    backbone learning rate at the epoch's last step
``train/skipped_steps``         steps of the epoch that loss scaling left out, and ``train/loss_scale``, its scale at
                                the epoch's end; only with ``precision.amp: fp16``
``train/stage``                 of a method of several stages, from 0
``train/skipped_images``        corrupt images skipped so far (only where the config allows it)
``val/miou``                    the network that the method evaluates, on the held-out training images: mean over
                                classes of intersection over union, each from the pixels of all images together
``val/<network>/miou``          every network there is: student, teacher, ...
``val/recent/miou``             mean of ``val/miou`` over the latest evaluations (``evaluation.recent`` of them)
``val/iou/<class index>``       per class, missing where the class is absent
``val/dice``                    mean over classes of Dice, which is F1; ``val/dice/<class index>`` per class
``val/accuracy``                share of pixels whose class is right
``val/boundary_iou``            mean over classes of the IoU of bands along boundaries; only with
                                ``evaluation.boundary_width``
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
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

MEASURED = ("time/", "memory/")
"""How the names of metrics begin that are measured on the machine, and so differ between equal runs."""

METRICS = "metrics.jsonl"
"""File in a run's folder: an epoch's record in every line."""


class Decision(Enum):
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


Callback = Callable[[EpochRecord], Decision]
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
