"""Strong views (methods: section 0) of whole batches, on the device on which the weak views lie.

Colour changes run in the order brightness, contrast, saturation, hue; then grey; then blur. Strengths are drawn image
by image, from generators of their own; each number has a value that leaves the image as it is, so that on a GPU every
image takes the same way and the host never waits. On a CPU only the images that are changed are worked on.

Saturation, hue and grey are of colours: images of other than three bands go without, and the mean about which contrast
changes them is that of all bands.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from trainers.data.views_config import ViewsConfig

CPU_VALUES = 2**17
"""Values that are worked on at a time on a CPU: what fits into a core's cache."""
GREY = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in grey, torchvision's."""
NAMES = ("brightness", "contrast", "saturation", "hue", "grey", "blur_sigma")
NONE = (1.0, 1.0, 1.0, 0.0, 0.0, 0.0)
"""The value of each that changes nothing."""
OF_COLOURS = ("saturation", "hue", "grey")
"""Those that images of other than three bands go without."""


@dataclass(frozen=True, kw_only=True)
class Strong:
    """The drawn strength of one strong view; None leaves that change out."""

    brightness: float | None
    contrast: float | None
    saturation: float | None
    hue: float | None
    gray: bool
    blur_sigma: float | None

    @classmethod
    def draw(cls, rng: np.random.Generator, *, views: "ViewsConfig") -> "Strong":
        """Every number is drawn whether used or not, so that one probability does not shift the others' draws."""
        strengths = (views.brightness, views.contrast, views.saturation)
        factors = [rng.uniform(max(0.0, 1 - s), 1 + s) for s in strengths]
        hue = rng.uniform(-views.hue, views.hue)
        sigma = rng.uniform(views.blur_sigma_min, views.blur_sigma_max)
        jitter, gray, blur = (
            bool(u < p) for u, p in zip(rng.random(3), (views.jitter_p, views.gray_p, views.blur_p), strict=True)
        )
        used = [f if jitter and s > 0 else None for f, s in zip(factors, strengths, strict=True)]
        return cls(
            brightness=used[0],
            contrast=used[1],
            saturation=used[2],
            hue=hue if jitter and views.hue > 0 else None,
            gray=gray,
            blur_sigma=sigma if blur else None,
        )

    def numbers(self) -> tuple[float, ...]:
        """One for each of `NAMES`."""
        drawn = (self.brightness, self.contrast, self.saturation, self.hue, float(self.gray), self.blur_sigma)
        return tuple(none if one is None else one for one, none in zip(drawn, NONE, strict=True))

    def __call__(self, image: Tensor) -> Tensor:
        """(bands, H, W) float32 in 0 .. 1 -> the same, changed."""
        return strong_views(image[None], table([self]), largest_sigma=self.blur_sigma or 0.0)[0]


def table(drawn: Sequence[Strong]) -> Tensor:
    """What was drawn for B images, (B, 6) float32."""
    return torch.tensor([one.numbers() for one in drawn], dtype=torch.float32).view(len(drawn), len(NAMES))


def strong_views(weak: Tensor, drawn: Tensor, *, largest_sigma: float) -> Tensor:
    """The strong views of (B, bands, H, W) float32 in 0 .. 1.

    Args:
        drawn: what `table` gave, on the same device.
        largest_sigma: at least the largest blur that can be drawn.
    """
    if weak.is_cuda:
        return _changed(weak.clone(), drawn, largest_sigma)
    strong = torch.empty_like(weak)
    step = max(1, CPU_VALUES // max(1, weak[0].numel()))
    for begin in range(0, len(weak), step):
        part = slice(begin, begin + step)
        strong[part] = _changed(weak[part].clone(), drawn[part], largest_sigma)
    return strong


def _changed(image: Tensor, drawn: Tensor, largest_sigma: float) -> Tensor:
    def blur(image: Tensor, sigma: Tensor) -> Tensor:
        return blurred(image, sigma, largest=largest_sigma)

    changes: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
        _brightness,
        _contrast,
        _saturation,
        shift_hue,
        _greyed,
        blur,
    )
    colours = image.shape[1] == 3
    for column, (name, change, none) in enumerate(zip(NAMES, changes, NONE, strict=True)):
        if name in OF_COLOURS and not colours:
            continue
        amount = drawn[:, column]
        chosen = slice(None) if image.is_cuda else (amount != none).nonzero()[:, 0]
        if isinstance(chosen, slice) or len(chosen) == len(image):
            image = change(image, amount[:, None, None, None])
        elif len(chosen):
            image[chosen] = change(image[chosen], amount[chosen, None, None, None])
    return image


