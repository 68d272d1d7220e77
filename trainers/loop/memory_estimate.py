"""How much memory a training step takes, found without the device and without computing the step (`livebytes`)."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from typing import cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from trainers.common.errors import UserError
from trainers.config import TrainConfig
from trainers.interface.batch import Labelled, SemiBatch, Unlabelled, View
from trainers.interface.method import AuxiliaryModule, Method, Needs
from trainers.interface.step import OnDemandCrops, Progress, Step
from trainers.loop.live_bytes import LiveBytes, ReadOnes
from trainers.loop.method_context import make_context
from trainers.loop.precision import autocast
from trainers.loop.process_group import Process
from trainers.losses.interpixel import InterPixelLoss
from trainers.losses.labelled import LabelledLoss
from trainers.methods.registry import build_method
from trainers.models.interface import SegmentationModel

MIB = 1024**2
GPU_BYTES = 1600 * MIB
"""Allowance on a GPU for what is not a tensor of the step: CUDA's own memory for the process (some 500 MiB), and the
workspaces of cuDNN and cuBLAS. It was not measured, since there was no GPU."""
CPU_BYTES = 700 * MIB
"""Python with PyTorch and the data set's lists, before the first step, on a CPU."""


@dataclass(frozen=True, kw_only=True)
class StepMemory:
    """Bytes on each process's device.

    Args:
        weights: of all networks, banks and buffers.
        optimiser: momentum and second moments.
        step: the most that batch, activations and gradients take at one time.
        batch: of one batch with its views; on a GPU the next one lies there too.
        buckets: copies of the gradients that DDP sends; 0 with one process.
    """

    weights: int
    optimiser: int
    step: int
    batch: int
    buckets: int

    def on(self, device: str) -> int:
        """All of it, with the allowance of a device (`cpu` or `cuda`)."""
        tensors = self.weights + self.optimiser + self.step + self.buckets
        return tensors + (CPU_BYTES if device == "cpu" else self.batch + GPU_BYTES)


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What the memory is asked of.

    Args:
        config: the whole training config.
        num_classes: C.
        labelled, unlabelled: images in these lists.
        world: processes, which share out `data.batch_size`.
        steps_per_epoch: of the last stage.
    """

    config: TrainConfig
    num_classes: int
    labelled: int = 1000
    unlabelled: int = 1000
    world: int = 1
    steps_per_epoch: int = 1000


def step_memory(asked: Sequence[Asking]) -> list[StepMemory]:
    """The memory of a step late in the training, in the method's last stage, when all of its losses are at work.

    Found in a process of its own, since tensors without values would stay in the caches of the packages.

    Raises:
        RuntimeError: a step depends on values in a way that has no largest outcome.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return list(pool.map(_step_memory, asked))


def step_memories(asked: Sequence[Asking]) -> list[StepMemory | None]:
    """The same; None where a step depends on values in such a way, or the config cannot be built."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return list(pool.map(_step_memory_or_none, asked))


def _step_memory_or_none(asked: Asking) -> StepMemory | None:
    try:
        return _step_memory(asked)
    except (RuntimeError, UserError):
        return None


def _step_memory(asked: Asking) -> StepMemory:
    config = asked.config
    config = config.model_copy(update={"model": config.model.model_copy(update={"weights": "none"})})
    process = Process(rank=0, world=1, device=torch.device("cpu"))
    context = make_context(
        config,
        num_classes=asked.num_classes,
        process=process,
        labelled=asked.labelled,
        unlabelled=asked.unlabelled,
    )
    method = build_method(config.method, context)
    trained = [AuxiliaryModule(module=context.student), *method.trained().values()]
    if asked.world > 1 and config.optim.batch_norm == "global":
        _share_batch_norm([*(one.module for one in trained), *method.networks().values()])
    stages, total = method.stages(), config.schedule.epochs * asked.steps_per_epoch
    for stage in range(1, len(stages)):
        method.begin(
            stage, lambda places: iter(())
        )  # the networks that the last stage trains with; nothing is labelled
    progress = Progress(step=total - 1, steps_per_epoch=asked.steps_per_epoch, total_steps=total, stage=len(stages) - 1)
    with FakeTensorMode(allow_non_fake_inputs=True), ReadOnes(), LiveBytes() as live:
        images = config.data.batch_size // asked.world
        bands = cast(SegmentationModel, context.student).input_spec.bands
        batch = _blank(config, stages[-1].needs, classes=asked.num_classes, images=images, bands=bands)
        one = live.now
        weights = None if config.loss.class_weights == "none" else torch.ones(asked.num_classes)
        for part in islice(batch.parts(config.optim.accumulate), 2):
            step = Step(
                student=context.student,
                batch=part,
                denominator=process.denominator(config.optim.denominator),
                progress=progress,
                asked=_asked(config, classes=asked.num_classes, labelled=asked.labelled, bands=bands),
                labelled_loss=LabelledLoss(config.loss, weights=weights),
            )
            _pass(config, method, step)
        peak = live.peak
    gradients = _bytes(weight for one in trained for weight in _learned(one))
    return StepMemory(
        weights=_bytes(_kept(context.student, trained, method)),
        optimiser=sum(_bytes(_learned(one)) * _moments(config, one) for one in trained),
        step=peak,
        batch=one,
        buckets=gradients if asked.world > 1 else 0,
    )


class _SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm of one process among several, to whose statistics the others bring images too. A single pixel, which
    PyTorch refuses, is taken twice."""

    def forward(self, features: Tensor) -> Tensor:
        if features.numel() > features.shape[1]:
            return super().forward(features)
        return super().forward(features.expand(2, -1, -1, -1))[:1]


