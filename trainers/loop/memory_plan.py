"""What `--dry-run=measure` says of memory: what a training takes, the largest batch that fits, what to change.

Each measurement is a short training in a process of its own, so that one that runs out of memory ends alone and what
PyTorch keeps back goes with it.
"""

import math
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from trainers.common.errors import OutOfMemory
from trainers.config import TrainConfig
from trainers.data.open import OpenData
from trainers.loop.largest_batch import extrapolated, fitting, largest_batch
from trainers.loop.memory_estimate import Asking, step_memories

GIB = 1024**3
CARDS = (8, 12, 16, 24, 48, 80)
"""Sizes of GPUs, in GiB, for which the largest batch is estimated where there is none to measure on."""
TRIES, CPU_TRIES = 5, 2
"""Trainings that are measured at most; a large batch takes long on a CPU, and its memory is seldom what is short."""
STEPS = 2
"""Steps in each epoch of the measured trainings; an evaluation ends it."""

Peak = Callable[[TrainConfig], int | None]
"""Bytes at the peak of a short training; None: it ran out of memory."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where trainings run.

    Args:
        room: bytes that one process may take of a GPU, or of this machine's memory; None: not known here.
        called: the device in words.
    """

    room: int | None
    called: str


def this_place(config: TrainConfig, *, share: float = 1.0) -> Place:
    """As far as this machine shows it.

    Args:
        share: of a GPU that one process has.
    """
    if config.precision.device == "cpu":
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return Place(room=total, called="this machine's memory")
    if not torch.cuda.is_available():
        return Place(room=None, called="a GPU")
    memory = torch.cuda.get_device_properties(0).total_memory
    part = "" if share == 1 else f"{share:g} of "
    return Place(room=int(memory * share), called=f"{part}{torch.cuda.get_device_name(0)}")


