"""Makes one process's part of a batch: crops of uint8 pixels, and the numbers that were drawn for their views.

That is what loader workers do for a GPU, which makes the views itself; for a CPU they make the views too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from trainers.common.errors import DataError, UserError
from trainers.data.layout import Item
from trainers.data.make_views import finish
from trainers.data.open import OpenData
from trainers.data.opening import CorruptError
from trainers.data.read import Reader, planes_from_png
from trainers.data.rng_streams import Stream, Walk, generator
from trainers.data.strong import Strong, table
from trainers.data.views import Geometry, draw_box, normalise
from trainers.interface.input_spec import RGB, InputSpec
from trainers.interface.method import Needs

if TYPE_CHECKING:
    from trainers.data.loader_config import LoaderConfig


@dataclass(kw_only=True)
class BatchMaker(Dataset[dict[str, Any]]):
    """Makes this process's part of any (epoch, step)'s batch; sent whole to loader workers."""

    data: OpenData
    config: "LoaderConfig"
    needs: Needs
    rank: int
    world: int
    labelled: Walk
    unlabelled: Walk | None
    whole: bool
    """Make the views too, here."""
    spec: InputSpec = RGB
    """What the network takes."""
    pseudo: Mapping[int, bytes] | None = None
    store_bytes: int = 0
    """Bytes of the decoded images that all processes of this machine share."""
    _reader: Reader | None = field(default=None, init=False, repr=False)
    _skipped: int = field(default=0, init=False, repr=False)
    _with_mask: tuple[int, ...] = field(default=(), init=False, repr=False)

    def __post_init__(self) -> None:
        self._with_mask = tuple(sorted(self.pseudo or ()))

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        """`make`, or the user's mistake that came up as `error`: a loader worker would bury it in a traceback."""
        try:
            return self.make(key)
        except UserError as error:
            return {"error": error}

    def make(self, key: tuple[int, int]) -> dict[str, Any]:
        """The tensors of (epoch, step) by name, its `seed`, and `skipped`, the number of corrupt images replaced."""
        self._skipped = 0
        epoch, step = key
        batch: dict[str, Any] = {
            "labelled": self._stack(
                [self._labelled(*at) for at in self._part(self.labelled, key, batches=self.needs.labelled_batches)]
            )
        }
        if self.unlabelled is not None:
            part = self._part(self.unlabelled, key, batches=self.needs.unlabelled_batches)
            batch["unlabelled"] = self._stack([self._unlabelled(*at) for at in part])
        seed = int(generator(self.config.order_seed, Stream.STEP, epoch, step).integers(2**62))
        batch |= {"seed": seed, "skipped": self._skipped}
        return finish(batch, self.config, self.spec) if self.whole else batch

    def asked_labelled(self, index: int, draw: int, *, scale: tuple[float, float] | None = None) -> dict[str, Tensor]:
        """`image` and `mask` of a random crop of a labelled image, outside the batches; ``draw`` tells draws apart.

        Args:
            scale: range of the factor by which the image is resized, in place of the views'; what is smaller than the
                crop then lies in its middle.
        """
        image, mask = self._read(self.data.labelled, index, with_mask=True)
        assert mask is not None
        geometry = self._geometry(generator(self.config.order_seed, Stream.ASKED, 0, draw, index), image, scale)
        found = {"image": normalise(geometry.image(image), self.spec), "mask": geometry.mask(mask)}
        return found if scale is None else {name: geometry.centred(one) for name, one in found.items()}

    def asked_unlabelled(self, index: int, draw: int) -> dict[str, Tensor]:
        """`image` and `ignore` of a random crop of an unlabelled image, likewise."""
        image, _ = self._read(self.data.unlabelled, index, with_mask=False)
        geometry = self._geometry(generator(self.config.order_seed, Stream.ASKED, 1, draw, index), image)
        return {"image": normalise(geometry.image(image), self.spec), "ignore": geometry.ignore()}

    def _part(self, walk: Walk, key: tuple[int, int], *, batches: int = 1) -> list[tuple[int, int]]:
        batch_size = self.config.data.batch_size * batches
        share = batch_size // self.world
        start = key[1] * batch_size + self.rank * share
        return [walk.at(key[0], place) for place in range(start, start + share)]

    @staticmethod
    def _stack(samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}

    def _labelled(self, walked: int, index: int) -> dict[str, Tensor]:
        image, mask = self._read(self.data.labelled, index, with_mask=True)
        assert mask is not None
        rng = generator(self.config.order_seed, Stream.LABELLED_VIEW, walked, index)
        geometry = self._geometry(rng, image)
        return {
            "image": geometry.pixels(image),
            "mask": geometry.mask(mask),
            "strong": self._strong(rng, self.needs.labelled_strong),
            "index": torch.tensor(index),
        }

    def _unlabelled(self, walked: int, index: int) -> dict[str, Tensor]:
        if self.pseudo is not None:
            index = self._with_mask[index]
        image, mask = self._read(self.data.unlabelled, index, with_mask=self.needs.presence)
        views, seed = self.config.views, self.config.order_seed
        pseudo = None if self.pseudo is None else planes_from_png(self.pseudo[index], self.needs.pseudo_planes)
        sample = self._view("", image, generator(seed, Stream.UNLABELLED_VIEW, walked, index), pseudo)
        sample["index"] = torch.tensor(index)
        if mask is not None:
            sample["presence"] = torch.bincount(mask.flatten(), minlength=256)[: self.data.num_classes] > 0
        if self.needs.overlap is not None:
            first = self._geometry(generator(seed, Stream.UNLABELLED_VIEW, walked, index), image)  # that of `sample`
            rng = generator(seed, Stream.PARTNER_VIEW, walked, index)
            second = first.overlapping(rng, least=self.needs.overlap, flip_p=views.flip_p)
            sample |= {
                "second_weak": second.pixels(image),
                "second_extent": torch.tensor(second.extent()),
                "second_strong": self._strong(rng, self.needs.strong),
                "offset": torch.tensor([second.top - first.top, second.left - first.left, first.flip, second.flip]),
            }
        if self.needs.mixed:
            if views.cutmix_partner == "second_view":
                sample |= self._view("partner_", image, generator(seed, Stream.PARTNER_VIEW, walked, index))
            rng = generator(seed, Stream.BOXES, walked, index)
            for number in range(self.needs.mixed):
                sample[f"box{number}"] = draw_box(rng, self.config.data.crop, views=views)
        return sample

    def _view(
        self, prefix: str, image: Tensor, rng: np.random.Generator, pseudo: Tensor | None = None
    ) -> dict[str, Tensor]:
        geometry = self._geometry(rng, image)
        sample = {
            f"{prefix}weak": geometry.pixels(image),
            f"{prefix}extent": torch.tensor(geometry.extent()),
            f"{prefix}strong": self._strong(rng, self.needs.strong),
        }
        if pseudo is not None:
            planes = torch.stack([geometry.mask(plane) for plane in pseudo])
            sample["pseudo"] = planes[0] if len(planes) == 1 else planes
        return sample

    def _strong(self, rng: np.random.Generator, count: int) -> Tensor:
        return table([Strong.draw(rng, views=self.config.views) for _ in range(count)])

    def _geometry(self, rng: np.random.Generator, image: Tensor, scale: tuple[float, float] | None = None) -> Geometry:
        size, views = (image.shape[-2], image.shape[-1]), self.config.views
        if scale is not None:
            views = views.model_copy(update={"scale_min": scale[0], "scale_max": scale[1]})
        return Geometry.draw(rng, size, crop=self.config.data.crop, views=views)

    def _read(self, items: tuple[Item, ...], index: int, *, with_mask: bool) -> tuple[Tensor, Tensor | None]:
        if self._reader is None:
            self._reader = Reader(self.data.num_classes, store_bytes=self.store_bytes)
        for shift in range(len(items)):
            try:
                return self._reader(items[(index + shift) % len(items)], with_mask=with_mask)
            except CorruptError:
                if self.config.data.on_corrupt == "error":
                    raise
                self._skipped += 1
        raise DataError(f"not one of {len(items)} images can be decoded, the first is {items[0].image}")