def _share_batch_norm(networks: Iterable[nn.Module]) -> None:
    for network in networks:
        for module in network.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = _SharedBatchNorm2d


def _pass(config: TrainConfig, method: Method, step: Step) -> None:
    """Losses and gradients of a part of a batch, as `trainers.loop.run.Run.train_step` computes them."""
    with autocast("cpu", config.precision.amp):
        output = method.losses(step)
    loss = torch.stack([output.weights[name] * term for name, term in output.terms.items()]).sum()
    if config.interpixel.alpha > 0 and output.pairs is not None:
        loss = loss + InterPixelLoss(config.interpixel)(output.pairs)[0]
    loss.backward()


def _blank(config: TrainConfig, needs: Needs, *, classes: int, images: int, bands: int) -> SemiBatch:
    """A batch of the right shapes."""
    crop, count, images = config.data.crop, images * needs.labelled_batches, images * needs.unlabelled_batches
    planes = [needs.pseudo_planes] if needs.pseudo_planes > 1 else []

    def pictures(number: int) -> Tensor:
        return torch.empty(number, bands, crop, crop)

    def places(dtype: torch.dtype) -> Tensor:
        return torch.empty(images, crop, crop, dtype=dtype)

    def view() -> View:
        strong = tuple(pictures(images) for _ in range(needs.strong))
        return View(weak=pictures(images), strong=strong, ignore=places(torch.int64))

    labelled = Labelled(
        image=pictures(count),
        mask=torch.empty(count, crop, crop, dtype=torch.int64),
        strong=tuple(pictures(count) for _ in range(needs.labelled_strong)),
        index=torch.empty(count, dtype=torch.int64),
    )
    unlabelled = None
    if needs.unlabelled:
        unlabelled = Unlabelled(
            view=view(),
            boxes=tuple(places(torch.bool) for _ in range(needs.mixed)),
            partner=view() if needs.mixed and config.views.cutmix_partner == "second_view" else None,
            presence=torch.empty(images, classes, dtype=torch.bool) if needs.presence else None,
            pseudo=torch.empty(images, *planes, crop, crop, dtype=torch.int64),
            index=torch.empty(images, dtype=torch.int64),
            second=None if needs.overlap is None else view(),
            offset=None if needs.overlap is None else torch.empty(images, 4, dtype=torch.int64),
        )
    return SemiBatch(labelled=labelled, unlabelled=unlabelled, seed=0)


def _asked(config: TrainConfig, *, classes: int, labelled: int, bands: int) -> OnDemandCrops:
    crop = config.data.crop

    def one(index: int, draw: int, *, scale: tuple[float, float] | None = None) -> tuple[Tensor, Tensor]:
        return torch.empty(bands, crop, crop), torch.empty(crop, crop, dtype=torch.int64)

    return OnDemandCrops(labelled=one, unlabelled=one, classes=lambda: [frozenset(range(classes))] * labelled)


def _learned(one: AuxiliaryModule) -> list[Tensor]:
    return [weight for weight in one.module.parameters() if weight.requires_grad]


def _moments(config: TrainConfig, one: AuxiliaryModule) -> int:
    """Numbers that its optimiser keeps for each weight."""
    adam = one.adam_lr is not None or (one.sgd_lr is None and config.optim.name == "adamw")
    return 2 if adam else int(config.optim.momentum > 0)


def _kept(student: nn.Module, trained: Iterable[AuxiliaryModule], method: Method) -> Iterable[Tensor]:
    """All that lies in memory from step to step, beside the optimiser's."""
    for module in (student, *(one.module for one in trained), *method.networks().values()):
        yield from module.state_dict().values()
    yield from method.state_dict().values()


def _bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of tensors, each storage counted once."""
    return sum({one.untyped_storage()._cdata: one.untyped_storage().nbytes() for one in tensors}.values())
