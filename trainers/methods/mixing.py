"""Draws that several methods make for their images, each from a generator of the step's seed and the image's place in
the global batch, so that they do not depend on the number of processes."""

import numpy as np
import torch
from torch import Tensor

from trainers.common.transfer import to_device
from trainers.interface.batch import SemiBatch
from trainers.interface.labels import IGNORE
from trainers.losses.functional import class_sizes

WORDS = 2**32


def image_generators(batch: SemiBatch, stream: int, *, count: int | None = None) -> list[np.random.Generator]:
    """One for each of this process's unlabelled images.

    Args:
        stream: tells the draws of one method apart; another stream gives other draws.
        count: of these images; None: as many as there are labelled ones.
    """
    return [np.random.default_rng([*divmod(batch.seed, WORDS), stream, place]) for place in _places(batch, count)]


@torch.compiler.disable  # type: ignore[untyped-decorator]
def noise(batch: SemiBatch, like: Tensor, stream: int) -> Tensor:
    """Standard normal numbers of the shape and type of ``like`` (B, ...), on its device."""
    drawn = []
    for place in _places(batch, None):
        generator = torch.Generator(like.device)
        generator.manual_seed(
            int(np.random.SeedSequence([*divmod(batch.seed, WORDS), stream, place]).generate_state(1)[0])
        )
        drawn.append(torch.randn(like.shape[1:], generator=generator, device=like.device, dtype=like.dtype))
    return torch.stack(drawn)


def _places(batch: SemiBatch, count: int | None) -> range:
    count = len(batch.labelled.image) if count is None else count
    return range(batch.rank * count, (batch.rank + 1) * count)


def centred_box(rng: np.random.Generator, size: tuple[int, int], *, share: float) -> Tensor:
    """A box (H, W) bool, True inside: ``share`` of either side of the image long, round a pixel drawn evenly, cut off
    at the image's border."""
    box = torch.zeros(size, dtype=torch.bool)
    spans = []
    for side in size:
        centre, length = int(rng.integers(side)), int(side * share)
        first = centre - length // 2
        spans.append(slice(max(first, 0), max(first + length, 0)))
    box[spans[0], spans[1]] = True
    return box


def half_box(rng: np.random.Generator, size: tuple[int, int]) -> Tensor:
    """A box (H, W) bool within the image, True inside, of half of its area; its height's share of the image's is
    drawn log-uniformly from 1/2 to 1."""
    share = 0.5 ** rng.random()
    box = torch.zeros(size, dtype=torch.bool)
    spans = []
    for side, part in zip(size, (share, 0.5 / share), strict=True):
        length = round(side * part)
        first = int(rng.integers(side - length + 1))
        spans.append(slice(first, first + length))
    box[spans[0], spans[1]] = True
    return box


def chosen_classes(
    batch: SemiBatch,
    prediction: Tensor,
    *,
    num_classes: int,
    fraction: float,
    more: int = 0,
    last: int | None = None,
    stream: int = 0,
) -> Tensor:
    """Where the pixels are of the classes that are drawn for each image, (B, H, W) bool: ``fraction``, rounded down, of
    those that ``prediction`` (B, H, W) shows there, and ``more``; 255 is none of them.

    Args:
        last: a class that takes part only where the image shows no other.
    """
    count = len(prediction)
    generator = torch.Generator().manual_seed(batch.seed + (stream << 48))
    order = torch.rand(batch.world * count, num_classes, generator=generator)[batch.rank * count :][:count]
    shown = prediction != IGNORE
    label = torch.where(shown, prediction, torch.zeros_like(prediction)).flatten(1)
    present = class_sizes(prediction, num_classes) > 0
    if last is not None:
        present[:, last] &= present.sum(dim=1) == 1
    wanted = (present.sum(dim=1) * fraction).floor() + more
    order = to_device(order, prediction.device)
    place = torch.where(present, order, torch.inf).argsort(dim=1).argsort(dim=1)
    drawn = present & (place < wanted[:, None])
    return drawn.gather(1, label).view_as(prediction) & shown


def dropped_channels(batch: SemiBatch, channels: int, *, probability: float, stream: int) -> Tensor:
    """Multipliers (B, channels) for this process's images: 0 with ``probability``, else 1 / (1 - probability)."""
    kept = [rng.random(channels) >= probability for rng in image_generators(batch, stream)]
    return torch.from_numpy(np.stack(kept) / (1 - probability))


def drawn_images(batch: SemiBatch, *, probability: float, stream: int) -> Tensor:
    """Which of this process's images are changed, (B,) bool, each with ``probability``."""
    return torch.tensor([bool(rng.random() < probability) for rng in image_generators(batch, stream)])
