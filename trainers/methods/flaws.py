"""GCT's flaw detector, the flaws that it learns to see, and what is made of its maps (methods: section 9)."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as ops

from trainers.interface.labels import IGNORE
from trainers.losses.functional import is_class
from trainers.models.upsample import Upsample

FAINT = 0.1
"""A detector's map that nowhere exceeds this shows no flaw at all."""


def halving(inputs: int, outputs: int, *, stride: int = 2) -> nn.Sequential:
    """A 3x3 convolution of stride 2, group norm, leaky ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1),
        nn.GroupNorm(min(8, outputs), outputs),
        nn.LeakyReLU(0.2),
    )


class FlawDetector(nn.Module):
    """Where a prediction is wrong: images (B, bands, H, W) and class probabilities (B, C, H, W) -> flaws (B, H, W),
    about 0 where it is right and 1 where it is wrong.

    Four 3x3 convolutions of stride 2. Group norm, where PixelSSL has batch and instance norm half and half: an image's
    flaws then do not depend on the others.
    """

    def __init__(self, num_classes: int, *, width: int, bands: int = 3) -> None:
        super().__init__()
        widths = [bands + num_classes, width, 2 * width, 4 * width, 8 * width]
        self.encode = nn.Sequential(*(halving(inputs, outputs) for inputs, outputs in pairwise(widths)))
        self.classify = nn.Conv2d(widths[-1], 1, 3, padding=1)
        self.upsample = Upsample("bilinear")

    def forward(self, images: Tensor, probabilities: Tensor) -> Tensor:
        size = (images.shape[-2], images.shape[-1])
        coarse = self.classify(self.encode(torch.cat([images, probabilities.to(images.dtype)], dim=1)))
        maps: Tensor = self.upsample(coarse, size)
        return maps[:, 0]


def true_flaws(probabilities: Tensor, labels: Tensor, *, scale: float, dilations: int, rescale: bool) -> Tensor:
    """What the detector shall say (B, H, W): mu sum_c |p_c - [y = c]|, 0 where the label (B, H, W) is 255; blurred by
    an eighth of the side, then nu times dilated by a pixel and blurred by a quarter.

    Args:
        scale: mu; with 1/2 a pixel's part is between 0 and 1.
        dilations: nu.
        rescale: each image's map to 0 .. 1.
    """
    known = labels != IGNORE
    one_hot = is_class(labels[:, None], probabilities.shape[1]).to(probabilities.dtype)
    wrong = scale * (probabilities - one_hot).abs().sum(dim=1) * known
    flaws = blurred(wrong, part=8)
    for _ in range(dilations):
        flaws = blurred(F.max_pool2d(flaws[:, None], 3, stride=1, padding=1)[:, 0], part=4)
    return stretched(flaws) if rescale else flaws


@torch.no_grad()
def handled(flaws: Tensor, *, rescale: bool) -> Tensor:
    """By what networks are compared, of the detector's maps (B, H, W): negative flaws to 0, blurred by a sixteenth of
    the side.

    Args:
        rescale: each image's map to 0 .. 1, or to all 0 where it nowhere exceeds `FAINT`.
    """
    smooth = blurred(flaws.clamp(min=0), part=16)
    if not rescale:
        return smooth
    return stretched(smooth) * (smooth.amax(dim=(1, 2), keepdim=True) > FAINT)


def blurred(maps: Tensor, *, part: int) -> Tensor:
    """Gaussian, its window the shorter side of the maps (B, H, W) over ``part``, made odd, mirrored at the border."""
    length = min(maps.shape[1:]) // part
    length += 1 - length % 2
    deviation = 0.15 * (length - 1) + 0.5
    smooth: Tensor = ops.gaussian_blur(maps[:, None], [length, length], [deviation, deviation])
    return smooth[:, 0]


def stretched(maps: Tensor) -> Tensor:
    """Each map (B, H, W) from its smallest value at 0 to its largest at 1; 0 where they are equal."""
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - low) / (high - low + 1e-9)
