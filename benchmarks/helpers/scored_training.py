"""One training on `digits`, kept as counts: for every held-out scene and class, what was predicted right and wrong.

From these counts any score can be computed later: on fewer scenes, of other weights, as a mean over evaluations. The
scenes are made of scans that no training image shows.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainers.config import TrainConfig
from trainers.data.digits import CLASSES
from trainers.data.evaluation import eval_batches
from trainers.data.layout import Item, Layout, cache_folder, plain_columns
from trainers.data.lists import read_split
from trainers.data.read import Reader
from trainers.data.scenes import LISTS, Scenes, cached_scenes
from trainers.loop.evaluate import confusion_matrix
from trainers.loop.fit import numerics
from trainers.loop.run import Run

SCENES = 500
DECAYS = (0.97, 0.99)
"""Of the averaged weights: the last 33 and 100 steps, roughly."""
LAST = 3
"""Evaluations whose mean may be the score: after the last epoch and the two before it."""

Counts = NDArray[np.int32]
"""(3, scenes, classes): pixels right, pixels of the class, pixels called the class."""


class Averaged:
    """Exponential moving averages of a network's weights and batch-norm statistics, one for each decay. The decay is
    smaller in the first steps, as in a mean of all weights so far."""

    def __init__(self, decays: tuple[float, ...]) -> None:
        self._states: dict[float, dict[str, Tensor]] = {decay: {} for decay in decays}
        self._steps = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """After an optimiser step."""
        self._steps += 1
        for decay, state in self._states.items():
            now = min(decay, 1 - 1 / self._steps)
            for name, value in network.state_dict().items():
                if name not in state or not value.is_floating_point():
                    state[name] = value.clone()
                else:
                    state[name].lerp_(value, 1 - now)

    def states(self) -> Mapping[float, dict[str, Tensor]]:
        """The averaged weights by decay."""
        return self._states


def train_and_count(config: TrainConfig, file: Path, *, scenes: int = SCENES) -> None:
    """Train ``config`` and write the counts of its network after each of the last epochs (`last0` the latest), and of
    its averaged weights (`ema0.99`), as ``file`` (.npz)."""
    items = held_out_scenes(scenes)
    found: dict[str, Counts] = {}
    with numerics(config.precision):
        run = Run(config, file.parent / f".{file.stem}")
        averaged = Averaged(DECAYS)
        network = run.method.networks()[run.method.eval_network]
        try:
            for epoch in range(config.schedule.epochs):
                run.train_epoch(epoch, lambda _step, _total: averaged.update(network))
                run.method.after_epoch(None)
                if (left := config.schedule.epochs - 1 - epoch) < LAST:
                    found[f"last{left}"] = count(network, items)
            for decay, state in averaged.states().items():
                network.load_state_dict(state)
                found[f"ema{decay:g}"] = count(network, items)
        finally:
            run.close()
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.npz")
    np.savez_compressed(temporary, allow_pickle=False, **found)
    temporary.replace(file)


def held_out_scenes(scenes: int) -> tuple[Item, ...]:
    """Scenes of scans that are held out for validation."""
    root = cached_scenes(cache_folder(), seed=0, scenes=Scenes(val=scenes))
    layout = Layout(root=root, classes=CLASSES, resolve=plain_columns, version=root.name)
    return read_split(root / LISTS["val"], layout, labelled=True)


@torch.no_grad()
def count(network: nn.Module, items: tuple[Item, ...]) -> Counts:
    """What a network gets right on each scene. It is left in eval mode."""
    network.eval()
    rows: list[Tensor] = []
    for images, masks in eval_batches(items, reader=Reader(num_classes=len(CLASSES)), device=torch.device("cpu")):
        predicted = network(images).argmax(dim=1)
        for one, mask in zip(predicted, masks, strict=True):
            matrix = confusion_matrix(one[None], mask[None], len(CLASSES))
            rows.append(torch.stack([matrix.diagonal(), matrix.sum(dim=1), matrix.sum(dim=0)]))
    return torch.stack(rows, dim=1).numpy().astype(np.int32)


def miou(counts: Counts, scenes: NDArray[np.int64] | slice = slice(None)) -> float:
    """Mean intersection over union in %, over the classes that occur."""
    right, real, called = counts[:, scenes].sum(axis=1, dtype=np.int64)
    union = real + called - right
    return 100 * float(np.mean(right[union > 0] / union[union > 0]))
