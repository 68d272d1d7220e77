"""UniMatch: two strong image views and a feature-dropout view (methods: section 2)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from trainers.common.depends_on import Above, OnlyIf
from trainers.common.transfer import to_device
from trainers.interface.batch import SemiBatch
from trainers.interface.method import MethodContext, Needs
from trainers.interface.step import Step, StepOutput
from trainers.losses.functional import pseudo_label_cross_entropy
from trainers.methods.pseudo import PseudoLabelMethod, Target, TeacherConfig, mixed_target, pasted
from trainers.methods.supervised import Ohem, supervised_loss
from trainers.methods.unused import IF_BOXES, TARGET
from trainers.models.interface import SegmentationModel

Weight = Annotated[float, Field(ge=0)]


class UniMatchConfig(TeacherConfig):
    """UniMatch. Weights are those inside the outer 1/2 of its loss."""

    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = {TARGET: IF_BOXES}

    name: Literal["unimatch"]
    conf_thresh: Annotated[
        float,
        Field(ge=0, lt=1),
        OnlyIf({"strong1_weight": Above(0)}, {"strong2_weight": Above(0)}, {"feature_weight": Above(0)}),
    ] = 0.95
    """Confidence threshold: pseudo-labels below it do not train the student."""
    strong1_weight: Weight = 0.25
    """Weight of the first strong view's mean loss."""
    strong2_weight: Weight = 0.25
    """Weight of the second strong view's mean loss."""
    feature_weight: Weight = 0.5
    """Weight of the feature-dropout stream."""
    feature_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Probability that a channel is dropped in the feature-dropout stream."""
    ohem: Ohem = None
    """Mine hard pixels in the supervised loss (Cityscapes); none: plain cross-entropy."""


class UniMatch(PseudoLabelMethod):
    """L = 1/2 (L_x + w1 L_s1 + w2 L_s2 + w_fp L_fp)."""

    needs = Needs(unlabelled=True, strong=2)

    def __init__(self, config: UniMatchConfig, context: MethodContext) -> None:
        super().__init__(config, student=context.student)
        self.config = config
        self.stream_channels = cast(SegmentationModel, context.student).stream_channels
        self.pairs = context.pairs
        self.feature_pairs = context.feature_pairs

    def losses(self, step: Step) -> StepOutput:
        student, batch, denominator = step.student, step.batch, step.denominator
        config, unlabelled = self.config, batch.unlabelled
        assert unlabelled is not None
        partner = self.teacher.partner(unlabelled)
        student.train()
        labelled = len(batch.labelled.image)
        clean, dropped = student(torch.cat([batch.labelled.image, unlabelled.view.weak]), dropout=self._dropout(batch))
        feature = dropped[labelled:]
        strong = student(torch.cat([pasted(unlabelled, 0), pasted(unlabelled, 1)])).chunk(2)

        own = self.teacher.own(unlabelled, clean[labelled:])
        targets = [mixed_target(own, partner, box) for box in unlabelled.boxes]

        def consistency(logits: Tensor, target: Target) -> Tensor:
            label, confidence = target.pseudo_labels()
            return pseudo_label_cross_entropy(
                logits, label, confidence, target.ignore, denominator, thresh=config.conf_thresh
            )

        pairs = []
        if self.pairs:
            pairs = [
                target.pair(view, logits, box)
                for view, target, logits, box in zip(("s1", "s2"), targets, strong, unlabelled.boxes, strict=True)
            ]
            if self.feature_pairs:
                pairs.append(own.pair("fp", feature, None))
        return StepOutput(
            terms={
                "supervised": supervised_loss(clean[:labelled], batch.labelled, step, config.ohem),
                "strong1": consistency(strong[0], targets[0]),
                "strong2": consistency(strong[1], targets[1]),
                "feature": consistency(feature, own),
            },
            weights={
                "supervised": 0.5,
                "strong1": 0.5 * config.strong1_weight,
                "strong2": 0.5 * config.strong2_weight,
                "feature": 0.5 * config.feature_weight,
            },
            pairs=tuple(pairs),
            metrics={"mask_ratio": own.mask_ratio(config.conf_thresh)},
        )

    def _dropout(self, batch: SemiBatch) -> tuple[Tensor, ...]:
        """Channel multipliers for this process's labelled and unlabelled images, cut from a draw for the whole global
        batch, so that they do not depend on the number of processes."""
        per_process = len(batch.labelled.image)
        generator = torch.Generator().manual_seed(batch.seed)
        keep = 1 - self.config.feature_dropout
        mine = slice(batch.rank * per_process, (batch.rank + 1) * per_process)
        device = batch.labelled.image.device

        def draw(channels: int) -> Tensor:
            kept = torch.rand(2, batch.world * per_process, channels, 1, 1, generator=generator) < keep
            return to_device((kept.float() / keep)[:, mine].flatten(0, 1), device)

        return tuple(draw(channels) for channels in self.stream_channels)
