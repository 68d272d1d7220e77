"""The loss of labelled pixels. Labels (B, H, W) int64, 255 = ignore; logits (B, C, H, W); all sums over the pixels or
images of all processes, so that averaged gradients are those of one process with the whole batch.

Dice and focal loss are our own, since those of segmentation_models.pytorch (smp) cannot be divided over processes: its
Dice sums a process's pixels inside, and its focal loss of several classes is one of sigmoids, one against the rest,
where everything here reads a softmax. On one process Dice is smp's `DiceLoss`, and the focal loss its
`softmax_focal_loss_with_logits`, which knows no ignored pixels. Lovász is smp's, image by image.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trainers.common.float32 import without_autocast
from trainers.interface.labels import IGNORE
from trainers.interface.method import alone
from trainers.interface.step import Denominator, HardPixels
from trainers.losses.functional import (
    cross_entropy,
    hard_pixels,
    is_class,
    ohem_cross_entropy,
    pixel_nll,
    probabilities,
)
from trainers.losses.labelled_config import CROSS_ENTROPY, FOCAL, LOVASZ, LossConfig

SMALLEST = 1e-12
"""Smallest 1 - p in the focal loss: a power below 1 has no finite slope at 0."""
EPSILON = 1e-7
"""smp's, of Dice's divisor."""


class LabelledLoss:
    """See `trainers.interface.step.LabelledLoss`.

    Args:
        config: the section `loss`.
        weights: of the classes, (C,), at least one above 0; None: all alike.
        total: sums a tensor over processes, with gradient.
    """

    def __init__(
        self, config: LossConfig, *, weights: Tensor | None = None, total: Callable[[Tensor], Tensor] = alone
    ) -> None:
        self.config, self.total = config, total
        # Only ratios matter; with 1 as the smallest, divisors are at least 1 where a pixel counts.
        self.weights = None if weights is None else weights / weights[weights > 0].min()

    def __call__(
        self,
        logits: Tensor,
        labels: Tensor,
        denominator: Denominator,
        *,
        hard: HardPixels | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        config, kind = self.config, self.config.labelled
        weights = self.weights if weights is None else weights
        with without_autocast(logits.device):
            parts = []
            if kind in CROSS_ENTROPY:
                parts.append(pixel_cross_entropy(logits, labels, denominator, hard=hard, weights=weights))
            if kind in FOCAL:
                parts.append(focal(logits, labels, denominator, gamma=config.focal_gamma, weights=weights))
            region = config.region_weight if parts else 1.0
            if "dice" in kind:
                parts.append(region * dice(logits, labels, weights=weights, total=self.total))
            if kind in LOVASZ:
                parts.append(region * lovasz(logits, labels, denominator))
            return parts[0] if len(parts) == 1 else torch.stack(parts).sum()


def pixel_cross_entropy(
    logits: Tensor, labels: Tensor, denominator: Denominator, *, hard: HardPixels | None, weights: Tensor | None
) -> Tensor:
    """Cross-entropy, of hard pixels only where asked for; with weights the sum is divided by the weights of the pixels
    that are in it."""
    if weights is None and hard is None:
        return cross_entropy(logits, labels, denominator)
    if weights is None and hard is not None:
        return ohem_cross_entropy(logits, labels, denominator, thresh=hard.thresh, min_kept=hard.min_kept)
    nll, each = pixel_nll(logits, labels), _each(weights, labels, exact_type(logits))
    if hard is not None:
        each = each * hard_pixels(nll, labels, thresh=hard.thresh, min_kept=hard.min_kept)
    return (nll * each).sum() / denominator(each.sum())


def focal(logits: Tensor, labels: Tensor, denominator: Denominator, *, gamma: float, weights: Tensor | None) -> Tensor:
    """Sum of w (1 - p)^gamma (-log p) over labelled pixels, p the softmax's probability of the true class, divided by
    their number, or by their weights (Lin et al., ICCV 2017, for several classes)."""
    nll, each = pixel_nll(logits, labels), _each(weights, labels, exact_type(logits))
    missed = (-torch.expm1(-nll)).clamp(min=SMALLEST)
    return (missed**gamma * nll * each).sum() / denominator(each.sum())


def dice(logits: Tensor, labels: Tensor, *, weights: Tensor | None, total: Callable[[Tensor], Tensor]) -> Tensor:
    """1 - 2 |P T| / (|P| + |T|) with soft P, as smp's `DiceLoss`: sums over all labelled pixels of the batch for each
    class, then the mean over all classes, in which one without a labelled pixel counts 0."""
    p = probabilities(logits)
    truth = is_class(labels[:, None], logits.shape[1])
    dims = (0, 2, 3)
    there = (labels != IGNORE)[:, None]
    common = torch.where(truth, p, 0.0).sum(dims)
    predicted = torch.where(there, p, 0.0).sum(dims)
    common, predicted, pixels = total(torch.stack([common, predicted, truth.sum(dims).to(p.dtype)]))
    score = common / ((predicted + pixels) / 2).clamp(min=EPSILON)
    loss = torch.where(pixels > 0, 1 - score, 0.0)
    if weights is None:
        return loss.mean()
    weights = weights.to(loss)
    return (loss * weights).sum() / weights.sum()


def lovasz(logits: Tensor, labels: Tensor, denominator: Denominator) -> Tensor:
    """The mean of smp's `LovaszLoss` over the images that have a labelled pixel (Berman et al., CVPR 2018)."""
    from segmentation_models_pytorch.losses import LovaszLoss

    loss = LovaszLoss("multiclass", per_image=False, ignore_index=IGNORE)
    shown = (labels != IGNORE).flatten(1).any(dim=1)
    places = [place for place, there in enumerate(shown.tolist()) if there]
    parts = [loss(logits[place, None].float(), labels[place, None]) for place in places]  # smp's knows no float64
    summed = torch.stack(parts).sum() if parts else logits.float().sum() * 0.0
    return summed.to(exact_type(logits)) / denominator(shown.sum())


def frequency_weights(pixels: Sequence[int], *, power: float) -> Tensor:
    """Weights (C,) float32 of classes with so many labelled pixels each: share ** -power, scaled to a mean of 1 over
    pixels; 0 for a class without any."""
    counts = torch.tensor(pixels, dtype=torch.float64)
    shares = counts / counts.sum()
    weights = torch.where(counts > 0, shares**-power, 0.0)
    return (weights / (weights * shares).sum()).float()


def exact_type(logits: Tensor) -> torch.dtype:
    """The type in which losses of these logits are."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def _each(weights: Tensor | None, labels: Tensor, dtype: torch.dtype) -> Tensor:
    """The weight of every pixel's class, 0 where it is ignored."""
    ignored = labels == IGNORE
    if weights is None:
        return (~ignored).to(dtype)
    return torch.where(ignored, 0.0, weights.to(labels.device)[torch.where(ignored, 0, labels)])
