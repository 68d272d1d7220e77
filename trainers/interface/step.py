"""One step as a method sees it, and what it gives back: named, unweighted loss terms, and where the inter-pixel loss
may attach."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor, nn

from trainers.interface.batch import SemiBatch

Denominator = Callable[[Tensor], Tensor]
"""Turns this process's count of pixels into the divisor of a sum over them. The loop supplies it: the mean count
over processes (so that averaged gradients equal those of one process with the whole batch), or the count itself
(``optim.denominator: device``). At least 1."""


class HardPixels(Protocol):
    """Online hard example mining: pixels whose true class has a probability of at most ``thresh`` count, and the
    ``min_kept`` hardest ones of the process in any case."""

    @property
    def thresh(self) -> float: ...

    @property
    def min_kept(self) -> int: ...


class LabelledLoss(Protocol):
    """The loss of labelled pixels that the config asks for."""

    def __call__(
        self,
        logits: Tensor,
        labels: Tensor,
        denominator: Denominator,
        *,
        hard: HardPixels | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """The loss of a batch.

        Args:
            logits: (B, C, H, W).
            labels: (B, H, W) int64, 255 = ignore.
            denominator: what each sum is divided by, over all processes.
            hard: the method's hard example mining, for cross-entropy.
            weights: of the classes (C,), in the place of the config's.
        """


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the training is: optimiser steps done, in an epoch, and in all. Of a method of several stages: the stage,
    from 0, and the steps within it."""

    step: int
    steps_per_epoch: int
    total_steps: int
    stage: int = 0


OneCrop = Callable[[int, int], tuple[Tensor, Tensor]]


class LabelledCrop(Protocol):
    """See :class:`OnDemandCrops`."""

    def __call__(self, index: int, draw: int, *, scale: tuple[float, float] | None = None) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True, kw_only=True)
class OnDemandCrops:
    """Images that a method asks for by their places in the lists, beside those of its batch. Read when asked, on this
    process, so few a step.

    ``labelled(index, draw)``: a random weak crop (3, H, W) and its mask (H, W); ``scale``: from where to where the
    image is resized, in place of the views' range, and a smaller one than the crop then lies in its middle.
    ``unlabelled(index, draw)``: a crop and what is padding there, 255. Equal arguments give equal crops.
    ``classes()``: the classes that each labelled image's whole mask shows.
    """

    labelled: LabelledCrop
    unlabelled: OneCrop
    classes: Callable[[], Sequence[frozenset[int]]]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step as a method sees it.

    Args:
        student: may be wrapped in DDP; its ``forward`` is the only way in.
        batch: this process's images, on its device.
        denominator: turns counts of pixels into divisors.
        asked: gives further images.
        labelled_loss: None: cross-entropy.
    """

    student: nn.Module
    batch: SemiBatch
    denominator: Denominator
    progress: Progress
    asked: OnDemandCrops | None = None
    labelled_loss: LabelledLoss | None = None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A soft teacher and a student that saw the same pixels: where the inter-pixel loss attaches.

    ``teacher`` and ``student`` are logits (B, C, H, W), the teacher detached and already CutMix'ed as the
    student's image was; ``ignore`` (B, H, W), 255 = padding. For ``target: per_region``, ``box`` (B, H, W) bool is the
    pasted region, or None where nothing was pasted. ``confidence``: the teacher's largest class probability (B, H, W),
    where it is known already.
    """

    view: str
    teacher: Tensor
    student: Tensor
    ignore: Tensor
    box: Tensor | None
    confidence: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class StepOutput:
    """``terms``: raw scalar losses by name. ``weights``: the method's own weight of each, outer factors included.
    ``pairs``: what the inter-pixel loss may use; None while the method has no soft teacher yet. ``metrics``: detached
    scalars for the log."""

    terms: dict[str, Tensor]
    weights: dict[str, float]
    pairs: tuple[Pair, ...] | None = ()
    metrics: dict[str, Tensor] = field(default_factory=dict)
