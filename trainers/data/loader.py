"""From lists to batches: how long an epoch is, who takes which part of a batch, loader workers or none."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from trainers.common.errors import ConfigError, DataError
from trainers.common.sockets import check_for_loaders
from trainers.common.transfer import to_device
from trainers.data.batches import BatchMaker
from trainers.data.loading import CacheSize, loading
from trainers.data.maskcheck import check_masks
from trainers.data.open import OpenData
from trainers.data.prefetch import copied_ahead
from trainers.data.presence import classes_present
from trainers.data.rng_streams import Stream, Walk
from trainers.data.waiting import watched
from trainers.interface.batch import Labelled, SemiBatch, Unlabelled, View
from trainers.interface.input_spec import RGB, InputSpec
from trainers.interface.method import Needs
from trainers.interface.step import OnDemandCrops

if TYPE_CHECKING:
    from trainers.data.loader_config import LoaderConfig


CPU = torch.device("cpu")


class TrainLoader:
    """Batches of a run, one process's share of each.

    Args:
        data: the run's lists.
        config: the whole training config.
        needs: what the method asks for.
        rank, world: this process, and how many there are.
        device: where the batches are wanted; a GPU makes their views itself.
        pseudo: pseudo-masks, PNG files by their image's place in the unlabelled list, of the images to train on; None:
            all unlabelled images, without masks.
        kept: what the run keeps of decoded images; None: it is chosen here.
        spec: what the network takes.

    Raises:
        ConfigError, DataError: the lists are too short for the batch, or the batch for the processes.
    """

    def __init__(
        self,
        data: OpenData,
        config: "LoaderConfig",
        needs: Needs,
        rank: int = 0,
        world: int = 1,
        device: torch.device = CPU,
        pseudo: Mapping[int, bytes] | None = None,
        kept: CacheSize | None = None,
        spec: InputSpec = RGB,
    ) -> None:
        _check(data, config, needs, world)
        self.steps_per_epoch = _steps(data, config, needs)
        """Optimiser steps in one epoch."""
        self.skipped = 0
        """Corrupt images replaced so far in this process's batches (only with `on_corrupt: skip`). A resumed run sets
        it to the number in its checkpoint."""
        batch_size, steps = config.data.batch_size, self.steps_per_epoch
        on_labelled = _epoch_is_labelled(data, config, needs)
        unlabelled = len(data.unlabelled) if pseudo is None else len(pseudo)

        def walk(stream: Stream, length: int, *, base: bool) -> Walk:
            batches = needs.labelled_batches if stream == Stream.LABELLED_ORDER else needs.unlabelled_batches
            one_pass = base and config.schedule.steps_per_epoch is None and needs.epoch_images is None and batches == 1
            taken = steps * batch_size * batches
            return Walk(seed=config.order_seed, stream=stream, length=length, stride=length if one_pass else taken)

        kind: Literal["cpu", "cuda"] = "cpu" if device.type == "cpu" else "cuda"
        self.loading = loading(config, data, needs, device=kind, world=world, kept=kept)
        """Workers and store, as chosen."""
        self._maker = BatchMaker(
            data=data,
            config=config,
            needs=needs,
            rank=rank,
            world=world,
            labelled=walk(Stream.LABELLED_ORDER, len(data.labelled), base=on_labelled),
            unlabelled=walk(
                Stream.UNLABELLED_ORDER, unlabelled, base=not on_labelled and unlabelled == len(data.unlabelled)
            )
            if needs.unlabelled
            else None,
            whole=device.type == "cpu",
            pseudo=pseudo,
            store_bytes=self.loading.kept.size,
            spec=spec,
        )
        self._config, self._device = config, device
        self._sampler = _Steps(steps)
        self._loader: DataLoader[dict[str, Any]] | None = None
        if self.loading.workers:
            check_for_loaders()
            self._loader = DataLoader(
                self._maker,
                batch_size=None,
                sampler=self._sampler,
                num_workers=self.loading.workers,
                multiprocessing_context="spawn",
                persistent_workers=True,
                timeout=config.data.loader_wait_s,
                generator=torch.Generator(),
                pin_memory=device.type == "cuda",
            )

    def epoch(self, epoch: int) -> Iterator[SemiBatch]:
        """The batches of an epoch, counted from 0, on the device. Does not depend on which epochs came before."""
        self._sampler.epoch = epoch
        made: Iterator[dict[str, Any]]
        if self._loader is None:
            made = map(self._maker.__getitem__, self._sampler)
        else:
            made = watched(iter(self._loader), wait_s=self._config.data.loader_wait_s)
        if self._device.type == "cuda":
            made = copied_ahead(made, self._config, self._device, self._maker.spec)
        for batch in made:
            if "error" in batch:
                raise batch["error"]
            self.skipped += batch["skipped"]
            yield self._assemble(batch)

    def asked(self, device: torch.device) -> OnDemandCrops:
        """Images outside the batches, by their places in the lists."""

        def labelled(index: int, draw: int, *, scale: tuple[float, float] | None = None) -> tuple[Tensor, Tensor]:
            found = self._maker.asked_labelled(index, draw, scale=scale)
            return to_device(found["image"], device), to_device(found["mask"], device)

        def unlabelled(index: int, draw: int) -> tuple[Tensor, Tensor]:
            found = self._maker.asked_unlabelled(index, draw)
            return to_device(found["image"], device), to_device(found["ignore"], device)

        def classes() -> Sequence[frozenset[int]]:
            skip = self._config.data.on_corrupt == "skip"
            return classes_present(self._maker.data.labelled, skip_corrupt=skip)

        return OnDemandCrops(labelled=labelled, unlabelled=unlabelled, classes=cache(classes))

    def close(self) -> None:
        """End the workers, also where a traceback still holds this loader."""
        self._loader = None

    def _assemble(self, batch: dict[str, Any]) -> SemiBatch:
        needs = self._maker.needs
        labelled = Labelled(
            image=batch["labelled"]["image"],
            mask=batch["labelled"]["mask"],
            strong=tuple(batch["labelled"][f"strong{n}"] for n in range(needs.labelled_strong)),
            index=batch["labelled"]["index"],
        )
        unlabelled = None
        if "unlabelled" in batch:
            parts: dict[str, Tensor] = batch["unlabelled"]

            def view(prefix: str) -> View:
                return View(
                    weak=parts[f"{prefix}weak"],
                    strong=tuple(parts[f"{prefix}strong{n}"] for n in range(needs.strong)),
                    ignore=parts[f"{prefix}ignore"],
                )

            unlabelled = Unlabelled(
                view=view(""),
                boxes=tuple(parts[f"box{n}"] for n in range(needs.mixed)),
                partner=view("partner_") if "partner_weak" in parts else None,
                second=view("second_") if "second_weak" in parts else None,
                offset=parts.get("offset"),
                presence=parts.get("presence"),
                pseudo=parts.get("pseudo"),
                index=parts["index"],
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


def _epoch_is_labelled(data: OpenData, config: "LoaderConfig", needs: Needs) -> bool:
    """Whether an epoch is measured by the labelled list; also where supervised training has no other."""
    return config.schedule.epoch_base == "labelled" or not (data.unlabelled or needs.unlabelled)


def _steps(data: OpenData, config: "LoaderConfig", needs: Needs) -> int:
    if config.schedule.steps_per_epoch is not None:
        return config.schedule.steps_per_epoch
    if needs.epoch_images is not None:
        unlabelled = needs.unlabelled_batches if needs.unlabelled else 0
        return needs.epoch_images // (config.data.batch_size * (needs.labelled_batches + unlabelled))
    base = data.labelled if _epoch_is_labelled(data, config, needs) else data.unlabelled
    return len(base) // config.data.batch_size


def _check(data: OpenData, config: "LoaderConfig", needs: Needs, world: int) -> None:
    size = config.data.batch_size
    if size % world:
        raise ConfigError(
            f"data.batch_size: {size} images cannot be shared equally by {world} processes; take a multiple of {world}"
        )
    parts = config.optim.accumulate
    if size // world % parts:
        raise ConfigError(
            f"optim.accumulate: {parts} equal parts cannot be made of {size // world} images (data.batch_size: {size} "
            f"over {world} processes); take a divisor of {size // world}"
        )
    labelled = size * needs.labelled_batches
    if len(data.labelled) < labelled:
        taken = f"{size} is" if needs.labelled_batches == 1 else f"{size}, of which a step takes {labelled}, is"
        raise DataError(
            f"data.batch_size: {taken} more than the {len(data.labelled)} labelled images; lower it to at most "
            f"{len(data.labelled) // needs.labelled_batches}, or label more images"
        )
    if needs.unlabelled and not data.unlabelled:
        raise DataError(
            "data.unlabelled: the method trains on unlabelled images and there are none; name their split file, or set "
            "method.name: supervised with interpixel.alpha: 0"
        )
    many, wanted = needs.unlabelled_batches, size * needs.unlabelled_batches
    if data.unlabelled and len(data.unlabelled) < wanted and (needs.unlabelled or _steps(data, config, needs) == 0):
        taken = f"{size} is" if many == 1 else f"{size}, of which a step takes {wanted} unlabelled images, is"
        raise DataError(
            f"data.batch_size: {taken} more than the {len(data.unlabelled)} unlabelled images; lower it to at most "
            f"{len(data.unlabelled) // many}, or name more images in data.unlabelled"
        )
    if needs.presence:
        _check_presence(data, config)
    if needs.unlabelled and needs.mixed and config.views.cutmix_partner == "batch" and size // world // parts < 2:
        raise ConfigError(
            "views.cutmix_partner: batch needs at least 2 unlabelled images at a time, data.batch_size: "
            f"{size} over {world} processes in {parts} parts gives {size // world // parts}; raise it, or set "
            "second_view"
        )


def _check_presence(data: OpenData, config: "LoaderConfig") -> None:
    """Where a method learns which classes an unlabelled image shows, its mask is read in training."""
    for item in data.unlabelled:
        if item.mask is None:
            raise DataError(
                f"{item.where}: no mask lies beside {item.name}, and method.image_labels reads the classes of every "
                "unlabelled image from its mask; name the masks in data.unlabelled, or set method.image_labels: false"
            )
    skip = config.data.on_corrupt == "skip"
    check_masks(data.unlabelled, num_classes=data.num_classes, skip_corrupt=skip)
