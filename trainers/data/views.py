"""Weak views and CutMix boxes (methods: section 0): which part of an image a crop shows, drawn from a given generator
and cut from uint8 pixels on the CPU; what is done to a batch of crops runs on whatever device they lie.
"""

import functools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from trainers.interface.input_spec import RGB, InputSpec
from trainers.interface.labels import IGNORE

if TYPE_CHECKING:
    from trainers.data.views_config import ViewsConfig

MEAN, STD = RGB.mean, RGB.std
"""ImageNet's, of RGB in 0 .. 1."""
OFFSETS = 8
"""Two crops of one image that overlap lie a multiple of so many pixels apart, in either direction."""
GREY = (0.299, 0.587, 0.114)
"""What of red, green and blue makes the one band of a network that sees grey: ITU-R 601, as Pillow has it."""


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

    def overlapping(self, rng: np.random.Generator, *, least: float, flip_p: float) -> "Geometry":
        """Another crop of the resized image, mirrored by chance: evenly one of those that lie a multiple of `OFFSETS`
        pixels away in either direction and whose intersection over union with this one is ``least`` or more. This one
        is among them."""
        (tops, down), (lefts, across) = (self._apart(axis) for axis in (0, 1))
        shared = (self.crop - down)[:, None] * (self.crop - across)
        row, column = rng.choice(np.argwhere(shared >= least * (2 * self.crop**2 - shared)))
        return replace(self, top=int(tops[row]), left=int(lefts[column]), flip=bool(rng.random() < flip_p))

    def _apart(self, axis: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Along one axis, where such crops begin, and how far from this one that is, at most the crop."""
        length, begin = self._along(axis)
        begins = np.arange(begin % OFFSETS, max(length, self.crop) - self.crop + 1, OFFSETS)
        return begins, np.minimum(np.abs(begins - begin), self.crop)

    def pixels(self, image: Tensor) -> Tensor:
        """(bands, H, W) uint8 or uint16 -> (bands, crop, crop) of the same; padding is 0. Only what the crop shows is
        resized: the pixels are those that Pillow's filter gives on the whole image; bytes are rounded after each of its
        two passes."""
        crop = np.zeros((self.crop, self.crop, len(image)), dtype=image.numpy().dtype)
        spans = [self._span(axis, side) for axis, side in enumerate(image.shape[1:])]
        (begin_y, end_y, box_y, rows), (begin_x, end_x, box_x, columns) = spans
        part = image[:, begin_y:end_y, begin_x:end_x].permute(1, 2, 0).numpy()
        crop[:rows, :columns] = _resized(part, (columns, rows), (box_x[0], box_y[0], box_x[1], box_y[1]))
        mirrored = crop[:, ::-1] if self.flip else crop
        return torch.from_numpy(np.ascontiguousarray(mirrored.transpose(2, 0, 1)))

    def image(self, image: Tensor) -> Tensor:
        """(bands, H, W) uint8 or uint16 -> (bands, crop, crop) float32 in 0 .. 1; padding is 0."""
        return unit(self.pixels(image))

    def mask(self, mask: Tensor) -> Tensor:
        """(H, W) uint8 -> (crop, crop) int64; padding is 255. Nearest, the pixel under the centre, as the image's
        bilinear filter does."""
        crop = np.full((self.crop, self.crop), IGNORE, dtype=np.uint8)
        rows, columns = (self._nearest(axis, side) for axis, side in enumerate(mask.shape))
        crop[: len(rows), : len(columns)] = mask.numpy()[rows[:, None], columns]
        return torch.from_numpy(np.ascontiguousarray(crop[:, ::-1]) if self.flip else crop).long()

    def centred(self, crop: Tensor) -> Tensor:
        """A crop (..., crop, crop) with its padding on both sides instead of right and below."""
        rows, columns = (max(self.crop - side, 0) // 2 for side in (self.height, self.width))
        return crop.roll((rows, -columns if self.flip else columns), (-2, -1))

    def extent(self) -> tuple[int, int, bool]:
        """What `ignore_maps` needs: rows and columns that the resized image fills, and whether they are mirrored."""
        return self.height, self.width, self.flip

    def ignore(self) -> Tensor:
        """(crop, crop) int64: 255 where padding was added, 0 elsewhere."""
        return ignore_maps(torch.tensor([self.extent()]), crop=self.crop)[0]

    def _along(self, axis: int) -> tuple[int, int]:
        """Length of the resized image, and where the crop begins in it."""
        return ((self.height, self.top), (self.width, self.left))[axis]

    def _span(self, axis: int, side: int) -> tuple[int, int, tuple[float, float], int]:
        """Along one axis of the image: the pixels that the crop can depend on, the interval of them that it shows, and
        to how many pixels that is resized."""
        length, begin = self._along(axis)
        count = min(self.crop, length - begin)
        scale = side / length
        low, high = begin * scale, (begin + count) * scale
        reach = math.ceil(max(scale, 1.0)) + 1
        first, last = max(0, math.floor(low) - reach), min(side, math.ceil(high) + reach)
        return first, last, (low - first, min(high, side) - first), count

    def _nearest(self, axis: int, side: int) -> NDArray[np.int64]:
        length, begin = self._along(axis)
        places = np.arange(begin, begin + min(self.crop, length - begin))
        return np.minimum((2 * places + 1) * side // (2 * length), side - 1)


def _resized(part: NDArray[Any], size: tuple[int, int], box: tuple[float, float, float, float]) -> NDArray[Any]:
    """The interval ``box`` of pixels (H, W, bands), resized by Pillow: RGB of 8 bits at once, others band by band in
    float32, rounded at the end."""

    def one(pixels: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(
            Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BILINEAR, box=box)
        )

    if part.dtype == np.uint8:
        return one(part)
    bands = [np.rint(one(part[..., band].astype(np.float32))) for band in range(part.shape[2])]
    return np.stack(bands, axis=-1).astype(part.dtype)


def ignore_maps(extents: Tensor, *, crop: int) -> Tensor:
    """(B, crop, crop) int64: 255 where padding was added, 0 elsewhere.

    Args:
        extents: `Geometry.extent` of B crops, (B, 3) int64.
    """
    line = torch.arange(crop, device=extents.device)
    height, width, flip = extents[:, :, None].unbind(1)
    columns = torch.where(flip > 0, crop - 1 - line, line) >= width
    return ((line >= height)[:, :, None] | columns[:, None, :]).long() * IGNORE


def unit(pixels: Tensor) -> Tensor:
    """uint8 or uint16 -> float32 in 0 .. 1."""
    return pixels.float().div_(65535 if pixels.dtype == torch.uint16 else 255)


def normalise(image: Tensor, spec: InputSpec = RGB) -> Tensor:
    """(..., 3, H, W) in 0 .. 1, or with as many bands as the network has -> (..., bands, H, W) as it takes them:
    (image - mean) / std; 1 band is grey."""
    mean, std = _constants(spec, image.device)
    if spec.bands == 1:
        red, green, blue = image.unbind(-3)
        image = (GREY[0] * red + GREY[1] * green + GREY[2] * blue).unsqueeze(-3)
    return (image - mean).div_(std)


@functools.cache
def _constants(spec: InputSpec, device: torch.device) -> tuple[Tensor, Tensor]:
    """Kept on the device: a step copies nothing that it need not."""
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (spec.mean, spec.std))
    return mean, std


def draw_box(rng: np.random.Generator, crop: int, *, views: "ViewsConfig") -> Tensor:
    """A CutMix mask, (crop, crop) bool, True where an odd number of its boxes lie; empty with probability
    1 - cutmix_p."""
    mask, count = torch.zeros(crop, crop, dtype=torch.bool), views.cutmix_boxes
    if rng.random() < views.cutmix_p:
        area = (views.cutmix_area_min / count, views.cutmix_area_max / count)
        for _ in range(count):
            mask ^= random_box(rng, crop, area=area, ratio_min=views.cutmix_ratio_min)
    return mask


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
