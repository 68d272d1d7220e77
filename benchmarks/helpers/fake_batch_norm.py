"""The kernels of `torch.nn.SyncBatchNorm`, which PyTorch has for GPUs alone, by plain operators of a CPU.

For `fake_cuda`. Features are (B, C, h, w); what is gathered of n processes is (n, C), with as many counts of pixels.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

PIXELS = (0, 2, 3)


def stats(features: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Mean and 1 / sqrt(variance + eps) of each channel."""
    variance, mean = torch.var_mean(features.float(), dim=PIXELS, correction=0)
    return mean, (variance + eps).rsqrt()


def gather_stats_with_counts(
    features: Tensor,
    mean: Tensor,
    invstd: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: float,
    eps: float,
    counts: Tensor,
) -> tuple[Tensor, Tensor]:
    """Those of all processes together; the running ones move towards them."""
    share, count = (counts / counts.sum())[:, None], counts.sum()
    middle = (share * mean).sum(dim=0)
    variance = (share * (invstd.pow(-2) - eps + (mean - middle).square())).sum(dim=0)
    if running_mean is not None:
        running_mean.lerp_(middle, momentum)
    if running_var is not None:
        running_var.lerp_(variance * count / (count - 1), momentum)
    return middle, (variance + eps).rsqrt()


def elemt(features: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, invstd: Tensor, eps: float) -> Tensor:
    """The normalised features."""
    return (_centred(features, mean) * _each(invstd * weight) + _each(bias)).to(features.dtype)


def backward_reduce(
    slope: Tensor, features: Tensor, mean: Tensor, invstd: Tensor, weight: Tensor, *wanted: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sums of the gradient, and of the gradient times the centred features; gradients of weight and bias."""
    both = (slope.float() * _centred(features, mean)).sum(dim=PIXELS)
    alone = slope.float().sum(dim=PIXELS)
    return alone, both, both * invstd, alone.clone()


def backward_elemt(
    slope: Tensor,
    features: Tensor,
    mean: Tensor,
    invstd: Tensor,
    weight: Tensor,
    alone: Tensor,
    both: Tensor,
    counts: Tensor,
) -> Tensor:
    """The gradient of the features, from the sums of all processes."""
    count = counts.sum()
    centred = _centred(features, mean) * _each(invstd.square() * both / count)
    return ((slope.float() - _each(alone / count) - centred) * _each(invstd * weight)).to(features.dtype)


def _each(values: Tensor) -> Tensor:
    return values[:, None, None]


def _centred(features: Tensor, mean: Tensor) -> Tensor:
    return features.float() - _each(mean)


aten = torch.ops.aten
KERNELS: dict[Any, Callable[..., Any]] = {
    aten.batch_norm_stats: stats,
    aten.batch_norm_gather_stats_with_counts: gather_stats_with_counts,
    aten.batch_norm_elemt: elemt,
    aten.batch_norm_backward_reduce: backward_reduce,
    aten.batch_norm_backward_elemt: backward_elemt,
}