def _brightness(image: Tensor, factor: Tensor) -> Tensor:
    return image.mul_(factor).clamp_(0, 1)


def _contrast(image: Tensor, factor: Tensor) -> Tensor:
    mean = _grey(image).mean(dim=(2, 3), keepdim=True)
    return image.mul_(factor).add_((1 - factor) * mean).clamp_(0, 1)


def _saturation(image: Tensor, factor: Tensor) -> Tensor:
    grey = _grey(image).mul_(1 - factor)
    return image.mul_(factor).add_(grey).clamp_(0, 1)


def _greyed(image: Tensor, amount: Tensor) -> Tensor:
    return image.lerp_(_grey(image).expand_as(image), amount)


def _grey(image: Tensor) -> Tensor:
    """(B, 1, H, W); of other than three bands their mean."""
    if image.shape[1] != 3:
        return image.mean(dim=1, keepdim=True)
    red, green, blue = image.split(1, dim=1)
    grey: Tensor = red.mul(GREY[0])
    return grey.add_(green, alpha=GREY[1]).add_(blue, alpha=GREY[2])


def shift_hue(image: Tensor, shift: Tensor) -> Tensor:
    """What torchvision's `adjust_hue` gives; value and chroma stay, so the way back from HSV is one formula per
    channel.

    Args:
        image: (B, 3, H, W) float32 in 0 .. 1.
        shift: (B, 1, 1, 1), in turns of the colour circle.
    """
    red, green, blue = image.split(1, dim=1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    inverse = torch.where(chroma == 0, 1.0, chroma).reciprocal_()
    of_green = (blue - red).mul_(inverse).add_(2)
    of_blue = (red - green).mul_(inverse).add_(4)
    of_red = (green - blue).mul_(inverse)
    sixths = torch.where(value == red, of_red, torch.where(value == green, of_green, of_blue)).add_(6 * shift)
    shifted = torch.empty_like(image)
    for channel, offset in enumerate((5.0, 3.0, 1.0)):
        distance = sixths + offset
        distance.sub_(distance.div(6).floor_(), alpha=6)
        share = torch.minimum(distance, 4 - distance).clamp_(0, 1)
        torch.addcmul(value, chroma, share, value=-1, out=shifted[:, channel : channel + 1])
    return shifted


def blurred(image: Tensor, sigma: Tensor, *, largest: float) -> Tensor:
    """A Gaussian blur up to 3 sigma with reflected borders, as two matrix products an image.

    Args:
        sigma: (B, 1, 1, 1) in pixels; 0 changes nothing.
        largest: at least the largest of them.
    """
    reach = min(math.ceil(3 * largest), min(image.shape[-2:]) - 1)
    if reach < 1:
        return image
    place = torch.arange(-reach, reach + 1, device=image.device)
    width = sigma[:, 0, 0]
    weights = torch.exp(-(place**2) / (2 * width.clamp(min=1e-3) ** 2)) * (place.abs() <= (3 * width).ceil())
    weights = weights / weights.sum(dim=1, keepdim=True)
    rows, columns = (_banded(weights, length, place) for length in image.shape[-2:])
    count, channels, height, length = image.shape
    across = torch.bmm(image.reshape(count, channels * height, length), columns.mT).view_as(image)
    return torch.stack([torch.bmm(rows, across[:, channel]) for channel in range(channels)], dim=1)


def _banded(weights: Tensor, length: int, place: Tensor) -> Tensor:
    """The matrices (B, length, length) that apply the filters (B, 2 reach + 1) to a line with reflected ends. On a GPU
    without a scatter: in deterministic mode that sorts, and the host waits."""
    if weights.is_cuda:
        return _compared(weights, length)
    source = (torch.arange(length)[:, None] + place).abs()
    source = torch.where(source >= length, 2 * (length - 1) - source, source)
    band = torch.zeros(len(weights), length, length)
    return band.scatter_add_(
        2, source.expand(len(weights), -1, -1), weights[:, None].expand(-1, length, -1).contiguous()
    )


def _compared(weights: Tensor, length: int) -> Tensor:
    """The same numbers: each entry is the weight of the pixel itself and those of its mirror images before the line's
    first pixel and behind its last, as far as the filter reaches them, added from left to right."""
    reach = weights.shape[1] // 2
    column = torch.arange(length, device=weights.device)
    row, none = column[:, None], reach + 1
    padded = F.pad(weights, (1, 1))

    def at(offset: Tensor) -> Tensor:
        return padded[:, offset.clamp(-none, none) + none]

    before = torch.where(column > 0, -column - row, none)
    behind = torch.where(column < length - 1, 2 * (length - 1) - column - row, none)
    return at(before) + at(column - row) + at(behind)
