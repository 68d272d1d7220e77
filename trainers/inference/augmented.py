"""Test-time augmentation: the mean of class probabilities over sizes and mirror images of an image."""

from dataclasses import dataclass
from itertools import chain, combinations
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.common.errors import ConfigError
from trainers.inference.model import LoadedModel
from trainers.loop.class_scores import brought_to, class_scores

Flip = Literal["horizontal", "vertical"]
_SIDE: dict[str, int] = {"horizontal": -1, "vertical": -2}


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is averaged over.

    Args:
        scales: of the image's sides, as shares of what the run evaluates at (`evaluation.scale`).
        flips: mirrored left and right, upside down; with both, also both at once.
    """

    scales: tuple[float, ...] = (1.0,)
    flips: tuple[Flip, ...] = ()

    def __post_init__(self) -> None:
        if not self.scales or any(not 0.1 <= scale <= 10 for scale in self.scales):
            raise ConfigError(
                f"--scales {' '.join(map(str, self.scales))}: give factors of 0.1 to 10, such as 0.75 1 1.25"
            )
        if wrong := [one for one in self.flips if one not in get_args(Flip)]:
            raise ConfigError(f"--flip {wrong[0]}: allowed are {', '.join(get_args(Flip))}")

    @property
    def none(self) -> bool:
        """Whether each image is seen once, as it is."""
        return set(self.scales) == {1.0} and not self.flips

    @property
    def views(self) -> int:
        """How often an image goes through the network."""
        return len(set(self.scales)) << len(set(self.flips))


NONE = Augmentation()


@torch.no_grad()
def predicted(
    model: LoadedModel, images: Tensor, augmentation: Augmentation, *, probabilities: bool
) -> tuple[Tensor, Tensor | None]:
    """Classes (B, H, W) int64 of normalised images (B, bands, H, W), and where asked their probabilities (B, C, H, W)
    float32. Without augmentation the classes are those of the run's evaluation, to the bit; with it the largest of the
    mean probabilities, for which those of other sizes are brought back bilinearly."""
    size = images.shape[-2:]
    if augmentation.none:
        scores = class_scores(model.network, images, config=model.config, num_classes=model.num_classes)
        classes = brought_to(scores.max(dim=1).indices, size)
        return classes, _nearest(_shares(model, scores), size) if probabilities else None
    total: Tensor | None = None
    for scale in sorted(set(augmentation.scales)):
        evaluation = model.config.evaluation
        scaled = evaluation.model_copy(update={"scale": evaluation.scale * scale})
        config = model.config.model_copy(update={"evaluation": scaled})
        for sides in _mirrored(augmentation.flips):
            seen = images.flip(sides) if sides else images
            scores = class_scores(model.network, seen, config=config, num_classes=model.num_classes)
            shares = _shares(model, scores)
            if shares.shape[-2:] != size:
                shares = F.interpolate(shares, size=size, mode="bilinear", align_corners=False)
            shares = shares.flip(sides) if sides else shares
            total = shares if total is None else total + shares
    assert total is not None
    return total.max(dim=1).indices, total / augmentation.views if probabilities else None


def _shares(model: LoadedModel, scores: Tensor) -> Tensor:
    """Probabilities of what `class_scores` gives."""
    if model.config.evaluation.mode == "sliding":
        return scores / scores.sum(dim=1, keepdim=True)
    return scores.float().softmax(dim=1)


def _nearest(shares: Tensor, size: torch.Size) -> Tensor:
    """Resize shares by the nearest pixel, as `brought_to` does with classes."""
    if shares.shape[-2:] == size:
        return shares
    return torch.stack([brought_to(one, size) for one in shares.unbind(dim=1)], dim=1)


def _mirrored(flips: tuple[Flip, ...]) -> list[list[int]]:
    """The sides that are turned, for every combination."""
    sides = sorted({_SIDE[one] for one in flips})
    return [list(one) for one in chain.from_iterable(combinations(sides, count) for count in range(len(sides) + 1))]
