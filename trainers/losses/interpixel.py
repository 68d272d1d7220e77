"""The inter-pixel loss of IPixMatch (methods: section 1).

Symbols: tau `tau`, t `temperature`, Omega `omega` (pixels where the teacher's largest class probability is above tau
and which are not padding), psi the softmax over pixels of one class channel. Per image

    L = t2 / (C log|Omega|) * sum_k phi(psi(p_k), psi(q_k)),      t2 = t^2 with `t2_scale`, else 1

with teacher logits p, student logits q, and phi the Kullback-Leibler divergence (teacher first) or 1 - Pearson
correlation. The mean over images, then over views, is returned. alpha and the ramp are the loop's. With
`target: per_region` an image's L is that of the pixels inside the CutMix box and that of the pixels outside, each
weighted by its share of Omega.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainers.methods.base import Pair

if TYPE_CHECKING:
    from trainers.config import InterPixelConfig

CR_EPS = 1e-8
"""Added to the product of norms, after both vectors were multiplied by |Omega|."""
STRIDE = 4


class InterPixelLoss:
    """The loss over all pairs that a method offers.

    Args:
        config: the `interpixel` section.
    """

    def __init__(self, config: InterPixelConfig) -> None:
        self.config = config

    def __call__(self, pairs: Sequence[Pair]) -> tuple[Tensor, dict[str, Tensor]]:
        """The raw loss, a scalar before alpha and ramp, and its diagnostics ``omega`` and ``empty``.

        Logits may have any float type; float64 is kept, everything else is computed in float32, also under autocast.
        """
        if not pairs:
            raise ValueError("the method offers no pair of teacher and student logits")
        parts = [self._of_pair(pair) for pair in pairs]
        loss, omega, empty = (torch.stack(column).mean() for column in zip(*parts, strict=True))
        return loss, {"omega": omega, "empty": empty}

    def _of_pair(self, pair: Pair) -> tuple[Tensor, Tensor, Tensor]:
        with torch.autocast(pair.student.device.type, enabled=False):
            step = STRIDE if self.config.resolution == "stride4" else 1
            teacher = _exact(pair.teacher.detach()[..., ::step, ::step]).flatten(2)
            student = _exact(pair.student[..., ::step, ::step]).flatten(2)
            padding = (pair.ignore[..., ::step, ::step] == 255).flatten(1)
            omega = (teacher.softmax(dim=1).amax(dim=1) > self.config.tau) & ~padding
            if self.config.target == "per_region" and pair.box is not None:
                inside = pair.box[..., ::step, ::step].flatten(1)
                size = omega.sum(dim=1).clamp(min=1)
                per_image = torch.zeros_like(student[:, 0, 0])
                for region in (inside, ~inside):
                    share = (omega & region).sum(dim=1).to(student.dtype) / size
                    per_image = per_image + share * self._per_image(teacher, student, omega & region, region)
            else:
                per_image = self._per_image(teacher, student, omega, torch.ones_like(omega))
            size = omega.sum(dim=1)
            return per_image.mean(), size.to(student.dtype).mean() / omega.shape[1], (size < 2).to(student.dtype).mean()

    def _per_image(self, teacher: Tensor, student: Tensor, omega: Tensor, region: Tensor) -> Tensor:
        """Loss of each image (B,) from logits (B, C, N) over ``omega`` (B, N); exactly 0 where |omega| < 2."""
        config = self.config
        size = omega.sum(dim=1)
        enough = size >= 2
        omega = torch.where(enough[:, None], omega, torch.ones_like(omega))
        region = torch.where(enough[:, None], region, torch.ones_like(region))
        count = omega.sum(dim=1).to(student.dtype)
        domain = omega if config.domain == "omega" else region
        if config.distance == "kl":
            phi = _kl(
                _log_psi(teacher, domain, config.temperature), _log_psi(student, domain, config.temperature), omega
            )
        else:
            p, q = (_psi_up_to_a_constant(logits, domain, config.temperature) for logits in (teacher, student))
            share = count / domain.sum(dim=1)
            phi = _one_minus_pearson(p * share[:, None, None], q * share[:, None, None], omega, count[:, None])
        loss = phi.mean(dim=1)
        if config.distance == "kl" or config.normalise_cr:
            loss = loss / count.clamp(min=2).log()
        if config.t2_scale:
            loss = loss * config.temperature**2
        return torch.where(enough, loss, torch.zeros_like(loss))


def _exact(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def _log_psi(logits: Tensor, domain: Tensor, temperature: float) -> Tensor:
    """log of the softmax over the pixels of ``domain``; 0 elsewhere, where it is not used."""
    outside = ~domain[:, None]
    log = (logits / temperature).masked_fill(outside, -torch.inf).log_softmax(dim=2)
    return log.masked_fill(outside, 0.0)


def _psi_up_to_a_constant(logits: Tensor, domain: Tensor, temperature: float) -> Tensor:
    """The softmax over the N pixels of ``domain``, times N, less a constant of its own for each image and channel; 0
    outside.

    Where the logits are nearly alike, which a high temperature makes of any, the entries are nearly 1, and what differs
    would be rounded: there 1 is left out, and the rest computed from the logits' own differences.
    """
    outside, count = ~domain[:, None], domain.sum(dim=1)[:, None, None].to(logits.dtype)
    steep = _log_psi(logits, domain, temperature).exp() * count
    shifted = (logits - logits.masked_fill(outside, -torch.inf).amax(dim=2, keepdim=True).detach()) / temperature
    shifted = shifted.masked_fill(outside, 0.0)
    shifted = (shifted - shifted.sum(dim=2, keepdim=True) / count).masked_fill(outside, 0.0)
    near = shifted.detach().abs().amax(dim=2, keepdim=True) < 1
    small = shifted.clamp(-1, 1)
    flat = (small - (small.expm1().sum(dim=2, keepdim=True) / count).log1p()).expm1()
    return torch.where(near, flat, steep).masked_fill(outside, 0.0)


def _kl(log_p: Tensor, log_q: Tensor, omega: Tensor) -> Tensor:
    """sum over omega of P (log P - log Q), per image and channel (B, C)."""
    return (log_p.exp() * (log_p - log_q)).masked_fill(~omega[:, None], 0.0).sum(dim=2)


def _one_minus_pearson(p: Tensor, q: Tensor, omega: Tensor, count: Tensor) -> Tensor:
    """1 - correlation of P and Q over omega, per image and channel (B, C); 0 where either is constant.

    Entries of psi are about 1 / |Omega|, so that a fixed eps would swallow them: P and Q are psi times |Omega|, less a
    constant, which leaves the correlation as it is. Where it is near 1 or -1, its slope is a small difference of large
    terms; the distance between unit vectors has it without these.
    """
    rounding_p, rounding_q = _rounding(p, omega, count), _rounding(q, omega, count)
    p, q = _centred(p, omega, count), _centred(q, omega, count)
    spread_p, spread_q = p.square().sum(dim=2), q.square().sum(dim=2)
    constant = (spread_p <= rounding_p) | (spread_q <= rounding_q)
    one = torch.ones_like(spread_p)
    norm_p, norm_q = torch.where(constant, one, spread_p).sqrt(), torch.where(constant, one, spread_q).sqrt()
    unit_p, unit_q = p / norm_p[..., None], q / norm_q[..., None]
    sign = torch.where((unit_p * unit_q).detach().sum(dim=2) < 0, -one, one)
    apart = (unit_p - sign[..., None] * unit_q).square().sum(dim=2) / 2
    share = 1 - CR_EPS / (norm_p * norm_q + CR_EPS)
    distance = 1 - sign * (1 - apart) * share
    return torch.where(constant, torch.zeros_like(distance), distance)


def _rounding(values: Tensor, omega: Tensor, count: Tensor) -> Tensor:
    """The sum of squares round their mean that equal values over omega can have by rounding alone (B, C)."""
    largest = values.detach().masked_fill(~omega[:, None], 0.0).abs().amax(dim=2)
    each = (torch.finfo(values.dtype).eps * largest).clamp(min=torch.finfo(torch.float64).eps)
    return count * (32 * each).square()


def _centred(values: Tensor, omega: Tensor, count: Tensor) -> Tensor:
    mean = values.masked_fill(~omega[:, None], 0.0).sum(dim=2) / count
    return (values - mean[..., None]).masked_fill(~omega[:, None], 0.0)
