"""s4GAN: a discriminator of whole images, whose features are matched and whose judgement picks images, with its
multi-label branch MLMT (methods: section 25.6)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.common.depends_on import Above, OnlyIf
from trainers.common.float32 import exact
from trainers.common.section import Section
from trainers.common.transfer import to_device
from trainers.interface.batch import SemiBatch
from trainers.interface.input_spec import InputSpec
from trainers.interface.labels import IGNORE
from trainers.interface.method import AuxiliaryModule, MethodContext, Needs, Stateless
from trainers.interface.step import Step, StepOutput
from trainers.losses.functional import labels_of, pixel_nll, probabilities
from trainers.methods.discriminators import (
    BETAS,
    ImageDiscriminator,
    as_predicted,
    as_true,
    shown,
    true_maps,
    weak_teaches_strong,
)
from trainers.methods.ema import EmaTeacher
from trainers.methods.held import held
from trainers.methods.mixing import dropped_channels
from trainers.methods.presence import Gated, PresenceClassifier, present_classes
from trainers.methods.supervised import Ohem, supervised_loss
from trainers.methods.unused import CUTMIX, FEATURE_STREAM, NEVER, STRONG_VIEWS, TARGET
from trainers.models.interface import SegmentationModel

Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
JUDGED = OnlyIf({"feature_matching_weight": Above(0)}, {"self_training_weight": Above(0)})
MULTI_LABEL = OnlyIf({"multi_label": True})
MATCHED, LEARNED = 0, 1
"""Streams of the discriminator's dropout: in the student's loss, and in its own."""


class S4GanConfig(Section):
    """s4GAN."""

    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = {
        STRONG_VIEWS: OnlyIf({"interpixel.alpha": Above(0)}, {"method.multi_label": True}),
        CUTMIX: NEVER,
        TARGET: NEVER,
        FEATURE_STREAM: NEVER,
    }

    name: Literal["s4gan"]
    feature_matching_weight: Weight = 0.1
    """w_fm, of the distance between the discriminator's mean features of predicted and of true maps."""
    self_training_weight: Weight = 1.0
    """w_st, of the student's own classes on images that the discriminator takes for true."""
    trust_thresh: Annotated[float, Field(ge=0, le=1), OnlyIf({"self_training_weight": Above(0)})] = 0.6
    """gamma: the discriminator's score above which an image's classes are learned; 0.7 on Cityscapes."""
    discriminator_lr: Annotated[float, Field(gt=0), JUDGED] = 1e-4
    """Adam's learning rate of the discriminator; it falls as the others' do. 1e-5 on Cityscapes."""
    discriminator_width: Annotated[int, Field(ge=1), JUDGED] = 64
    """Channels of its first convolution; each of the next three has twice as many."""
    discriminator_dropout: Annotated[Share, JUDGED] = 0.5
    """Probability that a channel of its first three convolutions is dropped, in the student's loss too."""
    multi_label: bool = False
    """MLMT: a classifier of whole images learns beside, and the scored network gives no pixel to a class that the
    classifier's average denies."""
    presence_thresh: Annotated[Share, MULTI_LABEL] = 0.2
    """Probability below which the classifier denies a class."""
    presence_ema_decay: Annotated[Share, MULTI_LABEL] = 0.999
    """Decay of the classifier's average."""
    presence_consistency: Annotated[Weight, MULTI_LABEL] = 1.0
    """Largest weight of the consistency between the classifier and its average on unlabelled images."""
    presence_start: Annotated[Share, OnlyIf({"multi_label": True, "presence_consistency": Above(0)})] = 0.1
    """Share of the training before it: 10 of 100 epochs. From there on its weight rises by twice the share that has
    passed since."""
    presence_lr: Annotated[float, Field(gt=0), MULTI_LABEL] = 0.03
    """SGD's learning rate of the classifier, in its encoder too; it falls as the others' do."""
    ohem: Ohem = None
    """Mine hard pixels in the supervised loss; none: plain cross-entropy."""


