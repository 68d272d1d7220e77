"""The contract between a method and the loop. A method turns a mixed batch into named, unweighted loss terms; it
knows no optimiser, epoch, logger or process group."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor, nn

from trainers.batch import SemiBatch

Denominator = Callable[[Tensor], Tensor]
"""Turns this process's count of pixels into the divisor of a sum over them. The loop supplies it: the mean count
over processes (so that averaged gradients equal those of one process with the whole batch), or the count itself
(``optim.denominator: device``). At least 1."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a method asks of the data: no unlabelled stream at all, or weak views plus ``strong`` strong ones."""

    unlabelled: bool
    strong: int = 0


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A soft teacher and a student that saw the same pixels: where the inter-pixel loss attaches.

    ``teacher`` and ``student`` are logits (B, C, H, W), the teacher detached and already CutMix'ed as the
    student's image was; ``ignore`` (B, H, W), 255 = padding. For ``target: per_region``, ``box`` (B, H, W) bool is the
    pasted region, or None where nothing was pasted.
    """

    view: str
    teacher: Tensor
    student: Tensor
    ignore: Tensor
    box: Tensor | None


@dataclass(frozen=True, kw_only=True)
class StepOutput:
    """``terms``: raw scalar losses by name. ``weights``: the method's own weight of each, outer factors included.
    ``pairs``: what the inter-pixel loss may use. ``metrics``: detached scalars for the log."""

    terms: dict[str, Tensor]
    weights: dict[str, float]
    pairs: tuple[Pair, ...] = ()
    metrics: dict[str, Tensor] = field(default_factory=dict)


class Method(Protocol):
    """One semi-supervised method. Constructed by ``registry.build_method`` with its config and the bare student."""

    needs: Needs
    eval_network: str
    """Name of the network in :meth:`networks` whose mIoU is the score: ``student`` or ``teacher``."""

    def losses(self, student: nn.Module, batch: SemiBatch, denominator: Denominator) -> StepOutput:
        """``student`` may be wrapped in DDP; its ``forward(images, dropout=None)`` is the only way in.
        Leaves the student in train mode."""
        ...

    def after_step(self) -> None:
        """Called after every optimiser step, e.g. to move an EMA teacher."""
        ...

    def networks(self) -> dict[str, nn.Module]:
        """Every network that can be evaluated, by name; always has ``student`` (the bare module)."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """All state that is not the student's, so that a resumed run is exact."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None: ...
