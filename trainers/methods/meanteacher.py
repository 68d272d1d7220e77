"""Mean Teacher: equal class probabilities of student and averaged teacher (methods: section 5)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from trainers.common.depends_on import Above, OnlyIf
from trainers.common.section import Section
from trainers.interface.method import MethodContext, Needs
from trainers.interface.step import Pair, Step, StepOutput
from trainers.losses.functional import probabilities
from trainers.losses.ramps import gaussian_ramp
from trainers.methods.ema import Buffers, EmaTeacher
from trainers.methods.supervised import Ohem, supervised_loss
from trainers.methods.teacher import EmaMethod
from trainers.methods.unused import CUTMIX, FEATURE_STREAM, NEVER, STRONG_VIEWS, TARGET


class MeanTeacherConfig(Section):
    """Mean Teacher."""

    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = {
        STRONG_VIEWS: NEVER,
        CUTMIX: NEVER,
        TARGET: NEVER,
        FEATURE_STREAM: NEVER,
    }

    name: Literal["meanteacher"]
    consistency_weight: Annotated[float, Field(ge=0)] = 100.0
    """Weight w of the mean squared difference. That is a mean over classes too, so w depends on their number."""
    ramp_epochs: Annotated[float, Field(ge=0), OnlyIf({"consistency_weight": Above(0)})] = 5.0
    """Epochs until w has its full size, along the Gaussian ramp."""
    ema_decay: Annotated[
        float, Field(ge=0, lt=1), OnlyIf({"consistency_weight": Above(0)}, {"interpixel.alpha": Above(0)})
    ] = 0.99
    """Largest decay of the teacher's average."""
    ema_buffers: Annotated[Buffers, OnlyIf({"consistency_weight": Above(0)}, {"interpixel.alpha": Above(0)})] = "own"
    """Batch-norm statistics of the teacher: its own, averaged like the weights, or copied."""
    ohem: Ohem = None
    """Mine hard pixels in the supervised loss (Cityscapes); none: plain cross-entropy."""


class MeanTeacher(EmaMethod):
    """L = L_x + w r(it) mean over batch, classes and pixels of (softmax q - softmax p)^2, labelled and unlabelled
    images alike; student and teacher see the same weak views. The inter-pixel loss takes the unlabelled half."""

    needs = Needs(unlabelled=True)

    def __init__(self, config: MeanTeacherConfig, context: MethodContext) -> None:
        super().__init__(
            context.student, EmaTeacher(context.student, decay=config.ema_decay, buffers=config.ema_buffers)
        )
        self.config = config
        self.pairs = context.pairs

    def losses(self, step: Step) -> StepOutput:
        config, labelled, unlabelled = self.config, step.batch.labelled, step.batch.unlabelled
        assert unlabelled is not None
        images = torch.cat([labelled.image, unlabelled.view.weak])
        count = len(labelled.image)
        target = self.teacher(images)
        step.student.train()
        logits = step.student(images)
        apart = (probabilities(logits) - probabilities(target)).square().mean(dim=1)
        pixels = torch.full((), apart.numel(), device=apart.device)
        pair = Pair(
            view="weak",
            teacher=target[count:],
            student=logits[count:],
            ignore=unlabelled.view.ignore,
            box=None,
        )
        progress = step.progress
        ramp = gaussian_ramp(progress.step, length=config.ramp_epochs * progress.steps_per_epoch)
        return StepOutput(
            terms={
                "supervised": supervised_loss(logits[:count], labelled, step, config.ohem),
                "consistency": apart.sum() / step.denominator(pixels),
            },
            weights={"supervised": 1.0, "consistency": config.consistency_weight * ramp},
            pairs=(pair,) if self.pairs else (),
        )
