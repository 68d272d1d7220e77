"""Evaluation on a list of images (methods: section 20): pixels are counted by true and predicted class, each image once
over all processes, and scores are made of the counts. Counts are int64 and may be summed; scores are in percent."""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.common.errors import DataError
from trainers.common.float32 import many_sizes
from trainers.config import TrainConfig
from trainers.data.evaluation import eval_batches
from trainers.data.layout import Item
from trainers.data.read import Reader
from trainers.interface.input_spec import RGB, InputSpec
from trainers.interface.labels import IGNORE
from trainers.loop.class_scores import brought_to, class_scores
from trainers.loop.process_group import Process

Absent = Literal["skip", "zero"]
Watch = Callable[[Tensor, Tensor], None]
"""Called on every process with each batch of its share, in order: predicted and true classes (B, H, W) int64, 255 =
ignore, at the images' own size."""


@torch.no_grad()
def evaluate(
    networks: dict[str, nn.Module],
    items: Sequence[Item],
    *,
    config: TrainConfig,
    reader: Reader,
    num_classes: int,
    process: Process,
    main: str,
    prefix: str,
    watch: Watch | None = None,
    spec: InputSpec = RGB,
) -> dict[str, float]:
    """Scores of every network on ``items``: ``<prefix>/<network>/miou`` each, and all scores of ``main`` under
    ``<prefix>``. The networks are left in eval mode. A compiled network runs as it was before: images have many
    sizes, and each would be compiled.

    Args:
        watch: is given what ``main`` predicts.
        spec: what the networks take.

    Raises:
        DataError: a file cannot be read, or every pixel of all masks is ignored: no score is not a score of 0.
    """
    counts = {
        name: torch.zeros(num_classes, num_classes, dtype=torch.int64, device=process.device) for name in networks
    }
    share = config.evaluation.boundary_width
    boundary = None if share is None else torch.zeros(2, num_classes, dtype=torch.int64, device=process.device)
    for network in networks.values():
        network.eval()
    windows = config.evaluation.mode == "sliding"
    with nullcontext() if windows else many_sizes():
        for images, masks in eval_batches(
            items, reader=reader, device=process.device, rank=process.rank, world=process.world, spec=spec
        ):
            for name, network in networks.items():
                prediction = class_scores(network, images, config=config, num_classes=num_classes).max(dim=1).indices
                prediction = brought_to(prediction, masks.shape[-2:])
                counts[name] += confusion_matrix(prediction, masks, num_classes)
                if name == main and watch is not None:
                    watch(prediction, masks)
                if name == main and boundary is not None and share is not None:
                    boundary += boundary_counts(prediction, masks, num_classes, share=share)
    if boundary is not None:
        process.sum_(boundary)
    found: dict[str, float] = {}
    for name, matrix in counts.items():
        process.sum_(matrix)
        if not bool(matrix.any()):
            key = "data.val" if prefix.startswith("final") else "data.holdout"
            raise DataError(
                f"{key}: every pixel of its {len(items)} masks is 255 = ignore, there is nothing to score; mend the "
                "masks, or say in data.label_map what their values mean"
            )
        band = boundary if name == main else None
        one = scores(matrix, absent=config.evaluation.absent, prefix=prefix, boundary=band)
        found[f"{prefix}/{name}/miou"] = one[f"{prefix}/miou"]
        if name == main:
            found |= one
    return found


