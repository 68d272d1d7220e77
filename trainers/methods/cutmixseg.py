"""CutMix-Seg: equal class probabilities on mixed images (methods: section 6)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from trainers.common.depends_on import Above, OnlyIf
from trainers.common.section import Section
from trainers.interface.labels import IGNORE
from trainers.interface.method import MethodContext, Needs
from trainers.interface.step import Step, StepOutput
from trainers.losses.functional import probabilities
from trainers.methods.ema import Buffers, EmaTeacher
from trainers.methods.pseudo import Target, mixed_target, pasted
from trainers.methods.supervised import Ohem, supervised_loss
from trainers.methods.teacher import EmaMethod
from trainers.methods.unused import FEATURE_STREAM, IF_BOXES, NEVER, TARGET


class CutMixSegConfig(Section):
    """CutMix-Seg. Its box: `views.cutmix_p: 1`, `views.cutmix_area_min` and `_max: 0.5`."""

    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = {TARGET: IF_BOXES, FEATURE_STREAM: NEVER}

    name: Literal["cutmixseg"]
    consistency_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the unlabelled images' loss beside the labelled one."""
    conf_thresh: Annotated[float, Field(ge=0, lt=1), OnlyIf({"consistency_weight": Above(0)})] = 0.97
    """Confidence threshold of the teacher."""
    confidence: Annotated[Literal["mean", "per_pixel"], OnlyIf({"consistency_weight": Above(0)})] = "mean"
    """`mean`: every pixel counts by the share of confident pixels in the batch; `per_pixel`: confident ones count."""
    over_classes: Annotated[Literal["sum", "mean"], OnlyIf({"consistency_weight": Above(0)})] = "sum"
    """The squared difference is summed over classes, or averaged (PixelSSL)."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay of the teacher's average, from the first step on."""
    ema_buffers: Buffers = "ema"
    """Batch-norm statistics of the teacher: its own, averaged like the weights, or copied. Whichever they are, it
    normalises by its batch in training."""
    ohem: Ohem = None
    """Mine hard pixels in the supervised loss (Cityscapes); none: plain cross-entropy."""


class CutMixSeg(EmaMethod):
    """L = L_x + w mean over all pixels of valid kappa sum_c (Q - P)^2, with P the softmax of the teacher's logits,
    mixed as the student's strong images are, and kappa the share of pixels with max_c P >= threshold, of all
    processes. Padding counts in the mean with 0. The teacher is evaluated."""

    needs = Needs(unlabelled=True, strong=1)
    eval_network = "teacher"

    def __init__(self, config: CutMixSegConfig, context: MethodContext) -> None:
        teacher = EmaTeacher(
            context.student, decay=config.ema_decay, buffers=config.ema_buffers, warm_up=False, batch_statistics=True
        )
        super().__init__(context.student, teacher)
        self.config = config
        self.pairs, self.total = context.pairs, context.total

    def losses(self, step: Step) -> StepOutput:
        config, labelled, unlabelled = self.config, step.batch.labelled, step.batch.unlabelled
        assert unlabelled is not None
        view, partner = unlabelled.view, unlabelled.partner
        box = unlabelled.boxes[0]
        own = Target(logits=self.teacher(view.weak), ignore=view.ignore)
        other = None if partner is None else Target(logits=self.teacher(partner.weak), ignore=partner.ignore)
        target = mixed_target(own, other, box)
        step.student.train()
        clean, strong = step.student(labelled.image), step.student(pasted(unlabelled, 0))
        p, valid = probabilities(target.logits), target.ignore != IGNORE
        pixels = torch.full((), valid.numel(), device=valid.device)
        confident = p.amax(dim=1) >= config.conf_thresh
        share = self.total(confident.sum().double()) / self.total(pixels.double())
        kappa = confident.to(p.dtype) if config.confidence == "per_pixel" else share.to(p.dtype)
        squares = (probabilities(strong) - p).square()
        apart = squares.sum(dim=1) if config.over_classes == "sum" else squares.mean(dim=1)
        return StepOutput(
            terms={
                "supervised": supervised_loss(clean, labelled, step, config.ohem),
                "consistency": (apart * valid * kappa).sum() / step.denominator(pixels),
            },
            weights={"supervised": 1.0, "consistency": config.consistency_weight},
            pairs=(target.pair("s1", strong, box),) if self.pairs else (),
            metrics={"mask_ratio": share},
        )
