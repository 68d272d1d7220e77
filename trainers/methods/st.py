"""ST: self-training in stages, on stored pseudo-masks, and what ST++ shares with it (methods: section 12)."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, ClassVar, Literal, Self, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from trainers.common.depends_on import Above, OnlyIf
from trainers.common.transfer import to_device
from trainers.data.views import normalise, random_box
from trainers.interface.batch import Labelled, SemiBatch
from trainers.interface.labels import IGNORE
from trainers.interface.method import MethodContext, Needs, Stage, UnlabelledImages
from trainers.interface.step import Step, StepOutput
from trainers.methods.mixing import image_generators
from trainers.methods.relabelling import Relabelling, RelabellingConfig
from trainers.methods.supervised import supervised_loss
from trainers.methods.unused import LABELLED_OFFLINE, STRONG_VIEWS
from trainers.models.interface import SegmentationModel

Share = Annotated[float, Field(ge=0, le=1)]
LABELLED, UNLABELLED = 0, 1
FEW_LABELS = 200
"""Shorter labelled lists are gone through twice in an epoch of the first stage, as in the code."""


class SelfTrainingConfig(RelabellingConfig):
    """What ST and ST++ share."""

    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = {
        **LABELLED_OFFLINE,
        STRONG_VIEWS: OnlyIf({"method.strong": ("unlabelled", "both")}),
    }

    conf_thresh: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Pixels that were labelled with less confidence are left out of the masks."""
    strong: Literal["unlabelled", "both", "none"] = "unlabelled"
    """Images that are jittered, made grey, blurred, and cut."""
    cutout_p: Annotated[Share, OnlyIf({"strong": ("unlabelled", "both")})] = 0.5
    """Probability that a box of a strong image is filled with noise, and its labels with 255."""
    cutout_area_min: Annotated[float, Field(gt=0, le=1), OnlyIf({"cutout_p": Above(0)})] = 0.02
    """Smallest area of that box as a share of the crop."""
    cutout_area_max: Annotated[float, Field(gt=0, le=1), OnlyIf({"cutout_p": Above(0)})] = 0.4
    """Largest area of that box as a share of the crop."""
    cutout_ratio_min: Annotated[float, Field(gt=0, le=1), OnlyIf({"cutout_p": Above(0)})] = 0.3
    """Aspect ratio is drawn from [r, 1 / r]."""
    stage_length: Literal["equal", "passes"] = "equal"
    """`equal`: an epoch has as many steps in every stage, so that `schedule.epochs` counts the same for every method.
    `passes`, as published: an epoch is a pass over what the stage trains on, which is short in stage 1; see
    `SelfTraining`. Where `schedule.steps_per_epoch` is given, it is the length of every epoch either way."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.cutout_area_min > self.cutout_area_max:
            raise ValueError(
                f"cutout_area_min = {self.cutout_area_min} is above cutout_area_max = {self.cutout_area_max}"
            )
        return self


class StConfig(SelfTrainingConfig):
    """ST."""

    name: Literal["st"]
    retrainings: Annotated[int, Field(ge=1, le=5)] = 1
    """How often all images are labelled and a fresh student is trained; 1 in the paper."""


class SelfTraining(Relabelling):
    """Stage 1: L = L_x. Then: L = cross-entropy, or OHEM, of labelled crops with their masks and of as many unlabelled
    ones with their stored pseudo-masks together; a mean over all pixels of both that are not 255. One forward pass.

    Every stage has an equal part of `schedule.epochs`, a fresh student, a fresh optimiser, and the schedule of a
    training of that length. The inter-pixel loss attaches from stage 2 on: its teacher is the student whose masks are
    learned from, frozen, on the weak view.

    With `stage_length: passes` an epoch of stage 1 is one pass over the labelled list, two where it has fewer than 200
    images, by 2 B labelled images a step; an epoch of a later stage is one pass over the unlabelled images that have a
    mask and the labelled list repeated to at least their number, by B of each a step.
    """

    config: SelfTrainingConfig
    trainings: int

    def __init__(self, config: SelfTrainingConfig, context: MethodContext) -> None:
        super().__init__(config, context)
        self.needs = self.stages()[0].needs

    def stages(self) -> tuple[Stage, ...]:
        both, none = self.config.strong == "both", self.config.strong == "none"
        first = Needs(unlabelled=False, labelled_strong=int(both))
        later = Needs(unlabelled=True, strong=int(not none), boxes=0, labelled_strong=int(both))
        needs = [first] + [later] * (self.trainings - 1)
        if self.config.stage_length == "passes":
            passes = 2 if self.context.labelled < FEW_LABELS else 1
            needs[0] = replace(first, labelled_batches=2, epoch_images=passes * self.context.labelled)
            for stage in range(1, self.trainings):
                needs[stage] = replace(later, epoch_images=self._pass(self.masked(stage)))
        return tuple(Stage(share=1 / self.trainings, needs=one) for one in needs)

    def masked(self, stage: int) -> int:
        """Unlabelled images that have a mask in a stage from the second on."""
        return self.context.unlabelled

    def _pass(self, unlabelled: int) -> int:
        """Images of one pass over so many unlabelled ones and the labelled list repeated to at least their number."""
        return unlabelled + self.context.labelled * math.ceil(unlabelled / self.context.labelled)

    def losses(self, step: Step) -> StepOutput:
        step.student.train()
        labelled = self._labelled(step.batch)
        if step.progress.stage == 0:
            return self.from_labels(step, labelled)
        unlabelled = step.batch.unlabelled
        assert unlabelled is not None
        assert unlabelled.pseudo is not None
        view = unlabelled.view
        images, pseudo = view.weak, unlabelled.pseudo
        ignore = view.ignore
        if view.strong:
            images, hole = self.cut(view.strong[0], step.batch, UNLABELLED)
            ignore = ignore.masked_fill(hole, IGNORE)
            pseudo = pseudo.masked_fill(hole if pseudo.dim() == hole.dim() else hole[:, None], IGNORE)
        logits = step.student(torch.cat([labelled.image, images]))
        loss = self.loss(logits, labelled, pseudo, step)
        pair = self.pair("s1", view.weak, logits[len(labelled.image) :], ignore)
        return StepOutput(terms={"self_training": loss}, weights={"self_training": 1.0}, pairs=pair)

    def loss(self, logits: Tensor, labelled: Labelled, pseudo: Tensor, step: Step) -> Tensor:
        """Of the logits of labelled crops, and of unlabelled ones with their stored pseudo-masks ``pseudo``."""
        both = replace(labelled, mask=torch.cat([labelled.mask, pseudo]))
        return supervised_loss(logits, both, step, self.config.ohem)

    def _labelled(self, batch: SemiBatch) -> Labelled:
        labelled = batch.labelled
        if not labelled.strong:
            return labelled
        images, hole = self.cut(labelled.strong[0], batch, LABELLED)
        return Labelled(image=images, mask=labelled.mask.masked_fill(hole, IGNORE))

    def cut(self, images: Tensor, batch: SemiBatch, stream: int) -> tuple[Tensor, Tensor]:
        """Images (B, bands, H, H) with a box of noise, and the boxes (B, H, H) bool."""
        config, side = self.config, images.shape[-1]
        spec = cast(SegmentationModel, self.student).input_spec
        bands = 3 if spec.bands == 1 else spec.bands  # a network of one band sees the grey of three
        holes, fills = [], []
        for rng in image_generators(batch, stream, count=len(images)):
            drawn = rng.random() < config.cutout_p
            area = (config.cutout_area_min, config.cutout_area_max)
            box = random_box(rng, side, area=area, ratio_min=config.cutout_ratio_min)
            holes.append(box & drawn)
            fills.append(torch.from_numpy(rng.random((bands, side, side), dtype="float32")))
        hole = to_device(torch.stack(holes), images.device)
        fill = to_device(normalise(torch.stack(fills), spec).to(images.dtype), images.device)
        return torch.where(hole[:, None], fill, images), hole

    def kept(self, confidence: Tensor, label: Tensor) -> Tensor:
        return torch.where(confidence >= self.config.conf_thresh, label, IGNORE)


class St(SelfTraining):
    """Two stages, or more with `retrainings`; before each of the later ones all unlabelled images are labelled."""

    def __init__(self, config: StConfig, context: MethodContext) -> None:
        self.trainings = config.retrainings + 1
        super().__init__(config, context)

    def label(self, stage: int, labeller: nn.Module, images: UnlabelledImages) -> None:
        self.masks = self.labelled_by(labeller, range(self.context.unlabelled), images)
