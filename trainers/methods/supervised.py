"""Supervised-only: the lower line that every other method must beat (methods: section 4)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from trainers.common.depends_on import OnlyIf
from trainers.common.section import Section
from trainers.interface.batch import Labelled
from trainers.interface.method import MethodContext, Needs, Stateless
from trainers.interface.step import Pair, Step, StepOutput
from trainers.losses.labelled import LabelledLoss
from trainers.losses.labelled_config import CROSS_ENTROPY, LossConfig
from trainers.methods.unused import CUTMIX, FEATURE_STREAM, IF_PAIRS, NEVER, STRONG_VIEWS, TARGET


class OhemConfig(Section):
    """Online hard example mining for the supervised loss (methods: section 0)."""

    thresh: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Pixels whose true class has at least this probability are easy, and left out."""
    min_kept: Annotated[int, Field(ge=1)] = 200000
    """Pixels kept at least, per process."""


Ohem = Annotated[OhemConfig | None, OnlyIf({"loss.labelled": CROSS_ENTROPY})]
"""A method's key: mine hard pixels in the cross-entropy of labelled images (Cityscapes); none: all of them count."""
PLAIN = LabelledLoss(LossConfig())


class SupervisedConfig(Section):
    """Supervised-only."""

    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = {
        STRONG_VIEWS: IF_PAIRS,
        CUTMIX: NEVER,
        TARGET: NEVER,
        FEATURE_STREAM: NEVER,
    }

    name: Literal["supervised"]
    ohem: Ohem = None
    """Mine hard pixels in the supervised loss (Cityscapes); none: plain cross-entropy."""


def supervised_loss(
    logits: Tensor, labelled: Labelled, step: Step, ohem: OhemConfig | None, *, weights: Tensor | None = None
) -> Tensor:
    """L_x of every method, as the section `loss` has it.

    Args:
        ohem: the method's.
        weights: of the classes (C,), in the place of `loss.class_weights`.
    """
    loss = PLAIN if step.labelled_loss is None else step.labelled_loss
    return loss(logits, labelled.mask, step.denominator, hard=ohem, weights=weights)


class Supervised(Stateless):
    """L = L_x. With the inter-pixel loss attached, an unlabelled batch comes along: its weak view teaches, without
    gradient and in eval mode, and its strong view (without CutMix) learns."""

    def __init__(self, config: SupervisedConfig, context: MethodContext) -> None:
        self.config = config
        self.student = context.student
        self.needs = Needs(unlabelled=context.pairs, strong=1 if context.pairs else 0)

    def losses(self, step: Step) -> StepOutput:
        student, batch = step.student, step.batch
        pairs: tuple[Pair, ...] = ()
        if self.needs.unlabelled:
            assert batch.unlabelled is not None
            view = batch.unlabelled.view
            self.student.eval()
            with torch.no_grad():
                target = self.student(view.weak)
            student.train()
            pairs = (Pair(view="s1", teacher=target, student=student(view.strong[0]), ignore=view.ignore, box=None),)
        student.train()
        logits = student(batch.labelled.image)
        loss = supervised_loss(logits, batch.labelled, step, self.config.ohem)
        return StepOutput(terms={"supervised": loss}, weights={"supervised": 1.0}, pairs=pairs)
