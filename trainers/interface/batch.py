"""What a training step receives. Shapes: B images, H x W crop; images are normalised float32.

``ignore`` marks what is not image: 255 where padding was added, 0 elsewhere. A VOC void pixel of an unlabelled
image stays 0, since unlabelled masks are never read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Weakly augmented labelled crops: ``image`` (B, bands, H, W), ``mask`` (B, H, W) int64 with 255 = ignore;
    ``strong`` holds as many strong versions of the same crop as the method asks for. ``index`` (B,) int64: the images'
    places in the labelled list."""

    image: Tensor
    mask: Tensor
    strong: tuple[Tensor, ...] = ()
    index: Tensor | None = None

    def to(self, device: torch.device) -> Self:
        return type(self)(
            image=self.image.to(device, non_blocking=True),
            mask=self.mask.to(device, non_blocking=True),
            strong=tuple(s.to(device, non_blocking=True) for s in self.strong),
            index=None if self.index is None else self.index.to(device, non_blocking=True),
        )

    def part(self, rows: slice) -> Self:
        return type(self)(
            image=self.image[rows],
            mask=self.mask[rows],
            strong=tuple(s[rows] for s in self.strong),
            index=None if self.index is None else self.index[rows],
        )


@dataclass(frozen=True, kw_only=True)
class View:
    """One random crop of each unlabelled image.

    ``weak`` (B, bands, H, W); ``strong`` holds as many strong versions of the *same* crop and flip as the method asks
    for; ``ignore`` (B, H, W) int64, 255 = padding.
    """

    weak: Tensor
    strong: tuple[Tensor, ...]
    ignore: Tensor

    def to(self, device: torch.device) -> Self:
        return type(self)(
            weak=self.weak.to(device, non_blocking=True),
            strong=tuple(s.to(device, non_blocking=True) for s in self.strong),
            ignore=self.ignore.to(device, non_blocking=True),
        )

    def part(self, rows: slice) -> Self:
        return type(self)(weak=self.weak[rows], strong=tuple(s[rows] for s in self.strong), ignore=self.ignore[rows])


@dataclass(frozen=True, kw_only=True)
class Unlabelled:
    """Unlabelled crops with what CutMix needs.

    ``boxes`` has one (B, H, W) bool map per strong version, True inside the pasted box. ``partner`` is another random
    view of the same raw images (``cutmix_partner: second_view``), or None, and then image i is mixed with
    its neighbour in the batch (``cutmix_partner: batch``, see ``trainers.data.views.neighbour``). ``presence`` (B, C)
    bool: the classes of each whole image, where the method asks for them. ``pseudo`` (B, H, W) int64: the stored
    pseudo-mask of ``view``, 255 = ignore, where the method has stored some; (B, P, H, W) where it stores P planes.
    ``index`` (B,) int64: the images' places in the unlabelled list.
    ``second``: another crop of the image that ``view`` shows, at the same scale, where the method asks for one that
    overlaps; ``offset`` (B, 4) int64: how many pixels down and to the right of the first it lies in the resized image,
    and whether the first and the second are mirrored.
    """

    view: View
    boxes: tuple[Tensor, ...]
    partner: View | None
    presence: Tensor | None = None
    pseudo: Tensor | None = None
    index: Tensor | None = None
    second: View | None = None
    offset: Tensor | None = None

    def to(self, device: torch.device) -> Self:
        return type(self)(
            view=self.view.to(device),
            boxes=tuple(b.to(device, non_blocking=True) for b in self.boxes),
            partner=None if self.partner is None else self.partner.to(device),
            presence=None if self.presence is None else self.presence.to(device, non_blocking=True),
            pseudo=None if self.pseudo is None else self.pseudo.to(device, non_blocking=True),
            index=None if self.index is None else self.index.to(device, non_blocking=True),
            second=None if self.second is None else self.second.to(device),
            offset=None if self.offset is None else self.offset.to(device, non_blocking=True),
        )

    def part(self, rows: slice) -> Self:
        return type(self)(
            view=self.view.part(rows),
            boxes=tuple(b[rows] for b in self.boxes),
            partner=None if self.partner is None else self.partner.part(rows),
            presence=None if self.presence is None else self.presence[rows],
            pseudo=None if self.pseudo is None else self.pseudo[rows],
            index=None if self.index is None else self.index[rows],
            second=None if self.second is None else self.second.part(rows),
            offset=None if self.offset is None else self.offset[rows],
        )


@dataclass(frozen=True, kw_only=True)
class SemiBatch:
    """One step's images on this process, and where they lie in the global batch.

    ``seed`` is the same on every process of a step and differs between steps; ``rank`` and ``world`` say which
    contiguous slice of the global batch this is, so that a random draw over the global batch can be sliced.
    """

    labelled: Labelled
    unlabelled: Unlabelled | None
    seed: int
    rank: int = 0
    world: int = 1

    def to(self, device: torch.device) -> Self:
        return type(self)(
            labelled=self.labelled.to(device),
            unlabelled=None if self.unlabelled is None else self.unlabelled.to(device),
            seed=self.seed,
            rank=self.rank,
            world=self.world,
        )

    def parts(self, count: int) -> Iterator[Self]:
        """``count`` batches of equal size, one after the other; one is the batch itself. Their seeds differ."""

        def rows(images: Tensor, index: int) -> slice:
            size = len(images) // count
            return slice(index * size, (index + 1) * size)

        for index in range(count):
            unlabelled = self.unlabelled
            yield type(self)(
                labelled=self.labelled.part(rows(self.labelled.image, index)),
                unlabelled=None if unlabelled is None else unlabelled.part(rows(unlabelled.view.weak, index)),
                seed=self.seed + (index << 40),
                rank=self.rank,
                world=self.world,
            )
