"""Feature noise against a decoder (virtual adversarial training; methods: sections 9 and 15)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.common.float32 import exact, without_autocast


@torch.compiler.disable  # type: ignore[untyped-decorator]
def adversarial_noise(
    features: Tensor,
    tails: Sequence[Callable[[Tensor], Tensor]],
    start: Tensor,
    *,
    eps: float,
    xi: float | None = None,
) -> Tensor:
    """The noise of norm ``eps`` on each image's features (B, F, h, w) that moves the prediction most: one power
    iteration from the direction ``start`` of the KL divergence, summed over pixels, between softmax of the mean logits
    of ``tails`` at the features and at the features moved by xi d.

    Args:
        tails: from features to logits (B, C, H, W), at the resolution at which predictions are compared.
        xi: the step. None: its limit for small steps, J^T (diag p - p p^T) J d with exact derivatives; J d is the
            derivative of J^T c by c, times d. Given: by a finite step, as the public codes do it, each direction
            divided by its norm + 1e-8. The derivative by d carries xi^2, so that at their xi = 1e-6 it is far below
            1e-8, and the noise nearly vanishes.
    """
    if xi is not None:
        return _by_a_finite_step(features, tails, start, eps=eps, xi=xi)
    with without_autocast(features.device), torch.enable_grad():
        point = exact(features.detach()).requires_grad_()

        logits = torch.stack([tail(point) for tail in tails]).mean(dim=0)
        cotangent = torch.zeros_like(logits, requires_grad=True)
        (pulled_back,) = torch.autograd.grad(logits, point, cotangent, create_graph=True)
        (moved,) = torch.autograd.grad(pulled_back, cotangent, unit(start), retain_graph=True)
        p = logits.detach().softmax(dim=1)
        curved = p * (moved - (p * moved).sum(dim=1, keepdim=True))
        (direction,) = torch.autograd.grad(logits, point, curved)
    found: Tensor = eps * unit(direction)
    return found


def _by_a_finite_step(
    features: Tensor, tails: Sequence[Callable[[Tensor], Tensor]], start: Tensor, *, eps: float, xi: float
) -> Tensor:
    with without_autocast(features.device), torch.enable_grad():
        point = exact(features.detach())
        with torch.no_grad():
            p = torch.stack([tail(point) for tail in tails]).mean(dim=0).softmax(dim=1)
        d = _almost_unit(start.to(point.dtype)).requires_grad_()
        moved = torch.stack([tail(point + xi * d) for tail in tails]).mean(dim=0)
        apart = F.kl_div(moved.log_softmax(dim=1), p, reduction="batchmean")
        (direction,) = torch.autograd.grad(apart, d)
    found: Tensor = eps * _almost_unit(direction)
    return found


def _almost_unit(direction: Tensor) -> Tensor:
    norm = direction.flatten(1).norm(dim=1) + 1e-8
    scaled: Tensor = direction / norm[:, None, None, None]
    return scaled


def unit(direction: Tensor) -> Tensor:
    """The direction with norm 1 for each image; 0 where it is 0."""
    norm = direction.flatten(1).norm(dim=1).clamp(min=torch.finfo(direction.dtype).tiny)
    scaled: Tensor = direction / norm[:, None, None, None]
    return scaled
