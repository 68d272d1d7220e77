"""`evaluate`: all scores of a trained network on a list of images with masks, each with an interval over images."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.common.errors import ConfigError, DataError
from trainers.common.float32 import many_sizes
from trainers.data.evaluation import eval_batches
from trainers.data.open import open_data
from trainers.data.read import Reader
from trainers.inference.augmented import NONE, Augmentation, predicted
from trainers.inference.bootstrap import RESAMPLES, image_intervals
from trainers.inference.images import Images, listed_images, names_of
from trainers.inference.model import LoadedModel, load_model
from trainers.loop.evaluate import Absent, boundary_counts, confusion_matrix, scores
from trainers.loop.fit import numerics
from trainers.loop.out_of_memory import smaller_evaluation, told

logger = logging.getLogger(__name__)

BOUNDARY = 0.02
"""Width of the bands of boundary IoU as a share of the image's diagonal, as Cheng et al. have it."""
FOUND, TRUE, PREDICTED, BAND_BOTH, BAND_ANY = range(5)
"""Columns of an image's counts of pixels by class."""
MEANS = ("miou", "dice", "accuracy", "boundary_iou")

Part = Literal["holdout", "val"]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A score in percent with the ends of its 95 % interval over images; NaN where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a network scores on a list.

    Args:
        names: of the images, in the order of the list.
        counts: pixels by image and class, (N, 5, C) int64: found, true, predicted, and the intersection and union of
            the bands along boundaries. Ignored pixels are in none.
        confusion: (C, C) int64, rows true, columns predicted, summed over images.
        means: miou, dice, accuracy and boundary_iou.
        iou: by class; those that are neither true nor predicted anywhere are missing.
        dice: likewise.
        absent: whether classes that are nowhere count as 0 in the means.
        augmentation: how the images were seen.
    """

    names: tuple[str, ...]
    counts: NDArray[np.int64]
    confusion: NDArray[np.int64]
    means: dict[str, Interval]
    iou: dict[int, Interval]
    dice: dict[int, Interval]
    absent: Absent
    augmentation: Augmentation = NONE

    def of_images(self) -> NDArray[np.float64]:
        """Scores of every image alone, (N, 4): means over the classes that it shows or is predicted to show."""
        return _means(self.counts.astype(np.float64), absent="skip")


def evaluate(
    model: LoadedModel | str | Path,
    images: Images | str | Path,
    *,
    augmentation: Augmentation = NONE,
    resamples: int = RESAMPLES,
    on_image: Callable[[int, int], object] = lambda done, total: None,
) -> Evaluation:
    """Score a network as the run's own evaluation does: IoU is equal to it to the bit.

    Args:
        model: a loaded one, or what `load_model` takes.
        images: with masks, as `run_images` or `listed_images` give them, or the path of a list of such.
        augmentation: test-time augmentation; the run's own evaluation has none.
        resamples: of the bootstrap over images; 0: no intervals.
        on_image: told how many of how many images are done.

    Raises:
        DataError: an image or a mask cannot be read, or every pixel is ignored.
        OutOfMemory: an image is too large for the device's memory.
    """
    loaded = model if isinstance(model, LoadedModel) else load_model(model)
    if not isinstance(images, Images):
        images = listed_images(loaded, str(images), labelled=True)
        for line in images.said:
            logger.warning("%s", line)
    config, classes = loaded.config, loaded.num_classes
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    counts: list[Tensor] = []
    with ExitStack() as stack:
        stack.enter_context(told(lambda: "in the evaluation:", smaller_evaluation(config.evaluation)))
        stack.enter_context(numerics(config.precision))
        if config.evaluation.mode == "whole":
            stack.enter_context(many_sizes())
        for pixels, masks in eval_batches(images.items, reader=Reader(classes), device=loaded.device, spec=loaded.spec):
            classes_seen, _ = predicted(loaded, pixels, augmentation, probabilities=False)
            for one, mask in zip(classes_seen, masks, strict=True):
                pairs = confusion_matrix(one, mask, classes).cpu()
                band = boundary_counts(one[None], mask[None], classes, share=BOUNDARY).cpu()
                counts.append(torch.stack([pairs.diag(), pairs.sum(1), pairs.sum(0), *band]))
                confusion += pairs
            on_image(len(counts), len(images.items))
    if not bool(confusion.any()):
        raise DataError(
            f"every pixel of the {len(images.items)} masks is 255 = ignore, there is nothing to score; mend the masks, "
            "or say in data.label_map what their values mean"
        )
    absent, stacked = config.evaluation.absent, torch.stack(counts).numpy()
    found = summed(images.names, stacked, confusion, absent, resamples=resamples)
    return replace(found, augmentation=augmentation)


def summed(
    names: tuple[str, ...], counts: NDArray[np.int64], confusion: Tensor, absent: Absent, *, resamples: int
) -> Evaluation:
    """The scores of counts (N, 5, C) and of their confusion matrix (C, C), with intervals."""
    classes = counts.shape[2]
    ends = np.full((2, len(MEANS) + 2 * classes), np.nan)
    if resamples:
        ends = image_intervals(counts.astype(np.float64), lambda sums: _all(sums, absent=absent), resamples=resamples)
    total = counts.sum(axis=0)
    band = torch.from_numpy(total[[BAND_BOTH, BAND_ANY]])
    exact = scores(confusion, absent=absent, prefix="", boundary=band)

    def with_ends(name: str, place: int) -> Interval:
        low, high = (100 * float(end) for end in ends[:, place])
        return Interval(value=exact[f"/{name}"], low=low, high=high)

    there = [index for index in range(classes) if f"/iou/{index}" in exact]
    return Evaluation(
        names=names,
        counts=counts,
        confusion=confusion.numpy(),
        means={name: with_ends(name, place) for place, name in enumerate(MEANS)},
        iou={index: with_ends(f"iou/{index}", len(MEANS) + index) for index in there},
        dice={index: with_ends(f"dice/{index}", len(MEANS) + classes + index) for index in there},
        absent=absent,
    )


def run_images(model: LoadedModel, part: Part) -> Images:
    """The images that the run was scored on.

    Args:
        part: `holdout`, cut off the training images, or `val`, the list data.val.

    Raises:
        ConfigError: the run has no such images, or its data lie elsewhere.
    """
    config = model.config.data
    if part == "holdout" and config.holdout is None:
        raise ConfigError("--on holdout: this run held no images out; name a list with --list, or give --on val")
    data = open_data(config, final=part == "val")
    items = data.holdout if part == "holdout" else data.val
    return Images(items=items, names=names_of(items, config.layout().root))


def _all(sums: NDArray[np.float64], *, absent: Absent) -> NDArray[np.float64]:
    """(R, 5, C) -> (R, 4 + 2 C): the means, and IoU and Dice of each class."""
    iou, dice, _ = _ratios(sums)
    return np.concatenate([_means(sums, absent=absent), iou, dice], axis=1)


def _ratios(sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """IoU, Dice and boundary IoU, (R, C) each, as shares; NaN where a class is nowhere."""
    both = sums[:, TRUE] + sums[:, PREDICTED]
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = sums[:, FOUND] / (both - sums[:, FOUND])
        return iou, 2 * sums[:, FOUND] / both, sums[:, BAND_BOTH] / sums[:, BAND_ANY]


def _means(sums: NDArray[np.float64], *, absent: Absent) -> NDArray[np.float64]:
    """(R, 5, C) -> (R, 4), in the order of `MEANS`, as shares; NaN where no pixel was counted."""
    iou, dice, boundary = _ratios(sums)
    true = sums[:, TRUE].sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracy = sums[:, FOUND].sum(axis=1) / true
    columns = [_mean(iou, absent), _mean(dice, absent), accuracy, _mean(boundary, absent)]
    return np.where((true > 0)[:, None], np.stack(columns, axis=1), np.nan)


def _mean(values: NDArray[np.float64], absent: Absent) -> NDArray[np.float64]:
    there = ~np.isnan(values)
    counted = np.full(len(values), values.shape[1]) if absent == "zero" else there.sum(axis=1)
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = np.nan_to_num(values).sum(axis=1) / counted
    return mean
