"""Supervised-only: the lower line that every other method must beat (methods: section 4)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from trainers.common.depends_on import OnlyIf
from trainers.common.section import Section
from trainers.interface.batch import Labelled
from trainers.interface.method import Denominator, MethodContext, Needs, Pair, Stateless, Step, StepOutput
from trainers.losses.functional import cross_entropy, ohem_cross_entropy
from trainers.methods.unused import CUTMIX, FEATURE_STREAM, IF_PAIRS, NEVER, STRONG_VIEWS, TARGET


class OhemConfig(Section):
    """Online hard example mining for the supervised loss (methods: section 0)."""

    thresh: Annotated[float, Field(gt=0, le=1)] = 0.7
    min_kept: Annotated[int, Field(ge=1)] = 200000
    """Pixels kept at least, per process."""


class SupervisedConfig(Section):
    """Supervised-only."""

    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = {
        STRONG_VIEWS: IF_PAIRS,
        CUTMIX: NEVER,
        TARGET: NEVER,
        FEATURE_STREAM: NEVER,
    }

    name: Literal["supervised"]
    ohem: OhemConfig | None = None
    """Mine hard pixels in the supervised loss (Cityscapes); none: plain cross-entropy."""


def supervised_loss(logits: Tensor, labelled: Labelled, denominator: Denominator, ohem: OhemConfig | None) -> Tensor:
    """L_x of every method: cross-entropy, or OHEM where configured."""
    if ohem is None:
        return cross_entropy(logits, labelled.mask, denominator)
    return ohem_cross_entropy(logits, labelled.mask, denominator, thresh=ohem.thresh, min_kept=ohem.min_kept)


class Supervised(Stateless):
    """L = L_x. With the inter-pixel loss attached, an unlabelled batch comes along: its weak view teaches, without
    gradient and in eval mode, and its strong view (without CutMix) learns."""

    eval_network = "student"

    def __init__(self, config: SupervisedConfig, kit: MethodContext) -> None:
        self.config = config
        self.student = kit.student
        self.needs = Needs(unlabelled=kit.pairs, strong=1 if kit.pairs else 0)

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
        loss = supervised_loss(logits, batch.labelled, step.denominator, self.config.ohem)
        return StepOutput(terms={"supervised": loss}, weights={"supervised": 1.0}, pairs=pairs)

    def networks(self) -> dict[str, nn.Module]:
        return {"student": self.student}
