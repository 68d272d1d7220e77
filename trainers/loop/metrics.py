"""Confusion matrices and what follows from them (methods: section 20). Counts are int64, scores in percent."""

import math
from typing import Literal

import torch
from torch import Tensor

from trainers.interface.labels import IGNORE


def confusion_matrix(prediction: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """Counts (num_classes, num_classes) int64, rows true, columns predicted; pixels with target 255 are left out.

    By `bincount`, which counts in a GPU's shared memory and, of integers, is allowed in deterministic mode, where a
    scatter would sort and have one warp go through all pixels of a pair of classes. The host waits for it twice.
    """
    last = num_classes**2
    cell = torch.where(target == IGNORE, last, target * num_classes + prediction).flatten()
    return torch.bincount(cell, minlength=last + 1)[:last].view(num_classes, num_classes)


def scores(confusion: Tensor, *, absent: Literal["skip", "zero"], prefix: str) -> dict[str, float]:
    """``<prefix>/miou``, ``<prefix>/iou/<class>`` and ``<prefix>/absent_classes`` from summed counts.

    A class that occurs in neither prediction nor target has no IoU of its own; ``zero`` counts it as 0 in the mean.
    Where nothing was counted at all the mean is NaN: no score is not 0.
    """
    counts = confusion.double().cpu()
    intersection = counts.diag()
    union = counts.sum(0) + counts.sum(1) - intersection
    present = union > 0
    iou = 100 * intersection / union.clamp(min=1)
    considered = iou[present] if absent == "skip" else iou
    found = {f"{prefix}/iou/{index}": float(iou[index]) for index in range(len(iou)) if present[index]}
    return {
        f"{prefix}/miou": float(considered.mean()) if counts.any() else math.nan,
        f"{prefix}/absent_classes": float((~present).sum()),
        **found,
    }
