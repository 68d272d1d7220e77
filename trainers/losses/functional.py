"""Pixel cross-entropy with stated denominators. Labels (B, H, W) int64, 255 = ignore; logits (B, C, H, W).

Probabilities are gathered instead of handed to the spatial NLL kernel, and sorted instead of searched for the k-th
smallest: `nll_loss2d` and, before PyTorch 2.10, `kthvalue` have no deterministic version on CUDA.
"""

from typing import Any

import torch
from torch import Tensor

from trainers.common.float32 import exact
from trainers.interface.labels import IGNORE
from trainers.interface.step import Denominator


def probabilities(logits: Tensor) -> Tensor:
    """Softmax over classes, in float32 or float64."""
    return exact(logits).softmax(dim=1)


@torch.no_grad()
def labels_of(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Classes (B, ...) int64 and their probabilities, the largest, of logits (B, C, ...), without a softmax's map."""
    precise = exact(logits)
    largest, label = precise.max(dim=1)
    return label, (precise - largest[:, None]).exp_().sum(dim=1).reciprocal_()


def confidence(logits: Tensor) -> Tensor:
    """The largest class probability (B, ...) of logits (B, C, ...)."""
    return labels_of(logits)[1]


class _PixelNll(torch.autograd.Function):
    """log sum exp of the logits less the labelled one. What is kept is the logits and their log sum exp: the softmax is
    made again in the gradient, so that no map is held between the two."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        precise = exact(logits)
        ignored = labels == IGNORE
        target = labels.masked_fill(ignored, 0)[:, None]
        largest = precise.amax(dim=1)
        total = (precise - largest[:, None]).exp_().sum(dim=1).log_()
        nll = (total - (precise.gather(1, target)[:, 0] - largest)).masked_fill_(ignored, 0.0)
        ctx.save_for_backward(logits, target, ignored, largest + total, nll)
        return nll

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        logits, target, ignored, normaliser, nll = ctx.saved_tensors
        gradient = with_class((exact(logits) - normaliser[:, None]).exp_(), target, torch.expm1(-nll)[:, None])
        return gradient.mul_(slopes[0].masked_fill(ignored, 0.0)[:, None]).to(logits.dtype), None


def with_class(maps: Tensor, label: Tensor, values: Tensor) -> Tensor:
    """Maps (B, C, ...) with ``values`` (B, 1, ...) at the class ``label`` (B, 1, ...) of every pixel; ``maps`` may be
    overwritten. On a GPU by comparison: in deterministic mode a scatter sorts there, and the host waits."""
    if not maps.is_cuda:
        return maps.scatter_(1, label, values)
    return torch.where(is_class(label, maps.shape[1]), values, maps)


def is_class(label: Tensor, num_classes: int) -> Tensor:
    """Which class each pixel has, (B, C, ...) bool of labels (B, 1, ...); 255 is none."""
    classes = torch.arange(num_classes, device=label.device)
    return label == classes.view(-1, *[1] * (label.dim() - 2))


def class_sizes(label: Tensor, num_classes: int) -> Tensor:
    """Pixels of each class in each image, (B, C) int64, of labels (B, ...)."""
    return is_class(label.flatten(1)[:, None], num_classes).sum(dim=2)


def pixel_nll(logits: Tensor, labels: Tensor) -> Tensor:
    """-log p of the labelled class, per pixel (B, H, W) in float32 or float64; 0 where the label is 255."""
    nll: Tensor = _PixelNll.apply(logits, labels)
    return nll


def cross_entropy(logits: Tensor, labels: Tensor, denominator: Denominator) -> Tensor:
    """Sum of the loss over labelled pixels / denominator(number of labelled pixels)."""
    return pixel_nll(logits, labels).sum() / denominator((labels != IGNORE).sum())


def ohem_cross_entropy(
    logits: Tensor, labels: Tensor, denominator: Denominator, *, thresh: float, min_kept: int
) -> Tensor:
    """Cross-entropy over hard pixels only: those whose true class has a probability of at most
    max(thresh, the ``min_kept``-th smallest); all of them where fewer than ``min_kept`` are labelled.

    The k-th smallest is taken per process, as in every public implementation; the sum is divided by
    denominator(number of kept pixels).
    """
    nll = pixel_nll(logits, labels)
    kept = hard_pixels(nll, labels, thresh=thresh, min_kept=min_kept)
    return torch.where(kept, nll, torch.zeros_like(nll)).sum() / denominator(kept.sum())


@torch.no_grad()
def hard_pixels(nll: Tensor, labels: Tensor, *, thresh: float, min_kept: int) -> Tensor:
    """Which labelled pixels OHEM keeps, (B, H, W) bool; ``nll``: -log p of the labelled class."""
    valid = labels != IGNORE
    probability = torch.where(valid, (-nll).exp(), torch.full_like(nll, torch.inf)).flatten()
    kth = probability.sort().values[min(min_kept, probability.numel()) - 1]
    limit = torch.where(valid.sum() < min_kept, torch.full_like(kth, torch.inf), kth.clamp(min=thresh))
    return valid & (probability.view_as(nll) <= limit)


def pseudo_label_cross_entropy(
    logits: Tensor, labels: Tensor, confidence: Tensor, ignore: Tensor, denominator: Denominator, *, thresh: float
) -> Tensor:
    """UniMatch's consistency term: cross-entropy where confidence >= thresh and no padding, summed, divided by the
    count of *non-padded* pixels (not of confident ones).

    Args:
        labels: pseudo-labels (B, H, W).
        confidence: the teacher's largest class probability (B, H, W).
        ignore: (B, H, W), 255 = padding.
    """
    valid = ignore != IGNORE
    trained = valid & (confidence >= thresh)
    nll = pixel_nll(logits, labels)
    return torch.where(trained, nll, torch.zeros_like(nll)).sum() / denominator(valid.sum())
