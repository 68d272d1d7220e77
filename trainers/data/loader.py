"""From lists to batches. Every number is drawn from a generator of (seed, stream, pass, image), so that neither
loader workers nor the number of processes change an image.

A list is walked in passes, each a permutation of its own. W processes take the contiguous W-ths of every global batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from trainers.batch import Labelled, SemiBatch, Unlabelled, View
from trainers.data.layout import Item
from trainers.data.open import OpenData
from trainers.data.read import CorruptError, Reader
from trainers.data.views import Geometry, Strong, draw_box, normalise
from trainers.errors import ConfigError, DataError
from trainers.methods.base import Needs

if TYPE_CHECKING:
    from trainers.config import TrainConfig


class Stream(IntEnum):
    """What a generator is for. Values are part of every run's reproducibility: append, never renumber."""

    LABELLED_ORDER = 0
    UNLABELLED_ORDER = 1
    LABELLED_VIEW = 2
    UNLABELLED_VIEW = 3
    PARTNER_VIEW = 4
    BOXES = 5
    STEP = 6


def generator(seed: int, stream: Stream, *index: int) -> np.random.Generator:
    """A generator that depends on its arguments alone."""
    return np.random.default_rng([seed, stream, *index])


@dataclass(frozen=True, kw_only=True)
class Walk:
    """The order in which a list is walked.

    Args:
        length: images in the list.
        per_epoch: images taken per epoch.
        stride: how far the next epoch's start lies behind this one's: `length` where an epoch is one pass whose tail
            is dropped, `per_epoch` where epochs go on where the last one ended.
    """

    seed: int
    stream: Stream
    length: int
    per_epoch: int
    stride: int

    def at(self, epoch: int, place: int) -> tuple[int, int]:
        """(pass, index in the list) of the image at `place` of the epoch."""
        walked, offset = divmod(epoch * self.stride + place, self.length)
        return walked, int(_permutation(self.seed, self.stream, walked, self.length)[offset])


