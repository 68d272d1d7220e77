"""The inter-pixel loss of IPixMatch (methods: section 1).

Symbols: tau `tau`, t `temperature`, Omega `omega` (pixels where the teacher's largest class probability is above tau
and which are not padding), psi the softmax over pixels of one class channel. Per image

    L = t2 / (C log|Omega|) * sum_k phi(psi(p_k), psi(q_k)),      t2 = t^2 for the KL with `t2_scale`, else 1

with teacher logits p, student logits q, and phi the Kullback-Leibler divergence (teacher first) or 1 - Pearson
correlation. The KL's gradient falls as 1 / t^2, the correlation's hardly depends on t, so that the factor is for the KL
alone. The mean over images, then over views, is returned. alpha and the ramp are the loop's. With
`target: per_region` an image's L is that of the pixels inside the CutMix box and that of the pixels outside, each
weighted by its share of Omega.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainers.common.float32 import without_autocast
from trainers.interface.step import Pair
from trainers.losses.functional import confidence
from trainers.losses.pixel_softmax import PixelKl, PixelPearson

if TYPE_CHECKING:
    from trainers.losses.interpixel_config import InterPixelConfig

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
        with without_autocast(pair.student.device):
            step = STRIDE if self.config.resolution == "stride4" else 1
            teacher = pair.teacher.detach()[..., ::step, ::step].flatten(2)
            student = pair.student[..., ::step, ::step].flatten(2)
            padding = (pair.ignore[..., ::step, ::step] == 255).flatten(1)
            sure = confidence(teacher) if pair.confidence is None else pair.confidence[..., ::step, ::step].flatten(1)
            omega = (sure > self.config.tau) & ~padding
            if self.config.target == "per_region" and pair.box is not None:
                inside = pair.box[..., ::step, ::step].flatten(1)
                size = omega.sum(dim=1).clamp(min=1)
                per_image = torch.zeros_like(sure[:, 0])
                for region in (inside, ~inside):
                    share = (omega & region).sum(dim=1).to(sure.dtype) / size
                    per_image = per_image + share * self._per_image(teacher, student, omega & region, region)
            else:
                per_image = self._per_image(teacher, student, omega, torch.ones_like(omega))
            size = omega.sum(dim=1)
            return per_image.mean(), size.to(sure.dtype).mean() / omega.shape[1], (size < 2).to(sure.dtype).mean()

    def _per_image(self, teacher: Tensor, student: Tensor, omega: Tensor, region: Tensor) -> Tensor:
        """Loss of each image (B,) from logits (B, C, N) over ``omega`` (B, N); exactly 0 where |omega| < 2."""
        config = self.config
        enough = omega.sum(dim=1) >= 2
        omega, region = omega | ~enough[:, None], region | ~enough[:, None]
        domain = omega if config.domain == "omega" else region
        phi = PixelKl if config.distance == "kl" else PixelPearson
        loss: Tensor = phi.apply(student, teacher, omega, domain, config.temperature)
        count = omega.sum(dim=1).to(loss.dtype)
        if config.distance == "kl" or config.normalise_cr:
            loss = loss / count.clamp(min=2).log()
        if config.t2_scale:
            loss = loss * config.temperature**2
        return torch.where(enough, loss, torch.zeros_like(loss))