class S4Gan(Stateless):
    """L = L_x + w_fm |mean_b e(one-hot y, x_l) - mean_b e(p_u, u)| + w_st S + L_D; D takes a class map and its image in
    0 .. 1, e are its last features, s its probability of "true".

    - The distance is a mean over features of absolute values, the means over the images of all processes; D held.
    - S = mean over the pixels without padding of the images with s(p_u, u) > gamma of the cross-entropy with argmax
      p_u; 0 where there is none, and at step 0.
    - L_D = (mean over images of -log(1 - s(sg p_u, u)) + mean over images of -log s(one-hot y, x_l)) / 2. It trains the
      discriminator alone.

    True maps are those of the batch's labelled images, where the code draws a second labelled batch; images are brought
    to 0 .. 1 by the normalisation that was applied, where the code divides by a batch's (for true maps another batch's)
    largest value. Two forward passes of the student, labelled images first. There is no soft teacher: with the
    inter-pixel loss attached, the weak view teaches a strong one, in a third pass.

    ``multi_label`` adds, for the classifier alone, BCE(c(x_l), classes of the labelled crop), a mean over images and
    classes, + w(t) (1 - cos(c(strong u), sg c'(weak u))), a mean over images, with c' its average, in train mode, and
    w = min(`presence_consistency`, 2 (t - `presence_start`)), t the share of the training. The code trains it by
    itself, on whole images, by Nesterov's SGD with a cosine schedule.
    """

    def __init__(self, config: S4GanConfig, context: MethodContext) -> None:
        self.config, self.context, self.student = config, context, context.student
        self.needs = Needs(unlabelled=True, strong=int(context.pairs or config.multi_label), boxes=0)
        self.eval_network = "gated" if config.multi_label else "student"
        self.spec: InputSpec = cast(SegmentationModel, context.student).input_spec
        classes, width = context.num_classes, config.discriminator_width
        self.discriminator = context.build(lambda: ImageDiscriminator(classes, width=width, bands=self.spec.bands))
        self.training_discriminator = context.in_ddp(self.discriminator)
        self.classifier: nn.Module | None = None
        if config.multi_label:
            network = cast(SegmentationModel, context.peer())
            linear = context.build(lambda: nn.Linear(network.tap_channels[1], classes))
            self.classifier = PresenceClassifier(network, linear)
            self.training_classifier = context.in_ddp(self.classifier)
            self.average = EmaTeacher(self.classifier, decay=config.presence_ema_decay, buffers="own")
            self.gated = Gated(context.student, self.average.network, thresh=config.presence_thresh)

    def networks(self) -> dict[str, nn.Module]:
        found: dict[str, nn.Module] = {"student": self.student}
        return found if self.classifier is None else {**found, "gated": self.gated}

    def trained(self) -> dict[str, AuxiliaryModule]:
        lr = self.config.discriminator_lr
        found = {"discriminator": AuxiliaryModule(module=self.discriminator, adam_lr=lr, adam_betas=BETAS, in_ddp=True)}
        if self.classifier is not None:
            lr = self.config.presence_lr
            found["classifier"] = AuxiliaryModule(module=self.classifier, sgd_lr=lr, in_ddp=True)
        return found

    def losses(self, step: Step) -> StepOutput:
        config, labelled, unlabelled = self.config, step.batch.labelled, step.batch.unlabelled
        assert unlabelled is not None
        step.student.train()
        logits, guessed = step.student(labelled.image), step.student(unlabelled.view.weak)
        count, seen = len(labelled.image), shown(unlabelled.view.ignore)
        maps, true = probabilities(guessed), true_maps(labelled.mask, self.context.num_classes, guessed)
        images = self._unit(torch.cat([unlabelled.view.weak, labelled.image]))
        judge = held(self.discriminator)
        judged, features = judge(torch.cat([maps, true]), images, self._kept(step.batch, images, MATCHED))
        means = self.context.total(torch.stack([one.sum(dim=0) for one in exact(features).split(count)]))
        score = exact(judged[:count]).detach().sigmoid()
        trusted = seen & (score > config.trust_thresh)[:, None, None]
        classes = torch.where(trusted, labels_of(guessed.detach())[0], IGNORE)
        own = self.training_discriminator(
            torch.cat([maps.detach(), true]), images, self._kept(step.batch, images, LEARNED)
        )
        predicted, real = exact(own[0]).split(count)
        number = step.denominator(torch.full((), count, device=logits.device))
        terms = {
            "supervised": supervised_loss(logits, labelled, step, config.ohem),
            "feature_matching": (means[0] - means[1]).abs().mean() / (count * step.batch.world),
            "self_training": pixel_nll(guessed, classes).sum() / step.denominator(trusted.sum()),
            "discriminator": (as_predicted(predicted) + as_true(real)).sum() / number / 2,
        }
        weights = {
            "supervised": 1.0,
            "feature_matching": config.feature_matching_weight,
            "self_training": config.self_training_weight if step.progress.step > 0 else 0.0,
            "discriminator": 1.0,
        }
        if self.classifier is not None:
            terms |= self._presence(step, number)
            weights |= {"presence": 1.0, "presence_consistency": self._consistency(step)}
        return StepOutput(
            terms=terms,
            weights=weights,
            pairs=(weak_teaches_strong(step.student, unlabelled.view, guessed),) if self.context.pairs else (),
            metrics={"trusted": (score > config.trust_thresh).sum() / number},
        )

    def _unit(self, images: Tensor) -> Tensor:
        """Normalised images as they were before, in 0 .. 1."""
        mean, std = (
            to_device(torch.tensor(one, dtype=images.dtype), images.device).view(1, -1, 1, 1)
            for one in (self.spec.mean, self.spec.std)
        )
        return images * std + mean

    def _kept(self, batch: SemiBatch, like: Tensor, stream: int) -> tuple[Tensor, ...] | None:
        """What the discriminator drops of predicted and of true maps, (2B, channels, 1, 1) for each layer."""
        if self.config.discriminator_dropout == 0:
            return None
        widths = cast(ImageDiscriminator, self.discriminator).widths
        drawn = [
            dropped_channels(
                batch, sum(widths), probability=self.config.discriminator_dropout, stream=2 * stream + part
            )
            for part in range(2)
        ]
        kept = to_device(torch.cat(drawn).to(like.dtype), like.device)[:, :, None, None]
        layers: tuple[Tensor, ...] = kept.split(list(widths), dim=1)
        return layers

    def _consistency(self, step: Step) -> float:
        config, passed = self.config, step.progress.step / step.progress.total_steps
        return min(config.presence_consistency, 2 * max(0.0, passed - config.presence_start))

    def _presence(self, step: Step, number: Tensor) -> dict[str, Tensor]:
        """The classifier's terms."""
        labelled, unlabelled = step.batch.labelled, step.batch.unlabelled
        assert unlabelled is not None
        self.training_classifier.train()
        said = exact(self.training_classifier(labelled.image))
        strong = exact(self.training_classifier(unlabelled.view.strong[0]))
        present = present_classes(labelled.mask, self.context.num_classes).to(said.dtype)
        wrong = F.binary_cross_entropy_with_logits(said, present, reduction="none").mean(dim=1)
        apart = 1 - F.cosine_similarity(strong, exact(self.average(unlabelled.view.weak)), dim=1)
        return {"presence": wrong.sum() / number, "presence_consistency": apart.sum() / number}

    def after_step(self) -> None:
        if self.classifier is not None:
            self.average.update()

    def state_dict(self) -> dict[str, Tensor]:
        return {} if self.classifier is None else self.average.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if self.classifier is not None:
            self.average.load_state_dict(state)
