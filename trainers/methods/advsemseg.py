"""AdvSemSeg: a discriminator that judges class maps pixel by pixel, and whose judgement picks pseudo-labels (methods:
section 25.5)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from trainers.common.depends_on import Above, OnlyIf
from trainers.common.float32 import exact
from trainers.common.section import Section
from trainers.interface.labels import IGNORE
from trainers.interface.method import AuxiliaryModule, MethodContext, Needs, Stateless
from trainers.interface.step import Step, StepOutput
from trainers.losses.functional import labels_of, pixel_nll, probabilities
from trainers.methods.discriminators import (
    BETAS,
    PixelDiscriminator,
    as_predicted,
    as_true,
    shown,
    true_maps,
    weak_teaches_strong,
)
from trainers.methods.held import held
from trainers.methods.supervised import Ohem, supervised_loss
from trainers.methods.unused import CUTMIX, FEATURE_STREAM, IF_PAIRS, NEVER, STRONG_VIEWS, TARGET

Weight = Annotated[float, Field(ge=0)]
JUDGED = OnlyIf(
    {"labelled_adversarial_weight": Above(0)},
    {"unlabelled_adversarial_weight": Above(0)},
    {"self_training_weight": Above(0)},
)


class AdvSemSegConfig(Section):
    """AdvSemSeg."""

    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = {
        STRONG_VIEWS: IF_PAIRS,
        CUTMIX: NEVER,
        TARGET: NEVER,
        FEATURE_STREAM: NEVER,
    }

    name: Literal["advsemseg"]
    labelled_adversarial_weight: Weight = 0.01
    """w_l, of making the maps of labelled images look true; 0.01 in the paper and the code's example, 0.1 as the code's
    default."""
    unlabelled_adversarial_weight: Weight = 0.001
    """w_u, of the same on unlabelled images."""
    self_training_weight: Weight = 0.1
    """w_s, of the student's own classes where the discriminator takes them for true."""
    trust_thresh: Annotated[float, Field(ge=0, le=1), OnlyIf({"self_training_weight": Above(0)})] = 0.2
    """T: the discriminator's probability of "true" from which on a pixel's class is learned."""
    self_training_start: Annotated[float, Field(ge=0, lt=1), OnlyIf({"self_training_weight": Above(0)})] = 0.25
    """Share of the training before the student learns its own classes: 5000 of 20,000 steps."""
    unlabelled_predictions: Annotated[bool, JUDGED] = True
    """The discriminator sees maps of unlabelled images among the predicted ones (`D_remain` in the code)."""
    discriminator_lr: Annotated[float, Field(gt=0), JUDGED] = 1e-4
    """Adam's learning rate of the discriminator; it falls as the others' do."""
    discriminator_width: Annotated[int, Field(ge=1), JUDGED] = 64
    """Channels of its first convolution; each of the next three has twice as many."""
    ohem: Ohem = None
    """Mine hard pixels in the supervised loss (Cityscapes); none: plain cross-entropy."""


class AdvSemSeg(Stateless):
    """L = L_x + w_l A_l + w_u A_u + w_s S + L_D; p: class probabilities, D(p): the probability of "true" at a pixel.

    - A = mean of -log D(p) over labelled pixels (A_l) and over unlabelled ones without padding (A_u), D held.
    - S = mean over the unlabelled pixels with D(p) >= T, without padding, of the cross-entropy with argmax p; 0 where
      there are none, and until its start.
    - L_D = (mean of -log(1 - D(sg p)) over all these pixels together + mean over labelled pixels of -log D(one-hot y))
      / 2. It trains the discriminator alone.

    Two forward passes of the student, unlabelled images first. Where no pixel is trusted the code leaves out A_u as
    well; here it stays. There is no soft teacher: with the inter-pixel loss attached, the weak view teaches a strong
    one, in a third pass.
    """

    def __init__(self, config: AdvSemSegConfig, context: MethodContext) -> None:
        self.config, self.pairs, self.classes = config, context.pairs, context.num_classes
        self.needs = Needs(unlabelled=True, strong=int(context.pairs), boxes=0)
        self.student = context.student
        self.discriminator = context.build(
            lambda: PixelDiscriminator(context.num_classes, width=config.discriminator_width)
        )
        self.training_discriminator = context.in_ddp(self.discriminator)

    def trained(self) -> dict[str, AuxiliaryModule]:
        lr = self.config.discriminator_lr
        return {"discriminator": AuxiliaryModule(module=self.discriminator, adam_lr=lr, adam_betas=BETAS, in_ddp=True)}

    def losses(self, step: Step) -> StepOutput:
        config, labelled, unlabelled = self.config, step.batch.labelled, step.batch.unlabelled
        assert unlabelled is not None
        step.student.train()
        guessed, logits = step.student(unlabelled.view.weak), step.student(labelled.image)
        known, seen = shown(labelled.mask), shown(unlabelled.view.ignore)
        maps = probabilities(logits), probabilities(guessed)
        judge = held(self.discriminator)
        judged_known, judged_seen = (exact(judge(one)) for one in maps)
        trusted = seen & (judged_seen.detach().sigmoid() >= config.trust_thresh)
        classes = torch.where(trusted, labels_of(guessed.detach())[0], IGNORE)
        pixels = step.denominator(seen.sum())
        begun = step.progress.step >= config.self_training_start * step.progress.total_steps
        return StepOutput(
            terms={
                "supervised": supervised_loss(logits, labelled, step, config.ohem),
                "labelled_adversarial": (as_true(judged_known) * known).sum() / step.denominator(known.sum()),
                "unlabelled_adversarial": (as_true(judged_seen) * seen).sum() / pixels,
                "self_training": pixel_nll(guessed, classes).sum() / step.denominator(trusted.sum()),
                "discriminator": self._discriminator_loss(step, *(one.detach() for one in maps)),
            },
            weights={
                "supervised": 1.0,
                "labelled_adversarial": config.labelled_adversarial_weight,
                "unlabelled_adversarial": config.unlabelled_adversarial_weight,
                "self_training": config.self_training_weight if begun else 0.0,
                "discriminator": 1.0,
            },
            pairs=(weak_teaches_strong(step.student, unlabelled.view, guessed),) if self.pairs else (),
            metrics={"trusted": trusted.sum() / pixels},
        )

    def _discriminator_loss(self, step: Step, labelled: Tensor, unlabelled: Tensor) -> Tensor:
        """L_D, of class probabilities; one forward pass of the discriminator."""
        batch = step.batch
        assert batch.unlabelled is not None
        known, seen = shown(batch.labelled.mask), shown(batch.unlabelled.view.ignore)
        predicted, counted = [labelled], [known]
        if self.config.unlabelled_predictions:
            predicted, counted = [*predicted, unlabelled], [*counted, seen]
        true = true_maps(batch.labelled.mask, self.classes, labelled)
        judged = exact(self.training_discriminator(torch.cat([*predicted, true])))
        among = torch.cat(counted)
        wrong = (as_predicted(judged[: len(among)]) * among).sum() / step.denominator(among.sum())
        right = (as_true(judged[len(among) :]) * known).sum() / step.denominator(known.sum())
        return (wrong + right) / 2