def confusion_matrix(prediction: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """Counts (num_classes, num_classes) int64, rows true, columns predicted; pixels with target 255 are left out.

    By `bincount`, which counts in a GPU's shared memory and, of integers, is allowed in deterministic mode, where a
    scatter would sort and have one warp go through all pixels of a pair of classes. The host waits for it twice.
    """
    last = num_classes**2
    cell = torch.where(target == IGNORE, last, target * num_classes + prediction).flatten()
    return torch.bincount(cell, minlength=last + 1)[:last].view(num_classes, num_classes)


def boundary_width(height: int, width: int, share: float) -> int:
    """Pixels of a boundary's band: ``share`` of the image's diagonal, rounded, and at least 1."""
    return max(1, round(share * math.hypot(height, width)))


def boundary_counts(prediction: Tensor, target: Tensor, num_classes: int, *, share: float) -> Tensor:
    """What boundary IoU is made of: (2, num_classes) int64, the intersection and the union of the two bands.

    A class's band is the part of its mask from which something else, or the outside of the image, is at most d pixels
    away along rows and columns (the larger of the two distances): the mask without its d-fold erosion by a square of
    3 x 3 pixels. d is `boundary_width`. Cheng et al., Boundary IoU, CVPR 2021, with a share of 0.02. Pixels with target
    255 are of no class in either map. The intersection of a class whose masks agree in the whole band is its union.

    Args:
        prediction, target: classes (B, H, W) int64; all images of one size.
        share: of the image's diagonal, above 0.
    """
    ignored = target == IGNORE
    maps = torch.stack([target, torch.where(ignored, IGNORE, prediction)])
    inside = _in_band(maps, boundary_width(target.shape[-2], target.shape[-1], share))
    truth, found = torch.where(inside & ~ignored, maps, num_classes)
    size = num_classes + 1
    counts = torch.bincount((truth * size + found).flatten(), minlength=size**2).view(size, size)
    intersection = counts.diag()[:-1]
    return torch.stack([intersection, counts.sum(0)[:-1] + counts.sum(1)[:-1] - intersection])


def _in_band(maps: Tensor, reach: int) -> Tensor:
    """Where a window of ``reach`` pixels to each side holds another value or the outside: (2, B, H, W) bool."""
    padded = F.pad(maps.flatten(0, 1).float(), (reach,) * 4, value=-1.0)  # the outside is a value of its own
    window = 2 * reach + 1
    ends = torch.stack([padded, -padded], dim=1)
    highest, lowest = F.max_pool2d(F.max_pool2d(ends, (1, window), stride=1), (window, 1), stride=1).unbind(dim=1)
    return (highest != -lowest).view_as(maps)


def scores(confusion: Tensor, *, absent: Absent, prefix: str, boundary: Tensor | None = None) -> dict[str, float]:
    """All scores of summed counts, in percent, named as `trainers.interface.epoch_record` lists them.

    Of a class with TP pixels found, FP wrongly given to it and FN missed, IoU is TP / (TP + FP + FN) and Dice, the same
    as F1, is 2 TP / (2 TP + FP + FN). A class that occurs in neither prediction nor target has neither; ``zero`` counts
    it as 0 in the means. Where nothing was counted at all the means are NaN: no score is not 0.

    Args:
        confusion: of :func:`confusion_matrix`, (C, C).
        boundary: of :func:`boundary_counts`, (2, C); None: no boundary IoU.
    """
    counts = confusion.double().cpu()
    intersection = counts.diag()
    pixels = counts.sum(0) + counts.sum(1)
    present = pixels > 0
    iou = 100 * intersection / (pixels - intersection).clamp(min=1)
    dice = 200 * intersection / pixels.clamp(min=1)

    def mean(values: Tensor, among: Tensor) -> float:
        considered = values[among] if absent == "skip" else values
        return float(considered.mean()) if counts.any() else math.nan

    found = {
        f"{prefix}/miou": mean(iou, present),
        f"{prefix}/dice": mean(dice, present),
        f"{prefix}/accuracy": float(100 * intersection.sum() / counts.sum()) if counts.any() else math.nan,
        f"{prefix}/absent_classes": float((~present).sum()),
        **{f"{prefix}/iou/{index}": float(iou[index]) for index in range(len(iou)) if present[index]},
        **{f"{prefix}/dice/{index}": float(dice[index]) for index in range(len(iou)) if present[index]},
    }
    if boundary is not None:
        band = boundary.double().cpu()
        found[f"{prefix}/boundary_iou"] = mean(100 * band[0] / band[1].clamp(min=1), band[1] > 0)
    return found
