"""CCT: auxiliary decoders of perturbed features learn the main decoder's answer (methods: section 9)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self, cast

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from trainers.common.depends_on import Above, OnlyIf
from trainers.common.float32 import exact
from trainers.common.section import Section
from trainers.interface.batch import SemiBatch
from trainers.interface.method import AuxiliaryModule, MethodContext, Needs, Stateless
from trainers.interface.step import Pair, Step, StepOutput
from trainers.losses.functional import probabilities
from trainers.losses.ramps import gaussian_ramp
from trainers.methods.adversarial import adversarial_noise
from trainers.methods.mixing import WORDS, image_generators, noise
from trainers.methods.perturbations import (
    cut_objects,
    drop_channels,
    drop_strongest,
    keep_context,
    keep_objects,
    multiply_noise,
)
from trainers.methods.supervised import Ohem, supervised_loss
from trainers.methods.unused import CUTMIX, FEATURE_STREAM, NEVER, STRONG_VIEWS, TARGET
from trainers.models.interface import Features, SegmentationModel

Number = Annotated[int, Field(ge=0, le=8)]
Share = Annotated[float, Field(ge=0, lt=1)]
KINDS = ("feature_drop", "feature_noise", "dropout", "cutout", "vat", "context_mask", "object_mask")
FIRST_STREAM = 100
"""Streams of draws from here on are the decoders'."""
WIDEST = 256
SOME_USE = OnlyIf({"consistency_weight": Above(0)}, {"interpixel.alpha": Above(0)})


class CctConfig(Section):
    """CCT. Seven kinds of perturbation, each with a number of auxiliary decoders."""

    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = {
        STRONG_VIEWS: NEVER,
        CUTMIX: NEVER,
        TARGET: NEVER,
        FEATURE_STREAM: NEVER,
    }

    name: Literal["cct"]
    consistency_weight: Annotated[float, Field(ge=0)] = 30.0
    """Weight w of the mean squared difference. That is a mean over classes too, so w depends on their number."""
    ramp: Annotated[float, Field(ge=0, le=1), OnlyIf({"consistency_weight": Above(0)})] = 0.1
    """Share of the whole training until w has its full size, along the Gaussian ramp."""
    feature_drop: Annotated[Number, SOME_USE] = 2
    """Decoders of features without their most active places."""
    feature_noise: Annotated[Number, SOME_USE] = 2
    """Decoders of features with noise in proportion to them."""
    dropout: Annotated[Number, SOME_USE] = 2
    """Decoders of features without some channels."""
    cutout: Annotated[Number, SOME_USE] = 2
    """Decoders of features with a box cut out of every object; images without objects are not cut."""
    vat: Annotated[Number, SOME_USE] = 2
    """Decoders of features with the noise that moves their answer most."""
    context_mask: Annotated[Number, SOME_USE] = 2
    """Decoders of features without background."""
    object_mask: Annotated[Number, SOME_USE] = 2
    """Decoders of features without objects."""
    drop_min: Annotated[Share, OnlyIf({"feature_drop": Above(0)})] = 0.7
    """Places are dropped whose activity reaches a share of the image's largest. The share is drawn anew for each batch,
    from this value on."""
    drop_max: Annotated[float, Field(gt=0, le=1), OnlyIf({"feature_drop": Above(0)})] = 0.9
    """The share is drawn up to this value."""
    noise: Annotated[float, Field(ge=0), OnlyIf({"feature_noise": Above(0)})] = 0.3
    """Largest noise as a share of the feature."""
    dropout_p: Annotated[Share, OnlyIf({"dropout": Above(0)})] = 0.5
    """Probability that a channel is dropped."""
    cutout_side: Annotated[float, Field(gt=0, le=1), OnlyIf({"cutout": Above(0)})] = 0.4
    """Sides of the box cut out, as a share of the object's."""
    vat_eps: Annotated[float, Field(gt=0), OnlyIf({"vat": Above(0)})] = 2.0
    """L2 norm of the adversarial noise on an image's features."""
    vat_xi: Annotated[Annotated[float, Field(gt=0)] | None, OnlyIf({"vat": Above(0)})] = None
    """Step of the power iteration that finds the noise. None: the limit of small steps, so that the noise has its
    norm. The public code's 1.0e-6 leaves next to none of it; 0.1 and more find about the same as None."""
    ohem: Ohem = None
    """Mine hard pixels in the supervised loss (Cityscapes); none: plain cross-entropy."""

    @model_validator(mode="after")
    def _some_decoder(self) -> Self:
        if self.drop_min > self.drop_max:
            raise ValueError(f"drop_min = {self.drop_min} is above drop_max = {self.drop_max}")
        if not any(getattr(self, kind) for kind in KINDS):
            raise ValueError(f"there is no auxiliary decoder; set at least one of {', '.join(KINDS)} to 1 or more")
        return self

    def decoders(self) -> list[str]:
        """The kind of every auxiliary decoder."""
        return [kind for kind in KINDS for _ in range(getattr(self, kind))]