@lru_cache(maxsize=8)
def _permutation(seed: int, stream: Stream, walked: int, length: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return generator(seed, stream, walked).permutation(length)


@dataclass(kw_only=True)
class BatchMaker(Dataset[dict[str, Any]]):
    """Makes this process's part of any (epoch, step)'s batch; sent whole to loader workers."""

    data: OpenData
    config: "TrainConfig"
    needs: Needs
    rank: int
    world: int
    labelled: Walk
    unlabelled: Walk | None
    _reader: Reader | None = field(default=None, init=False, repr=False)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        """Tensors of the batch by name, and `skipped`, the number of corrupt images replaced in it."""
        if self._reader is None:
            self._reader = Reader(self.data.num_classes)
        self._skipped = 0
        epoch, step = key
        batch: dict[str, Any] = {
            "labelled": self._stack([self._labelled(*at) for at in self._part(self.labelled, key)])
        }
        if self.unlabelled is not None:
            batch["unlabelled"] = self._stack([self._unlabelled(*at) for at in self._part(self.unlabelled, key)])
        seed = int(generator(self.config.seed, Stream.STEP, epoch, step).integers(2**62))
        return batch | {"seed": seed, "skipped": self._skipped}

    def _part(self, walk: Walk, key: tuple[int, int]) -> list[tuple[int, int]]:
        batch_size = self.config.data.batch_size
        share = batch_size // self.world
        start = key[1] * batch_size + self.rank * share
        return [walk.at(key[0], place) for place in range(start, start + share)]

    @staticmethod
    def _stack(samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}

    def _labelled(self, walked: int, index: int) -> dict[str, Tensor]:
        image, mask = self._read(self.data.labelled, index, with_mask=True)
        assert mask is not None
        rng = generator(self.config.seed, Stream.LABELLED_VIEW, walked, index)
        geometry = self._geometry(rng, image)
        return {"image": normalise(geometry.image(image)), "mask": geometry.mask(mask)}

    def _unlabelled(self, walked: int, index: int) -> dict[str, Tensor]:
        image, _ = self._read(self.data.unlabelled, index, with_mask=False)
        views, seed = self.config.views, self.config.seed
        sample = self._view("", image, generator(seed, Stream.UNLABELLED_VIEW, walked, index))
        if self.needs.strong:
            if views.cutmix_partner == "second_view":
                sample |= self._view("partner_", image, generator(seed, Stream.PARTNER_VIEW, walked, index))
            rng = generator(seed, Stream.BOXES, walked, index)
            for number in range(self.needs.strong):
                sample[f"box{number}"] = draw_box(rng, self.config.data.crop, views=views)
        return sample

    def _view(self, prefix: str, image: Tensor, rng: np.random.Generator) -> dict[str, Tensor]:
        geometry = self._geometry(rng, image)
        weak = geometry.image(image)
        sample = {f"{prefix}weak": normalise(weak), f"{prefix}ignore": geometry.ignore()}
        for number in range(self.needs.strong):
            sample[f"{prefix}strong{number}"] = normalise(Strong.draw(rng, views=self.config.views)(weak))
        return sample

    def _geometry(self, rng: np.random.Generator, image: Tensor) -> Geometry:
        size = (image.shape[-2], image.shape[-1])
        return Geometry.draw(rng, size, crop=self.config.data.crop, views=self.config.views)

    def _read(self, items: tuple[Item, ...], index: int, *, with_mask: bool) -> tuple[Tensor, Tensor | None]:
        assert self._reader is not None
        for shift in range(len(items)):
            try:
                return self._reader(items[(index + shift) % len(items)], with_mask=with_mask)
            except CorruptError:
                if self.config.data.on_corrupt == "error":
                    raise
                self._skipped += 1
        raise DataError(f"not one of {len(items)} images can be decoded, the first is {items[0].image}")


class TrainLoader:
    """Batches of a run, one process's share of each.

    Args:
        data: the run's lists.
        config: the whole training config.
        needs: what the method asks for.
        rank, world: this process, and how many there are.

    Raises:
        ConfigError, DataError: the lists are too short for the batch, or the batch for the processes.
    """

    def __init__(self, data: OpenData, config: "TrainConfig", needs: Needs, rank: int = 0, world: int = 1) -> None:
        _check(data, config, needs, world)
        self.steps_per_epoch = _steps(data, config, needs)
        """Optimiser steps in one epoch."""
        self.skipped = 0
        """Corrupt images replaced so far in this process's batches (only with `on_corrupt: skip`). A resumed run sets
        it to the number in its checkpoint."""
        batch_size, steps = config.data.batch_size, self.steps_per_epoch
        on_labelled = _epoch_is_labelled(data, config, needs)

        def walk(stream: Stream, length: int, *, base: bool) -> Walk:
            one_pass = base and config.schedule.steps_per_epoch is None
            taken = steps * batch_size
            stride = length if one_pass else taken
            return Walk(seed=config.seed, stream=stream, length=length, per_epoch=taken, stride=stride)

        self._maker = BatchMaker(
            data=data,
            config=config,
            needs=needs,
            rank=rank,
            world=world,
            labelled=walk(Stream.LABELLED_ORDER, len(data.labelled), base=on_labelled),
            unlabelled=walk(Stream.UNLABELLED_ORDER, len(data.unlabelled), base=not on_labelled)
            if needs.unlabelled
            else None,
        )
        self._sampler = _Steps(steps)
        self._loader: DataLoader[dict[str, Any]] | None = None
        if config.data.loader_workers:
            self._loader = DataLoader(
                self._maker,
                batch_size=None,
                sampler=self._sampler,
                num_workers=config.data.loader_workers,
                multiprocessing_context="spawn",
                persistent_workers=True,
                pin_memory=config.precision.device != "cpu" and torch.cuda.is_available(),
            )

    def epoch(self, epoch: int) -> Iterator[SemiBatch]:
        """The batches of an epoch, counted from 0, as CPU tensors. Does not depend on which epochs came before."""
        self._sampler.epoch = epoch
        made = iter(self._loader) if self._loader is not None else map(self._maker.__getitem__, self._sampler)
        for batch in made:
            self.skipped += batch["skipped"]
            yield self._assemble(batch)

    def _assemble(self, batch: dict[str, Any]) -> SemiBatch:
        labelled = Labelled(image=batch["labelled"]["image"], mask=batch["labelled"]["mask"])
        unlabelled = None
        if "unlabelled" in batch:
            parts: dict[str, Tensor] = batch["unlabelled"]
            numbers = range(self._maker.needs.strong)

            def view(prefix: str) -> View:
                return View(
                    weak=parts[f"{prefix}weak"],
                    strong=tuple(parts[f"{prefix}strong{n}"] for n in numbers),
                    ignore=parts[f"{prefix}ignore"],
                )

            unlabelled = Unlabelled(
                view=view(""),
                boxes=tuple(parts[f"box{n}"] for n in numbers),
                partner=view("partner_") if "partner_weak" in parts else None,
            )
        return SemiBatch(
            labelled=labelled,
            unlabelled=unlabelled,
            seed=batch["seed"],
            rank=self._maker.rank,
            world=self._maker.world,
        )


class _Steps(Sampler[tuple[int, int]]):
    """(epoch, step) of one epoch. The epoch is set from outside, since loader workers outlive it."""

    def __init__(self, steps: int) -> None:
        self.epoch = 0
        self._steps = steps

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter([(self.epoch, step) for step in range(self._steps)])

    def __len__(self) -> int:
        return self._steps


def _epoch_is_labelled(data: OpenData, config: "TrainConfig", needs: Needs) -> bool:
    """Whether an epoch is measured by the labelled list; also where supervised training has no other."""
    return config.schedule.epoch_base == "labelled" or not (data.unlabelled or needs.unlabelled)


def _steps(data: OpenData, config: "TrainConfig", needs: Needs) -> int:
    if config.schedule.steps_per_epoch is not None:
        return config.schedule.steps_per_epoch
    base = data.labelled if _epoch_is_labelled(data, config, needs) else data.unlabelled
    return len(base) // config.data.batch_size


def _check(data: OpenData, config: "TrainConfig", needs: Needs, world: int) -> None:
    size = config.data.batch_size
    if size % world:
        raise ConfigError(
            f"data.batch_size: {size} images cannot be shared equally by {world} processes; take a multiple of {world}"
        )
    if len(data.labelled) < size:
        raise DataError(
            f"data.batch_size: {size} is more than the {len(data.labelled)} labelled images; lower it to at most "
            f"{len(data.labelled)}, or label more images"
        )
    if needs.unlabelled and not data.unlabelled:
        raise DataError(
            "data.unlabelled: the method trains on unlabelled images and there are none; name their split file, or set "
            "method.name: supervised with interpixel.alpha: 0"
        )
    if data.unlabelled and len(data.unlabelled) < size and (needs.unlabelled or _steps(data, config, needs) == 0):
        raise DataError(
            f"data.batch_size: {size} is more than the {len(data.unlabelled)} unlabelled images; lower it to at most "
            f"{len(data.unlabelled)}, or name more images in data.unlabelled"
        )
    if needs.unlabelled and needs.strong and config.views.cutmix_partner == "batch" and size // world < 2:
        raise ConfigError(
            "views.cutmix_partner: batch needs at least 2 unlabelled images per process, data.batch_size: "
            f"{size} over {world} processes gives {size // world}; raise it, or set second_view"
        )
