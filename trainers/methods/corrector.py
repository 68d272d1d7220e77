"""ECS's second network: which pixels of a prediction are right, and what others should be (methods: section 25.7)."""

import torch
from torch import Tensor, nn

from trainers.interface.labels import IGNORE
from trainers.methods.flaws import halving
from trainers.models.upsample import Upsample

RIGHT = 0
"""The corrector's class of a pixel whose prediction is right; class c + 1: it should be c."""


class Corrector(nn.Module):
    """Images (B, bands, H, W) and class probabilities (B, C, H, W) -> logits (B, C + 1, H, W).

    Down to stride 8 and up to stride 2 again, with the maps of the way down beside those of the way up. Group norm: an
    image's corrections do not depend on the others.
    """

    def __init__(self, num_classes: int, *, width: int, bands: int = 3) -> None:
        super().__init__()
        self.halves, self.quarters = halving(bands + num_classes, width), halving(width, 2 * width)
        self.eighths = halving(2 * width, 4 * width)
        self.to_quarters = halving(6 * width, 2 * width, stride=1)
        self.to_halves = halving(3 * width, width, stride=1)
        self.classify = nn.Conv2d(width, num_classes + 1, 1)
        self.upsample = Upsample("bilinear")

    def forward(self, images: Tensor, probabilities: Tensor) -> Tensor:
        halves = self.halves(torch.cat([images, probabilities.to(images.dtype)], dim=1))
        quarters = self.quarters(halves)
        deep = self._beside(quarters, self.eighths(quarters))
        shallow = self._beside(halves, self.to_quarters(deep))
        size = (images.shape[-2], images.shape[-1])
        logits: Tensor = self.upsample(self.classify(self.to_halves(shallow)), size)
        return logits

    def _beside(self, fine: Tensor, coarse: Tensor) -> Tensor:
        wide = self.upsample(coarse, (fine.shape[-2], fine.shape[-1]))
        return torch.cat([fine, wide.to(fine.dtype)], dim=1)


def corrections(logits: Tensor, labels: Tensor) -> Tensor:
    """What the corrector shall say (B, H, W) of a prediction's logits (B, C, H, W): `RIGHT` where the likeliest class
    is the label, 1 + label where it is not, 255 where the label is 255."""
    right = logits.argmax(dim=1) == labels
    return torch.where(labels == IGNORE, IGNORE, torch.where(right, RIGHT, labels + 1))
