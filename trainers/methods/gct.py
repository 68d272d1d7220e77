"""GCT: two networks and a detector of their flaws; the better one teaches, pixel by pixel (methods: section 9)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from trainers.common.depends_on import Above, OnlyIf
from trainers.common.float32 import exact
from trainers.common.section import Section
from trainers.interface.labels import IGNORE
from trainers.interface.method import AuxiliaryModule, MethodContext, Needs, Stateless
from trainers.interface.step import Pair, Step, StepOutput
from trainers.losses.functional import probabilities
from trainers.losses.ramps import gaussian_ramp
from trainers.methods.flaws import FlawDetector, handled, true_flaws
from trainers.methods.held import held
from trainers.methods.supervised import Ohem, supervised_loss
from trainers.methods.unused import CUTMIX, FEATURE_STREAM, NEVER, STRONG_VIEWS, TARGET
from trainers.models.interface import SegmentationModel

Weight = Annotated[float, Field(ge=0)]
FLAWS_USED = OnlyIf({"consistency_weight": Above(0)}, {"correction_weight": Above(0)}, {"interpixel.alpha": Above(0)})


class GctConfig(Section):
    """GCT."""

    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = {
        STRONG_VIEWS: NEVER,
        CUTMIX: NEVER,
        TARGET: NEVER,
        FEATURE_STREAM: NEVER,
    }

    name: Literal["gct"]
    consistency_weight: Weight = 100.0
    """w_dc, of the mean squared difference between the networks. That is a mean over classes too, so it depends on
    their number."""
    ramp_epochs: Annotated[Weight, OnlyIf({"consistency_weight": Above(0)})] = 5.0
    """Epochs until w_dc has its full size, along the Gaussian ramp."""
    correction_weight: Weight = 1.0
    """w_fc, of the flaws where both networks are bad."""
    flaw_thresh: Annotated[float, Field(gt=0, le=1), FLAWS_USED] = 0.6
    """Flaw above which a network is bad at a pixel, and does not teach there."""
    rescale: Annotated[bool, FLAWS_USED] = True
    """Rescale each image's flaws to 0 .. 1, the detector's (after a blur; to 0 where none exceeds 0.1) and the true
    ones, as the code does: `flaw_thresh` is then relative to the image's own worst pixel. False: an absolute
    threshold."""
    detector_weight: Annotated[Weight, FLAWS_USED] = 10.0
    """Weight of the detector's own loss, which no other network sees."""
    detector_lr: Annotated[float, Field(gt=0), OnlyIf({"detector_weight": Above(0)})] = 1e-4
    """Adam's learning rate of the detector; it falls as the others' do."""
    detector_width: Annotated[int, Field(ge=1), FLAWS_USED] = 64
    """Channels of the detector's first convolution; each of the next three has twice as many."""
    flaw_scale: Annotated[float, Field(gt=0), OnlyIf({"detector_weight": Above(0), "rescale": False})] = 0.5
    """mu: true flaws are mu sum_c |p_c - [y = c]|, blurred. With `rescale` it cancels out."""
    dilations: Annotated[int, Field(ge=0), OnlyIf({"detector_weight": Above(0)})] = 1
    """nu: how often true flaws are dilated and blurred again."""
    ohem: Ohem = None
    """Mine hard pixels in the supervised loss (Cityscapes); none: plain cross-entropy."""