def measured_peak(config: TrainConfig) -> int | None:
    """Bytes that a short training of this config takes on its device, CUDA's own included; None: out of memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(_peak, config).result()
        except BrokenProcessPool:  # killed by the system, for memory as a rule
            return None


def _peak(config: TrainConfig) -> int | None:
    from trainers.loop.fit import fit
    from trainers.loop.resource_meter import peak_mib
    from trainers.loop.stages import shortest

    epochs = shortest(config)
    schedule = config.schedule.model_copy(update={"epochs": epochs, "steps_per_epoch": STEPS})
    evaluation = config.evaluation.model_copy(update={"every": epochs, "final": False})
    with tempfile.TemporaryDirectory() as folder:
        try:
            fit(config.model_copy(update={"schedule": schedule, "evaluation": evaluation}), Path(folder))
        except OutOfMemory:
            return None
    if config.precision.device == "cpu" or not torch.cuda.is_available():
        return int(peak_mib(torch.device("cpu")) * 1024**2)
    free, total = torch.cuda.mem_get_info()
    outside = total - free - torch.cuda.memory_reserved()  # CUDA's own, and whatever else is on the device
    return int(outside + torch.cuda.max_memory_reserved())


def memory_lines(
    config: TrainConfig,
    data: OpenData,
    *,
    place: Place,
    world: int = 1,
    steps_per_epoch: int = 1000,
    peak: Peak | None = None,
) -> list[str]:
    """In lines for people.

    Args:
        config: its device as it will be granted.
        place: where it will run.
        world: processes that share out the batch.
        peak: measures; None: :func:`measured_peak`.
    """
    ask = Asking(
        config=config,
        num_classes=data.num_classes,
        labelled=len(data.labelled),
        unlabelled=len(data.unlabelled),
        world=world,
        steps_per_epoch=steps_per_epoch,
    )
    most = len(data.labelled) if not data.unlabelled else min(len(data.labelled), len(data.unlabelled))
    if place.room is None:
        return _not_known(ask, most=most)
    batch, buckets = config.data.batch_size, 0
    if world > 1 and (estimated := step_memories([ask])[0]) is not None:
        buckets = estimated.buckets

    on_cpu = config.precision.device == "cpu"
    tries = CPU_TRIES if on_cpu else TRIES

    def at(size: int) -> int | None:
        taken = (peak or measured_peak)(_with(config, "data", batch_size=size // world))
        return None if taken is None else taken + buckets

    found = largest_batch(at, batch=batch, step=world, most=most, room=place.room, tries=tries)
    taken, largest = found[batch], fitting(found)
    about = extrapolated(found, step=world, most=most, room=place.room) if on_cpu else largest
    room = f"of {gib(place.room)} GiB of {place.called}"
    lines = [
        f"measured: {gib(taken)} GiB {room}, at the peak of a few steps of every stage and an evaluation"
        if taken is not None
        else f"measured: data.batch_size = {batch} does not fit, {room}"
    ]
    tried = ", ".join(f"{size} takes {'too much' if one is None else gib(one)}" for size, one in sorted(found.items()))
    why = ""
    if about is not None and about + world > most:
        why = " (all that the lists have)"
    elif about != largest:
        why = " (not tried: by a straight line)"
    fits = "no data.batch_size that was tried fits" if about is None else f"largest data.batch_size: {about}{why}"
    lines.append(f"{fits}; tried, in GiB: {tried}")
    if taken is None:
        lines += _changes(ask)
    if about is not None and about != batch:
        lines.append(_rate_for(config, about))
    return lines


def _not_known(ask: Asking, *, most: int) -> list[str]:
    """Estimates alone: there is no GPU here."""
    lines = ["not measured: this machine has no GPU, so that the memory of the trials' GPUs cannot be known here"]
    config, batch, world = ask.config, ask.config.data.batch_size, ask.world
    first, second = step_memories([ask, replace(ask, config=_with(config, "data", batch_size=2 * batch))])
    if first is None or second is None:
        return [*lines, "not estimated either: what a step takes depends on values"]
    each = max(1.0, (second.on("cuda") - first.on("cuda")) / batch)
    told = []
    for card in CARDS:
        more = math.floor((card * GIB - first.on("cuda")) / each / world) * world
        size = min(batch + more, most // world * world)
        told.append(f"{size if size >= world else 'none'} with {card} GiB")
    lines.append(f"largest data.batch_size by estimate: {', '.join(told)}")
    return [*lines, *_changes(ask), _rate_for(config, None)]


def _changes(ask: Asking) -> list[str]:
    """What would make a step smaller, each with what it is estimated to take."""
    config = ask.config
    images, crop = config.data.batch_size // ask.world, config.data.crop
    ways = {"as it is": config}
    if images % (2 * config.optim.accumulate) == 0:
        ways[f"optim.accumulate: {2 * config.optim.accumulate}"] = _with(
            config, "optim", accumulate=2 * config.optim.accumulate
        )
    if config.precision.amp == "off":
        ways["precision.amp: bf16"] = _with(config, "precision", amp="bf16")
    if config.interpixel.alpha > 0 and config.interpixel.resolution == "input":
        ways["interpixel.resolution: stride4"] = _with(config, "interpixel", resolution="stride4")
    if (smaller := crop * 3 // 4 // 16 * 16 + crop % 16) >= 32:
        ways[f"data.crop: {smaller}"] = _with(config, "data", crop=smaller)
    found = step_memories([replace(ask, config=one) for one in ways.values()])
    device = "cpu" if config.precision.device == "cpu" else "cuda"
    told = [f"{way} {gib(one.on(device))}" for way, one in zip(ways, found, strict=True) if one is not None]
    return [f"what to change, in GiB by estimate: {', '.join(told)}"] if told else []


def _rate_for(config: TrainConfig, batch: int | None) -> str:
    """A learning rate for another batch, as a proposal."""
    root = config.optim.name == "adamw"
    rule = "the square root of the batch, for AdamW" if root else "the batch, for SGD"
    if batch is None:
        return f"with another batch a common proposal is optim.lr in proportion to {rule}; nothing is set"
    factor = batch / config.data.batch_size
    rate = config.optim.lr * (math.sqrt(factor) if root else factor)
    return (
        f"for data.batch_size = {batch} a common proposal is optim.lr = {rate:.3g} in the place of "
        f"{config.optim.lr:.3g}, in proportion to {rule}; nothing is set"
    )


def _with(config: TrainConfig, section: str, **values: Any) -> TrainConfig:
    return config.model_copy(update={section: getattr(config, section).model_copy(update=values)})


def gib(size: float) -> str:
    """Bytes as GiB, without the unit."""
    return f"{size / GIB:.1f}" if size < 10 * GIB else f"{size / GIB:.0f}"
