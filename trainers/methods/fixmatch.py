"""FixMatch for pixels: one strong view (methods: section 3)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from trainers.common.depends_on import Above, OnlyIf
from trainers.interface.method import MethodContext, Needs
from trainers.interface.step import Step, StepOutput
from trainers.losses.functional import pseudo_label_cross_entropy
from trainers.methods.pseudo import PseudoLabelMethod, TeacherConfig, mixed_target, pasted
from trainers.methods.supervised import Ohem, supervised_loss
from trainers.methods.unused import FEATURE_STREAM, IF_BOXES, NEVER, TARGET


class FixMatchConfig(TeacherConfig):
    """FixMatch."""

    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = {TARGET: IF_BOXES, FEATURE_STREAM: NEVER}

    name: Literal["fixmatch"]
    conf_thresh: Annotated[float, Field(ge=0, lt=1), OnlyIf({"unsupervised_weight": Above(0)})] = 0.95
    """Confidence threshold: pseudo-labels below it do not train the student."""
    unsupervised_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the strong view's mean loss beside the labelled one."""
    ohem: Ohem = None
    """Mine hard pixels in the supervised loss (Cityscapes); none: plain cross-entropy."""


class FixMatch(PseudoLabelMethod):
    """L = 1/2 (L_x + w L_s)."""

    needs = Needs(unlabelled=True, strong=1)

    def __init__(self, config: FixMatchConfig, context: MethodContext) -> None:
        super().__init__(config, student=context.student)
        self.config = config
        self.pairs = context.pairs

    def losses(self, step: Step) -> StepOutput:
        student, batch, denominator = step.student, step.batch, step.denominator
        config, unlabelled = self.config, batch.unlabelled
        assert unlabelled is not None
        partner = self.teacher.partner(unlabelled)
        student.train()
        labelled = len(batch.labelled.image)
        clean = student(torch.cat([batch.labelled.image, unlabelled.view.weak]))
        strong = student(pasted(unlabelled, 0))

        own = self.teacher.own(unlabelled, clean[labelled:])
        box = unlabelled.boxes[0]
        target = mixed_target(own, partner, box)
        label, confidence = target.pseudo_labels()
        terms = {
            "supervised": supervised_loss(clean[:labelled], batch.labelled, step, config.ohem),
            "strong1": pseudo_label_cross_entropy(
                strong, label, confidence, target.ignore, denominator, thresh=config.conf_thresh
            ),
        }
        return StepOutput(
            terms=terms,
            weights={"supervised": 0.5, "strong1": 0.5 * config.unsupervised_weight},
            pairs=(target.pair("s1", strong, box),) if self.pairs else (),
            metrics={"mask_ratio": own.mask_ratio(config.conf_thresh)},
        )