class Gct(Stateless):
    """L = sum over networks i of CE(q_i, y) + w_dc r(it) DC_i + w_fc FC_i + w_D D_i, over labelled and unlabelled weak
    views alike; f_i: the detector's flaws of network i, g_i: these, blurred and rescaled by image, j the other one.

    - DC_i = mean over batch, classes and pixels of [g_j < g_i and g_j <= threshold] (softmax q_i - sg softmax q_j)^2.
    - FC_i = mean over batch and pixels of [g_1 and g_2 > threshold] f_i^2, with the detector's weights held.
    - D_i = mean over labelled pixels of (f(x, sg softmax q_i) - true flaws)^2, true flaws rescaled by image; it trains
      the detector alone.

    Both networks are evaluated; the score is the student's. The inter-pixel loss sees both directions, each over the
    unlabelled pixels on which that network teaches.
    """

    needs = Needs(unlabelled=True)

    def __init__(self, config: GctConfig, context: MethodContext) -> None:
        self.config, self.pairs = config, context.pairs
        self.student, self.peer = context.student, context.peer()
        bands = cast(SegmentationModel, context.student).input_spec.bands
        self.detector = context.build(
            lambda: FlawDetector(context.num_classes, width=config.detector_width, bands=bands)
        )
        self.training_peer, self.training_detector = context.in_ddp(self.peer), context.in_ddp(self.detector)

    def networks(self) -> dict[str, nn.Module]:
        return {"student": self.student, "peer": self.peer}

    def trained(self) -> dict[str, AuxiliaryModule]:
        backbone = cast(SegmentationModel, self.peer).backbone
        return {
            "peer": AuxiliaryModule(module=self.peer, backbone=backbone, in_ddp=True),
            "detector": AuxiliaryModule(module=self.detector, adam_lr=self.config.detector_lr, in_ddp=True),
        }

    def losses(self, step: Step) -> StepOutput:
        config, labelled, unlabelled = self.config, step.batch.labelled, step.batch.unlabelled
        assert unlabelled is not None
        step.student.train()
        self.peer.train()
        images, count = torch.cat([labelled.image, unlabelled.view.weak]), len(labelled.image)
        logits = step.student(images), self.training_peer(images)
        p = [probabilities(one) for one in logits]
        detector = held(self.detector)
        flaws = [exact(detector(images, one)) for one in p]
        seen = [handled(one, rescale=config.rescale) for one in flaws]
        both_bad = (seen[0] > config.flaw_thresh) & (seen[1] > config.flaw_thresh)
        pixels = step.denominator(torch.full((), both_bad.numel(), device=both_bad.device))
        terms: dict[str, Tensor] = {}
        pairs = []
        for own, other, name in ((0, 1, ""), (1, 0, "_peer")):
            terms[f"supervised{name}"] = supervised_loss(logits[own][:count], labelled, step, config.ohem)
            taught = (seen[other] < seen[own]) & (seen[other] <= config.flaw_thresh)
            apart = (p[own] - p[other].detach()).square().mean(dim=1)
            terms[f"consistency{name}"] = (apart * taught).sum() / pixels
            terms[f"correction{name}"] = (flaws[own].square() * both_bad).sum() / pixels
            terms[f"detector{name}"] = self._detector_loss(step, p[own][:count].detach())
            ignore = torch.where(taught[count:], unlabelled.view.ignore, IGNORE)
            pairs.append(
                Pair(
                    view="weak",
                    teacher=logits[other][count:].detach(),
                    student=logits[own][count:],
                    ignore=ignore,
                    box=None,
                )
            )
        progress = step.progress
        ramp = gaussian_ramp(progress.step, length=config.ramp_epochs * progress.steps_per_epoch)
        weights = {
            "supervised": 1.0,
            "consistency": config.consistency_weight * ramp,
            "correction": config.correction_weight,
            "detector": config.detector_weight,
        }
        return StepOutput(
            terms=terms,
            weights={name: weights[name.removesuffix("_peer")] for name in terms},
            pairs=tuple(pairs) if self.pairs else (),
            metrics={"flaw": seen[0].mean(), "both_bad": both_bad.double().mean()},
        )

    def _detector_loss(self, step: Step, p: Tensor) -> Tensor:
        """D_i, of probabilities p of the labelled images."""
        labelled = step.batch.labelled
        flaws = exact(self.training_detector(labelled.image, p))
        true = true_flaws(
            p,
            labelled.mask,
            scale=self.config.flaw_scale,
            dilations=self.config.dilations,
            rescale=self.config.rescale,
        )
        known = labelled.mask != IGNORE
        return ((flaws - true).square() * known).sum() / step.denominator(known.sum())
