"""Discriminators, which tell predicted class maps from true ones, and what AdvSemSeg and s4GAN share of their use
(methods: sections 25.5 and 25.6)."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.interface.batch import View
from trainers.interface.labels import IGNORE
from trainers.interface.step import Pair
from trainers.losses.functional import is_class
from trainers.models.upsample import Upsample

BETAS = (0.9, 0.99)
"""Adam's, of a discriminator, in both codes."""


def convolutions(inputs: int, outputs: int) -> nn.Sequential:
    """A 4x4 convolution of stride 2, which halves a map's sides, and a leaky ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.LeakyReLU(0.2))


def halvings(inputs: int, width: int) -> nn.ModuleList:
    """Four of these, of ``width`` channels, twice, four and eight times as many."""
    return nn.ModuleList(convolutions(*pair) for pair in pairwise([inputs, width, 2 * width, 4 * width, 8 * width]))


def at_least(maps: Tensor, side: int) -> Tensor:
    """Maps (B, N, H, W) with zeros right and below where a side is shorter than ``side``."""
    rows, columns = (max(0, side - length) for length in maps.shape[-2:])
    return F.pad(maps, (0, columns, 0, rows)) if rows or columns else maps


class PixelDiscriminator(nn.Module):
    """Whether a class map is a true one, pixel by pixel: maps (B, C, H, W) that sum to 1 over classes -> logits
    (B, H, W), above 0 where it looks true.

    Five 4x4 convolutions of stride 2, without normalisation: an image's logits do not depend on the others. Maps of
    less than 32 pixels are padded with zeros, which is how pixels without a label look.
    """

    def __init__(self, num_classes: int, *, width: int) -> None:
        super().__init__()
        self.halve = halvings(num_classes, width)
        self.classify = nn.Conv2d(8 * width, 1, 4, stride=2, padding=1)
        self.upsample = Upsample("bilinear")

    def forward(self, maps: Tensor) -> Tensor:
        height, width = maps.shape[-2:]
        taken = at_least(maps, 32)
        size, found = (taken.shape[-2], taken.shape[-1]), taken
        for one in self.halve:
            found = one(found)
        logits: Tensor = self.upsample(self.classify(found), size)
        return logits[:, 0, :height, :width]


class ImageDiscriminator(nn.Module):
    """Whether a class map belongs to its image: maps (B, C, H, W) and images (B, bands, H, W) in 0 .. 1 -> logits (B,),
    above 0 where the map looks true, and the features (B, 8 width) from which they come.

    Four 4x4 convolutions of stride 2, of whose outputs whole channels may be dropped but for the last's, a mean over
    the map, whatever its size, and a linear layer. Maps of less than 16 pixels are padded with zeros.
    """

    def __init__(self, num_classes: int, *, width: int, bands: int) -> None:
        super().__init__()
        self.widths = (width, 2 * width, 4 * width)
        self.halve = halvings(num_classes + bands, width)
        self.classify = nn.Linear(8 * width, 1)

    def forward(self, maps: Tensor, images: Tensor, kept: Sequence[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Args:
        kept: multipliers (B, channels, 1, 1) of the outputs of the first three convolutions; None: all are kept.
        """
        found = at_least(torch.cat([maps, images.to(maps.dtype)], dim=1), 16)
        for number, one in enumerate(self.halve):
            found = one(found)
            if kept is not None and number < len(kept):
                found = found * kept[number].to(found.dtype)
        features = found.mean(dim=(2, 3))
        logits: Tensor = self.classify(features)
        return logits[:, 0], features


def true_maps(labels: Tensor, num_classes: int, like: Tensor) -> Tensor:
    """Labels (B, H, W) as class maps (B, C, H, W) of the type of ``like``: 1 at a pixel's class, all 0 where it is
    255."""
    return is_class(labels[:, None], num_classes).to(like.dtype)


def as_true(logits: Tensor) -> Tensor:
    """Binary cross-entropy of a discriminator's logits with "true", each of its own."""
    return F.softplus(-logits)


def as_predicted(logits: Tensor) -> Tensor:
    """The same with "predicted"."""
    return F.softplus(logits)


def weak_teaches_strong(student: Callable[[Tensor], Tensor], view: View, weak: Tensor) -> Pair:
    """What a method without a soft teacher offers the inter-pixel loss: its logits ``weak`` (B, C, H, W) of the weak
    view, without gradient, teach those of the strong view, for which the student has a forward pass of its own."""
    return Pair(view="s1", teacher=weak.detach(), student=student(view.strong[0]), ignore=view.ignore, box=None)


def shown(ignore: Tensor) -> Tensor:
    """Which pixels count, bool, of labels or of what marks padding."""
    return ignore != IGNORE