class Cct(Stateless):
    """L = L_x + w r(it) mean over decoders k of mean over batch, classes and pixels of (softmax q_k - softmax p)^2.

    p is the main decoder's answer for the unlabelled weak view, detached; q_k that of auxiliary decoder k for the same
    features, perturbed: the network's context, which on our DeepLabV3+ is the output of the pyramid pooling. Auxiliary
    decoders are two convolutions without batch norm. The inter-pixel loss takes p and the mean of all q_k: one pair,
    whatever their number, through which each is reached. Auxiliary decoders are not evaluated. The host waits once a
    step, for where objects are (cutout).
    """

    needs = Needs(unlabelled=True)

    def __init__(self, config: CctConfig, context: MethodContext) -> None:
        self.config, self.kinds = config, config.decoders()
        self.student, self.pairs = context.student, context.pairs
        student = cast(SegmentationModel, context.student)
        self.upsample = student.upsample
        width, classes = student.context_channels, context.num_classes
        self.decoders = context.build(lambda: Decoders(auxiliary_decoder(width, classes) for _ in self.kinds))
        self.training_decoders = context.in_ddp(self.decoders)

    def trained(self) -> dict[str, AuxiliaryModule]:
        return {"decoders": AuxiliaryModule(module=self.decoders, in_ddp=True)}

    def losses(self, step: Step) -> StepOutput:
        config, labelled, unlabelled = self.config, step.batch.labelled, step.batch.unlabelled
        assert unlabelled is not None
        step.student.train()
        clean = step.student(labelled.image)
        main: Features = step.student(unlabelled.view.weak, features=True)
        target = main.logits.detach()
        answers = self._auxiliary(main.context, target, step.batch)
        p = probabilities(target)
        pixels = torch.full((), target[:, 0].numel(), device=target.device)
        apart = torch.stack([(probabilities(one) - p).square().mean(dim=1).sum() for one in answers]).mean()
        pairs: tuple[Pair, ...] = ()
        if self.pairs:
            mean = torch.stack(answers).mean(dim=0)
            pairs = (Pair(view="weak", teacher=target, student=mean, ignore=unlabelled.view.ignore, box=None),)
        ramp = gaussian_ramp(step.progress.step, length=config.ramp * step.progress.total_steps)
        return StepOutput(
            terms={
                "supervised": supervised_loss(clean, labelled, step, config.ohem),
                "consistency": apart / step.denominator(pixels),
            },
            weights={"supervised": 1.0, "consistency": config.consistency_weight * ramp},
            pairs=pairs,
        )

    def _auxiliary(self, features: Tensor, target: Tensor, batch: SemiBatch) -> list[Tensor]:
        """Logits (B, C, H, W) of every auxiliary decoder."""
        label, size = target.argmax(dim=1), (target.shape[-2], target.shape[-1])
        shown = label.cpu() if "cutout" in self.kinds else label
        changed = [
            self._perturbed(kind, features, shown if kind == "cutout" else label, batch, decoder=decoder, stream=stream)
            for stream, (kind, decoder) in enumerate(
                zip(self.kinds, cast(Decoders, self.decoders), strict=True), start=FIRST_STREAM
            )
        ]
        return [self.upsample(answer, size) for answer in self.training_decoders(changed)]

    def _perturbed(
        self, kind: str, features: Tensor, label: Tensor, batch: SemiBatch, *, decoder: nn.Module, stream: int
    ) -> Tensor:
        config, images, size = self.config, image_generators(batch, stream), (label.shape[-2], label.shape[-1])
        whole = np.random.default_rng([*divmod(batch.seed, WORDS), stream])
        match kind:
            case "feature_drop":
                return drop_strongest(features, whole, low=config.drop_min, high=config.drop_max)
            case "feature_noise":
                return multiply_noise(features, whole, strength=config.noise)
            case "dropout":
                return drop_channels(features, images, probability=config.dropout_p)
            case "cutout":
                return cut_objects(features, label, images, share=config.cutout_side)
            case "vat":
                start = noise(batch, exact(features), stream)

                def answer(changed: Tensor) -> Tensor:
                    logits: Tensor = self.upsample(decoder(changed), size)
                    return logits

                found: Tensor = adversarial_noise(features, [answer], start, eps=config.vat_eps, xi=config.vat_xi)
                return features + found.to(features.dtype)
            case "context_mask":
                return keep_objects(features, label)
            case _:
                return keep_context(features, label)


class Decoders(nn.ModuleList):
    """Auxiliary decoders, each for features of its own."""

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [decoder(one) for decoder, one in zip(self, features, strict=True)]


def auxiliary_decoder(width: int, num_classes: int) -> nn.Sequential:
    """Features (B, W, h, w) -> logits (B, C, h, w). Of a wide encoder's last stage there are K times 9 W^2 weights, so
    that between the convolutions there are `WIDEST` channels at most."""
    between = min(width, WIDEST)
    return nn.Sequential(nn.Conv2d(width, between, 3, padding=1), nn.ReLU(), nn.Conv2d(between, num_classes, 1))
