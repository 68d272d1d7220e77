"""The contract between a method and the loop. A method turns a mixed batch into named, unweighted loss terms; it
knows no optimiser, epoch, logger or process group."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from trainers.interface.step import Step, StepOutput


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a method asks of the data: no unlabelled stream at all, or weak views plus ``strong`` strong ones, with
    CutMix boxes for ``boxes`` mixed images (where it is not given, one for each strong view). ``labelled_strong``:
    strong versions of the labelled crops. ``presence``: which classes every unlabelled image shows, from its mask.
    ``overlap``: a second crop of every unlabelled image whose intersection over union with the first is this or more.
    ``labelled_batches``, ``unlabelled_batches``: labelled and unlabelled images of a step, in multiples of
    `data.batch_size`. ``epoch_images``: images, labelled and unlabelled together, that make an epoch of this stage;
    None: an epoch is as long as `schedule` says. ``pseudo_planes``: numbers that a stored pseudo-label has for every
    pixel."""

    unlabelled: bool
    strong: int = 0
    boxes: int | None = None
    labelled_strong: int = 0
    presence: bool = False
    overlap: float | None = None
    labelled_batches: int = 1
    unlabelled_batches: int = 1
    pseudo_planes: int = 1
    epoch_images: int | None = None

    @property
    def mixed(self) -> int:
        """Images that are mixed, each with a box of its own."""
        return self.strong if self.boxes is None else self.boxes


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One of the trainings that a method is made of, each with a fresh optimiser and a schedule of its own.

    Args:
        share: its part of `schedule.epochs`, rounded to whole epochs and at least one.
        needs: what it asks of the data.
        fresh: the student begins it with fresh weights; False: with those that the stage before left.
    """

    share: float
    needs: Needs
    fresh: bool = True


UnlabelledImages = Callable[[Sequence[int]], Iterator[tuple[int, Tensor]]]
"""Whole unlabelled images, by their places in the list: gives this process's share of those that are asked for, each
with its place, as (1, bands, H, W) float32, normalised, on the device. One that cannot be decoded is left out where
`data.on_corrupt` allows it."""


@dataclass(frozen=True, kw_only=True)
class AuxiliaryModule:
    """A module that is trained beside the student, by an optimiser of its own.

    Args:
        in_ddp: it trains through what :attr:`Kit.in_ddp` gave for it, and there only, so that DDP averages its
            gradients over processes while the backward pass goes on. That asks for one ``forward`` as the only way in,
            which uses the same parameters on every process and at every call. False: its gradients are averaged after
            the backward pass, so that it may be called as it is, by whatever processes, classes and steps need it.
        backbone: the part of it that trains at ``optim.lr``; all else, or all where None, trains at the head's rate.
        adam_lr: given, all of it trains by Adam at this rate instead, which falls as the others do.
        adam_betas: Adam's, then.
        sgd_lr: given, all of it trains by SGD at this rate instead, with the momentum and decay of the config.
    """

    module: nn.Module
    backbone: nn.Module | None = None
    adam_lr: float | None = None
    adam_betas: tuple[float, float] = (0.9, 0.999)
    sgd_lr: float | None = None
    in_ddp: bool = False


def alone(summand: Tensor) -> Tensor:
    """The sum over processes where there is one."""
    return summand


def bare(module: nn.Module) -> nn.Module:
    """A module as training calls it where there is one process."""
    return module


def own_rows(rows: Tensor, counts: Sequence[int] | None = None) -> Tensor:
    """The rows of all processes where there is one."""
    return rows.detach()


class Gather(Protocol):
    """See :class:`MethodContext`."""

    def __call__(self, rows: Tensor, counts: Sequence[int] | None = None) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class MethodContext:
    """What a method is built from.

    Args:
        student: the bare network that is trained and, as a rule, evaluated.
        num_classes: C.
        peer: makes another network of the student's kind, initialised otherwise.
        place: brings a module of the method's own to the device, its batch norm over all processes.
        seed: of the weights of modules of the method's own.
        labelled: images in the labelled list.
        unlabelled: images in the unlabelled list.
        batch_size: labelled images of a step, over all processes; as many unlabelled ones.
        in_ddp: a module as training calls it: in DDP where there are several processes. See :class:`AuxiliaryModule`.
        total: sums a tensor over processes, with gradient.
        gather: rows of all processes below one another, by rank, without gradient; their numbers may differ. Where
            ``counts`` says how many each process has, the host waits for nothing.
        pairs: whether the inter-pixel loss is attached; without it no pairs are wanted.
        feature_pairs: whether it wants the feature-dropout stream too.
    """

    student: nn.Module
    num_classes: int
    peer: Callable[[], nn.Module]
    place: Callable[[nn.Module], nn.Module]
    pairs: bool
    feature_pairs: bool
    seed: int = 0
    labelled: int = 1
    unlabelled: int = 1
    batch_size: int = 1
    in_ddp: Callable[[nn.Module], nn.Module] = bare
    total: Callable[[Tensor], Tensor] = alone
    gather: Gather = own_rows

    def build(self, make: Callable[[], nn.Module]) -> nn.Module:
        """A module of the method's own, its weights drawn from the run's seed, in its place."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            module = make()
        return self.place(module)


class Method(Protocol):
    """One semi-supervised method. Constructed by ``registry.build_method`` with its config and a
    :class:`MethodContext`."""

    needs: Needs
    eval_network: str
    """Name of the network in :meth:`networks` whose mIoU is the score."""

    def losses(self, step: Step) -> StepOutput:
        """Leaves the student in train mode."""
        ...

    def after_step(self) -> None:
        """Called after every optimiser step, e.g. to move an EMA teacher."""
        ...

    def stages(self) -> tuple[Stage, ...]:
        """The trainings that it is made of, in order; one, as a rule."""
        ...

    def begin(self, stage: int, images: UnlabelledImages) -> None:
        """Called on every process before stage 1, 2, ... begins, the networks still as the last stage left them. Then
        the loop gives the student fresh weights, where the stage wants them, and all that is trained a fresh
        optimiser."""
        ...

    def pseudo_masks(self) -> Mapping[int, bytes] | None:
        """Stored pseudo-masks, PNG files by their image's place in the unlabelled list, of one plane or of as many as
        the stage's needs say (`trainers.data.read.planes_to_png`): the stage trains on these images alone. None: on
        all, without masks."""
        ...

    def after_epoch(self, score: float | None) -> None:
        """Called on every process after an epoch, with the score on held-out images where there was one."""
        ...

    def networks(self) -> dict[str, nn.Module]:
        """Every network that can be evaluated, by name; always has ``student`` (the bare module)."""
        ...

    def trained(self) -> dict[str, AuxiliaryModule]:
        """What is trained beside the student, by name; the loop keeps its state and its optimisers'."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """All other state, so that a resumed run is exact."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None: ...


class Stateless:
    """For a method that is nothing but its losses, or part of it: each line that is not its own. Its student is what
    is evaluated and scored."""

    needs: Needs
    student: nn.Module
    eval_network: str = "student"

    def stages(self) -> tuple[Stage, ...]:
        return (Stage(share=1.0, needs=self.needs),)

    def begin(self, stage: int, images: UnlabelledImages) -> None:
        """There is one stage."""

    def pseudo_masks(self) -> Mapping[int, bytes] | None:
        return None

    def after_epoch(self, score: float | None) -> None:
        """Nothing depends on it."""

    def after_step(self) -> None:
        """Nothing moves but the student."""

    def networks(self) -> dict[str, nn.Module]:
        return {"student": self.student}

    def trained(self) -> dict[str, AuxiliaryModule]:
        return {}

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """There is no state."""
