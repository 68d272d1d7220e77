"""UniMatch V2: an averaged teacher, and two strong views that lose complementary channels (methods: section 23)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from trainers.common.depends_on import Above, OnlyIf
from trainers.common.section import Section
from trainers.common.transfer import to_device
from trainers.interface.batch import SemiBatch
from trainers.interface.method import MethodContext, Needs
from trainers.interface.step import Step, StepOutput
from trainers.losses.functional import pseudo_label_cross_entropy
from trainers.methods.ema import EmaTeacher
from trainers.methods.pseudo import Target, mixed_target, pasted
from trainers.methods.supervised import Ohem, supervised_loss
from trainers.methods.teacher import EmaMethod
from trainers.methods.unused import FEATURE_STREAM, IF_BOXES, NEVER, TARGET
from trainers.models.interface import SegmentationModel

IF_COMPLEMENTARY = OnlyIf({"complementary_dropout": True})


class UniMatchV2Config(Section):
    """UniMatch V2. Its partner is another image of the batch: `views.cutmix_partner: batch`."""

    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = {TARGET: IF_BOXES, FEATURE_STREAM: NEVER}

    name: Literal["unimatch_v2"]
    conf_thresh: Annotated[float, Field(ge=0, lt=1), OnlyIf({"unsupervised_weight": Above(0)})] = 0.95
    """Confidence threshold: pseudo-labels below it do not train the student."""
    unsupervised_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the strong views' mean loss beside the labelled one; inside the outer 1/2."""
    strong_views: Literal[1, 2] = 2
    """Strong views of each crop; 1 is FixMatch with an averaged teacher."""
    complementary_dropout: Annotated[bool, OnlyIf({"strong_views": 2})] = True
    """Each channel of the encoder's features is dropped in one of the two views, and in the other one kept and made up
    for."""
    dropout: Annotated[float, Field(gt=0, lt=1), IF_COMPLEMENTARY] = 0.5
    """Probability that it is the first view that loses a channel."""
    clean_share: Annotated[float, Field(ge=0, le=1), IF_COMPLEMENTARY] = 0.5
    """Share of the images, rounded down, whose views both keep all channels."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.996
    """Largest decay of the teacher's average, of weights and batch-norm statistics."""
    ohem: Ohem = None
    """Mine hard pixels in the supervised loss (Cityscapes); none: plain cross-entropy."""


class UniMatchV2(EmaMethod):
    """L = 1/2 (L_x + w mean_v L_v) over the strong views v. L_v is the cross-entropy against the teacher's classes,
    mixed as the view is, where it is confident, divided by all pixels without padding. The teacher is in eval mode, and
    is evaluated."""

    eval_network = "teacher"

    def __init__(self, config: UniMatchV2Config, context: MethodContext) -> None:
        super().__init__(context.student, EmaTeacher(context.student, decay=config.ema_decay, buffers="ema"))
        self.config = config
        self.needs = Needs(unlabelled=True, strong=config.strong_views)
        self.stream_channels = cast(SegmentationModel, context.student).stream_channels
        self.pairs = context.pairs

    def losses(self, step: Step) -> StepOutput:
        config, batch, denominator, unlabelled = self.config, step.batch, step.denominator, step.batch.unlabelled
        assert unlabelled is not None
        view, partner = unlabelled.view, unlabelled.partner
        own = Target(logits=self.teacher(view.weak), ignore=view.ignore)
        other = None if partner is None else Target(logits=self.teacher(partner.weak), ignore=partner.ignore)
        targets = [mixed_target(own, other, box) for box in unlabelled.boxes]
        step.student.train()
        clean = step.student(batch.labelled.image)
        images = torch.cat([pasted(unlabelled, number) for number in range(config.strong_views)])
        strong = step.student(images, **self._dropped(batch)).chunk(config.strong_views)
        names = [f"strong{number + 1}" for number in range(config.strong_views)]

        def consistency(logits: Tensor, target: Target) -> Tensor:
            label, confidence = target.pseudo_labels()
            return pseudo_label_cross_entropy(
                logits, label, confidence, target.ignore, denominator, thresh=config.conf_thresh
            )

        pairs = [
            target.pair(f"s{number}", logits, box)
            for number, (target, logits, box) in enumerate(zip(targets, strong, unlabelled.boxes, strict=True), 1)
            if self.pairs
        ]
        return StepOutput(
            terms={
                "supervised": supervised_loss(clean, batch.labelled, step, config.ohem),
                **{name: consistency(*one) for name, *one in zip(names, strong, targets, strict=True)},
            },
            weights={
                "supervised": 0.5,
                **dict.fromkeys(names, 0.5 * config.unsupervised_weight / config.strong_views),
            },
            pairs=tuple(pairs),
            metrics={"mask_ratio": own.mask_ratio(config.conf_thresh)},
        )

    def _dropped(self, batch: SemiBatch) -> dict[str, Any]:
        """How the student is called for both strong views below one another."""
        config = self.config
        if not config.complementary_dropout or config.strong_views == 1:
            return {}
        first, second = complementary_masks(
            batch, self.stream_channels, dropout=config.dropout, clean_share=config.clean_share
        )
        return {"dropout": [torch.cat(both) for both in zip(first, second, strict=True)], "plain": False}


def complementary_masks(
    batch: SemiBatch, channels: Sequence[int], *, dropout: float, clean_share: float
) -> tuple[list[Tensor], list[Tensor]]:
    """What the channels of this process's unlabelled images are multiplied by: for the first and for the second view,
    (B, channels, 1, 1) for each feature map. Maps of equal width, such as those of a transformer's blocks, get the same
    mask.

    A channel is kept in exactly one of the views, divided by the probability of that. Drawn for the whole global batch
    and cut, so that it does not depend on the number of processes: floor(``clean_share`` B) images of it keep both
    views whole, where the released code counts them in each process's batch.

    Args:
        channels: widths of the maps.
        dropout: probability that the first view loses a channel, in (0, 1).
        clean_share: in 0 .. 1.
    """
    per_process = len(batch.labelled.image)
    count = batch.world * per_process
    mine = slice(batch.rank * per_process, (batch.rank + 1) * per_process)
    generator = torch.Generator().manual_seed(batch.seed)
    clean = torch.randperm(count, generator=generator)[: int(count * clean_share)]
    masks: dict[int, tuple[Tensor, Tensor]] = {}
    for width in channels:
        if width not in masks:
            kept = (torch.rand(count, width, generator=generator) >= dropout).float()
            both = torch.stack([kept / (1 - dropout), (1 - kept) / dropout])
            both[:, clean] = 1.0
            first, second = to_device(both[:, mine, :, None, None], batch.labelled.image.device)
            masks[width] = (first, second)
    return [masks[width][0] for width in channels], [masks[width][1] for width in channels]
