"""ClassMix: pixels of half of an image's classes are pasted onto its neighbour (methods: section 7)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from trainers.common.depends_on import Above, OnlyIf
from trainers.common.section import Section
from trainers.data.views import neighbour
from trainers.interface.batch import SemiBatch
from trainers.interface.labels import IGNORE
from trainers.interface.method import MethodContext, Needs
from trainers.interface.step import Step, StepOutput
from trainers.losses.functional import pixel_nll, probabilities
from trainers.methods.ema import Buffers, EmaTeacher
from trainers.methods.mixing import chosen_classes
from trainers.methods.pseudo import Target
from trainers.methods.supervised import Ohem, supervised_loss
from trainers.methods.teacher import EmaMethod
from trainers.methods.unused import CUTMIX, FEATURE_STREAM, NEVER


class ClassMixConfig(Section):
    """ClassMix."""

    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = {CUTMIX: NEVER, FEATURE_STREAM: NEVER}

    name: Literal["classmix"]
    consistency_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the unlabelled images' loss beside the labelled one."""
    conf_thresh: Annotated[float, Field(ge=0, lt=1), OnlyIf({"consistency_weight": Above(0)})] = 0.968
    """Confidence threshold of the teacher."""
    confidence: Annotated[Literal["mean", "per_pixel"], OnlyIf({"consistency_weight": Above(0)})] = "mean"
    """`mean`: every pixel counts by the share of confident pixels in the batch; `per_pixel`: confident ones count."""
    class_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the classes in an image's prediction that are pasted, rounded down."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Largest decay of the teacher's average."""
    ema_buffers: Buffers = "own"
    """Batch-norm statistics of the teacher: its own, averaged like the weights, or copied."""
    ohem: Ohem = None
    """Mine hard pixels in the supervised loss (Cityscapes); none: plain cross-entropy."""


class ClassMix(EmaMethod):
    """L = L_x + w mean over all pixels of kappa CE(student on the mixed strong image, argmax of the mixed teacher),
    with kappa the share of mixed pixels, of all processes, whose confidence reaches the threshold.

    Image 2k is mixed with 2k + 1 and the other way round, so that the mixture does not depend on the number of
    processes. Where an image shows one class nothing of it is pasted, and the neighbour is seen as it is. Padding
    counts in the mean with 0.
    """

    needs = Needs(unlabelled=True, strong=1, boxes=0)

    def __init__(self, config: ClassMixConfig, context: MethodContext) -> None:
        super().__init__(
            context.student, EmaTeacher(context.student, decay=config.ema_decay, buffers=config.ema_buffers)
        )
        self.config = config
        self.classes = context.num_classes
        self.pairs, self.total = context.pairs, context.total

    def losses(self, step: Step) -> StepOutput:
        config, labelled, unlabelled = self.config, step.batch.labelled, step.batch.unlabelled
        assert unlabelled is not None
        view = unlabelled.view
        own = Target(logits=self.teacher(view.weak), ignore=view.ignore)
        chosen = self.chosen_classes(step.batch, own.logits.argmax(dim=1))
        others = ~chosen
        target = own.mixed(others, Target(logits=neighbour(own.logits), ignore=neighbour(own.ignore)))
        images = torch.where(chosen[:, None], view.strong[0], neighbour(view.strong[0]))
        step.student.train()
        clean, strong = step.student(labelled.image), step.student(images)
        confidence, label = probabilities(target.logits).max(dim=1)
        pixels = torch.full((), label.numel(), device=label.device)
        confident = confidence >= config.conf_thresh
        share = self.total(confident.sum().double()) / self.total(pixels.double())
        nll = pixel_nll(strong, torch.where(target.ignore == IGNORE, target.ignore, label))
        kappa = confident.to(nll.dtype) if config.confidence == "per_pixel" else share.to(nll.dtype)
        return StepOutput(
            terms={
                "supervised": supervised_loss(clean, labelled, step, config.ohem),
                "consistency": (kappa * nll).sum() / step.denominator(pixels),
            },
            weights={"supervised": 1.0, "consistency": config.consistency_weight},
            pairs=(target.pair("s1", strong, others),) if self.pairs else (),
            metrics={"mask_ratio": share},
        )

    def chosen_classes(self, batch: SemiBatch, prediction: Tensor) -> Tensor:
        """Where the pixels of the drawn classes are, (B, H, W) bool.

        Args:
            prediction: the teacher's classes (B, H, W).
        """
        return chosen_classes(batch, prediction, num_classes=self.classes, fraction=self.config.class_fraction)
