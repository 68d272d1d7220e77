"""Weak and strong views and CutMix boxes (methods: section 0): parameters drawn from a given generator, images changed
by torchvision's functional ops on tensors, on whatever device they lie.

Colour ops run in the order brightness, contrast, saturation, hue; then grey; then blur.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as ops

if TYPE_CHECKING:
    from trainers.config import ViewsConfig

IGNORE = 255
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""ImageNet's, of RGB in 0 .. 1."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Which part of the image a crop shows: resize to `height` x `width`, pad right and below to the crop, cut at
    (`top`, `left`), mirror where `flip`."""

    height: int
    width: int
    top: int
    left: int
    flip: bool
    crop: int

    @classmethod
    def draw(cls, rng: np.random.Generator, size: tuple[int, int], *, crop: int, views: "ViewsConfig") -> "Geometry":
        """Long side uniform over the integers from int(scale_min L) to int(scale_max L), L = the image's long side.

        Args:
            size: (height, width) of the image.
        """
        longest = max(size)
        smallest, largest = (max(1, int(scale * longest)) for scale in (views.scale_min, views.scale_max))
        target = int(rng.integers(smallest, largest + 1))
        height, width = (max(1, int(side * target / longest + 0.5)) for side in size)
        top, left = (int(rng.integers(max(side, crop) - crop + 1)) for side in (height, width))
        return cls(height=height, width=width, top=top, left=left, flip=bool(rng.random() < views.flip_p), crop=crop)

    def image(self, image: Tensor) -> Tensor:
        """(3, H, W) uint8 -> (3, crop, crop) float32 in 0 .. 1; padding is 0."""
        resized = ops.resize(image, [self.height, self.width], antialias=True)
        cut: Tensor = ops.to_dtype(self._cut(resized, fill=0), torch.float32, scale=True)
        return cut

    def mask(self, mask: Tensor) -> Tensor:
        """(H, W) uint8 -> (crop, crop) int64; padding is 255. `NEAREST_EXACT` takes the pixel under the centre, as the
        image's bilinear filter does; plain `NEAREST` would shift the mask by up to half a pixel."""
        resized = ops.resize(mask[None], [self.height, self.width], interpolation=InterpolationMode.NEAREST_EXACT)
        return self._cut(resized, fill=IGNORE)[0].long()

    def ignore(self) -> Tensor:
        """(crop, crop) int64: 255 where padding was added, 0 elsewhere."""
        ignore = torch.zeros(self.crop, self.crop, dtype=torch.int64)
        ignore[self.height :] = IGNORE
        ignore[:, self.width :] = IGNORE
        return ignore.flip(-1) if self.flip else ignore

    def _cut(self, x: Tensor, *, fill: int) -> Tensor:
        part = x[..., self.top : self.top + self.crop, self.left : self.left + self.crop]
        below, right = self.crop - part.shape[-2], self.crop - part.shape[-1]
        if below or right:
            part = ops.pad(part, [0, 0, right, below], fill=fill)
        return ops.horizontal_flip(part) if self.flip else part


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

    def __call__(self, image: Tensor) -> Tensor:
        """(3, H, W) float32 in 0 .. 1 -> the same, changed."""
        if self.brightness is not None:
            image = ops.adjust_brightness(image, self.brightness)
        if self.contrast is not None:
            image = ops.adjust_contrast(image, self.contrast)
        if self.saturation is not None:
            image = ops.adjust_saturation(image, self.saturation)
        if self.hue is not None:
            image = shift_hue(image, self.hue)
        if self.gray:
            image = ops.rgb_to_grayscale(image, num_output_channels=3)
        if self.blur_sigma is not None:
            radius = min(math.ceil(3 * self.blur_sigma), min(image.shape[-2:]) - 1)
            image = ops.gaussian_blur(image, [2 * radius + 1] * 2, [self.blur_sigma] * 2)
        return image


def shift_hue(image: Tensor, shift: float) -> Tensor:
    """What torchvision's `adjust_hue` gives, four times as fast on a small crop: value and chroma stay, so the way back
    from HSV is one formula per channel.

    Args:
        image: (3, H, W) float32 in 0 .. 1.
        shift: in turns of the colour circle.
    """
    red, green, blue = image.unbind(-3)
    value = image.amax(-3)
    chroma = value - image.amin(-3)
    divisor = chroma + (chroma == 0)
    sixths = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    offset = torch.tensor([5.0, 3.0, 1.0], device=image.device)[:, None, None]
    distance = (sixths + 6 * shift + offset) % 6
    return value - chroma * torch.minimum(distance, 4 - distance).clamp(0, 1)


def normalise(image: Tensor) -> Tensor:
    """(..., 3, H, W) in 0 .. 1 -> ImageNet's mean 0 and deviation 1."""
    normal: Tensor = ops.normalize(image, list(MEAN), list(STD))
    return normal


def draw_box(rng: np.random.Generator, crop: int, *, views: "ViewsConfig") -> Tensor:
    """A CutMix box, (crop, crop) bool, True inside; empty with probability 1 - cutmix_p."""
    if rng.random() >= views.cutmix_p:
        return torch.zeros(crop, crop, dtype=torch.bool)
    return random_box(rng, crop, area=(views.cutmix_area_min, views.cutmix_area_max), ratio_min=views.cutmix_ratio_min)


def random_box(rng: np.random.Generator, crop: int, *, area: tuple[float, float], ratio_min: float) -> Tensor:
    """A box, (crop, crop) bool, True inside.

    Area A ~ U(area) crop^2, then (r, x, y) uniform over ratio_min <= r <= 1 / ratio_min and corners in
    the crop, given that the box of width sqrt(A / r) and height sqrt(A r) fits. Drawn as r in proportion to the number
    of corners that fit, then a corner among them, which ends fast also for boxes as large as the crop.
    """
    box = torch.zeros(crop, crop, dtype=torch.bool)
    pixels = rng.uniform(*area) * crop**2
    lowest, highest = max(ratio_min, pixels / crop**2), min(1 / ratio_min, crop**2 / pixels)
    most = (crop - int(math.sqrt(pixels)) + 1) ** 2
    while True:
        ratio = rng.uniform(lowest, highest)
        sides = (math.sqrt(pixels / ratio), math.sqrt(pixels * ratio))
        width, height = (max(1, min(crop, int(side))) for side in sides)
        columns, rows = crop - width + 1, crop - height + 1
        if rng.random() * most < columns * rows:
            break
    left, top = int(rng.integers(columns)), int(rng.integers(rows))
    box[top : top + height, left : left + width] = True
    return box


def neighbour(batch: Tensor) -> Tensor:
    """(B, ...) with images 2k and 2k + 1 exchanged: the CutMix partner of `cutmix_partner: batch`. The last image of an
    odd batch stays its own partner."""
    index = torch.arange(len(batch), device=batch.device) ^ 1
    return batch[torch.where(index < len(batch), index, index - 1)]
