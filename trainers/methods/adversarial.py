"""Feature noise against a decoder (virtual adversarial training)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trainers.precision import exact, without_autocast


def adversarial_noise(
    features: Tensor, tails: Sequence[Callable[[Tensor], Tensor]], start: Tensor, *, eps: float
) -> Tensor:
    """The noise of norm ``eps`` on each image's features (B, F, h, w) that moves the prediction most: one power
    iteration from the direction ``start`` of the KL divergence between softmax of the mean logits of ``tails`` at the
    features and at the features moved by xi d, for xi -> 0.

    That limit is J^T (diag p - p p^T) J d, with exact derivatives; J d is the derivative of J^T c by c, times d. The
    paper's step of xi = 1e-6 is below what float32 resolves.
    """
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


def unit(direction: Tensor) -> Tensor:
    """Of norm 1 for each image; 0 where it is 0."""
    norm = direction.flatten(1).norm(dim=1).clamp(min=torch.finfo(direction.dtype).tiny)
    scaled: Tensor = direction / norm[:, None, None, None]
    return scaled
