"""Naive Student and Noisy Student: self-training in rounds, on hard or on soft labels (methods: section 25.8)."""

from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from trainers.data.read import planes_to_png
from trainers.interface.batch import Labelled
from trainers.interface.labels import IGNORE
from trainers.interface.method import MethodContext, Needs, Stage, UnlabelledImages
from trainers.interface.step import Step
from trainers.losses.functional import pixel_nll
from trainers.methods.st import SelfTraining, SelfTrainingConfig
from trainers.methods.supervised import supervised_loss

STEPS = 255
"""A soft label's probabilities are stored in so many steps."""


class RoundsConfig(SelfTrainingConfig):
    """What Naive Student and Noisy Student share."""

    rounds: Annotated[int, Field(ge=1, le=6)] = 3
    """R: how often the last student labels all images and another one is trained; R + 1 trainings in all."""
    student_weights: Literal["fresh", "teacher"] = "fresh"
    """Weights with which a student begins: fresh ones, or those of the one that labelled."""
    unlabelled_batches: Annotated[int, Field(ge=1, le=16)] = 1
    """Pseudo-labelled images for each labelled one in the batches of the later trainings. With 3 a quarter of a batch
    is labelled, and it has four times `data.batch_size` images."""


class NaiveStudentConfig(RoundsConfig):
    """Naive Student."""

    name: Literal["naive_student"]


class NoisyStudentConfig(RoundsConfig):
    """Noisy Student."""

    name: Literal["noisy_student"]
    soft_classes: Annotated[int, Field(ge=1, le=16)] = 3
    """k: classes of a pixel's soft label, the likeliest ones, whose probabilities are scaled to a sum of 1."""


class NaiveStudent(SelfTraining):
    """R + 1 trainings, each as long as the others: of labels, then R times of labels and of what the student before
    says of all unlabelled images. The loss is ST's, one mean over all pixels with a label, and so are its noise on the
    student's side (strong views, cut boxes; dropout and stochastic depth are `model`'s) and the teacher's sizes and
    mirror images. The student is of the teacher's size.
    """

    config: RoundsConfig

    def __init__(self, config: RoundsConfig, context: MethodContext) -> None:
        self.trainings = config.rounds + 1
        super().__init__(config, context)

    def stages(self) -> tuple[Stage, ...]:
        fresh, more = self.config.student_weights == "fresh", self.config.unlabelled_batches
        first, *later = (replace(stage, fresh=fresh) for stage in super().stages())
        return first, *(replace(one, needs=self._more(one.needs, more)) for one in later)

    def _more(self, needs: Needs, more: int) -> Needs:
        """So many pseudo-labelled images for each labelled one. An epoch that is a pass over the unlabelled list is
        shorter then."""
        if more == 1:
            return needs
        images = None if needs.epoch_images is None else self.context.unlabelled * (1 + more) // more
        return replace(needs, unlabelled_batches=more, epoch_images=images)

    def label(self, stage: int, labeller: nn.Module, images: UnlabelledImages) -> None:
        self.masks = self.labelled_by(labeller, range(self.context.unlabelled), images)


class NoisyStudent(NaiveStudent):
    """The same on soft labels: L = (sum over labelled pixels of CE + sum over unlabelled ones of -sum_c p_c log q_c) /
    their number; p: the teacher's k largest probabilities of the pixel, in steps of 1/255, scaled to a sum of 1. Pixels
    below `conf_thresh` have no label. Another labelled loss than cross-entropy counts by the share of labelled pixels.

    The paper classifies images; of segmentation it says nothing.
    """

    config: NoisyStudentConfig

    def stages(self) -> tuple[Stage, ...]:
        planes = 2 * self._classes()
        return tuple(replace(one, needs=replace(one.needs, pseudo_planes=planes)) for one in super().stages())

    def _classes(self) -> int:
        return min(self.config.soft_classes, self.context.num_classes)

    def stored(self, p: Tensor) -> bytes:
        """A class and its probability in turns, from the likeliest on."""
        values, classes = p[0].topk(self._classes(), dim=0)
        classes[0] = torch.where(values[0] >= self.config.conf_thresh, classes[0], IGNORE)
        planes = torch.stack([classes, (values * STEPS).round().long()], dim=1).flatten(0, 1)
        return planes_to_png(planes.to(torch.uint8))

    def loss(self, logits: Tensor, labelled: Labelled, pseudo: Tensor, step: Step) -> Tensor:
        count = len(labelled.mask)
        classes, shares = pseudo[:, ::2], pseudo[:, 1::2].double()
        shares = shares / shares.sum(dim=1, keepdim=True).clamp(min=1)
        taught, known = classes[:, 0] != IGNORE, (labelled.mask != IGNORE).sum()
        nll = torch.zeros((), device=logits.device)
        for one, share in zip(classes.unbind(1), shares.unbind(1), strict=True):
            found = pixel_nll(logits[count:], torch.where(taught, one, IGNORE))
            nll = nll + (found * share.to(found.dtype)).sum()
        both = step.denominator(known + taught.sum())
        supervised = supervised_loss(logits[:count], labelled, step, self.config.ohem)
        return (supervised * step.denominator(known) + nll) / both
