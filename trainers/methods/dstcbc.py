"""DST-CBC: a curriculum of pseudo-labels, the surest pixels of each class first (methods: section 25.2)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from trainers.common.depends_on import Above, OnlyIf
from trainers.interface.labels import IGNORE
from trainers.interface.method import MethodContext, Needs, Stage, UnlabelledImages
from trainers.interface.step import Step, StepOutput
from trainers.losses.functional import pixel_nll
from trainers.methods.curriculum import ClassQuantiles, ratios, sureness
from trainers.methods.labelling import after_labels, in_passes, predict
from trainers.methods.relabelling import Relabelling, RelabellingConfig
from trainers.methods.supervised import supervised_loss
from trainers.methods.unused import LABELLED_OFFLINE, NEVER, STRONG_VIEWS


class DstCbcConfig(RelabellingConfig):
    """DST-CBC."""

    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = {**LABELLED_OFFLINE, STRONG_VIEWS: NEVER}

    name: Literal["dstcbc"]
    scales: tuple[Annotated[float, Field(gt=0)], ...] = (1.0,)
    """Sizes at which an image is labelled; the class probabilities are averaged."""
    flip: bool = False
    """Label the mirrored image too."""
    iterations: Annotated[int, Field(ge=1, le=10)] = 5
    """How often all images are labelled anew and trained on."""
    first_ratio: Annotated[float, Field(gt=0, le=1), OnlyIf({"iterations": Above(1)})] = 0.2
    """Share of each class's pixels, the surest ones, that is labelled at first; it grows to 1 in equal steps."""
    gamma: Annotated[float, Field(ge=0)] = 9.0
    """A pseudo-labelled pixel counts by p^gamma, p being what the student gives the label; 0: all alike (CBST)."""
    supervised_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of `schedule.epochs` of the first training, which is on labels alone; none: as much as each later one."""
    stage_length: Literal["equal", "passes"] = "equal"
    """`equal`: an epoch has as many steps in every stage. `passes`, as published: an epoch of the first training is a
    pass over the labelled list by 2 B images a step, of the later ones a pass over the unlabelled list. Where
    `schedule.steps_per_epoch` is given, it is the length of every epoch either way."""


class DstCbc(Relabelling):
    """The first training: L = L_x. Then, `iterations` times: all unlabelled images are labelled, whole, and
    L = (sum of L_x's pixels + sum over pseudo-labelled pixels of p^gamma CE) / their number, with p the student's
    present probability of the label, detached, and not in the divisor. B labelled and B unlabelled weak views; one
    forward pass.

    A pixel keeps its label where it is among the surest r of all pixels that were labelled as its class, r from
    `first_ratio` to 1. The code divides the probabilities by the classes' thresholds before it takes the class, which
    may change it, and labels images that were squashed to a square; both were mended in DMT, whose rule this is. Each
    training goes on with the weights of the network that labelled, with a fresh optimiser and schedule. `labeller:
    best` is the best student of all trainings so far, as in the code.

    Another labelled loss than cross-entropy counts by the share of labelled pixels. The inter-pixel loss attaches from
    the second training on: its teacher is the network that labelled, frozen, on the weak view.
    """

    config: DstCbcConfig

    def __init__(self, config: DstCbcConfig, context: MethodContext) -> None:
        super().__init__(config, context)
        self.lowest = torch.zeros(context.num_classes, dtype=torch.int64)
        self.needs = self.stages()[0].needs

    def stages(self) -> tuple[Stage, ...]:
        first, later = Needs(unlabelled=False), Needs(unlabelled=True)
        if self.config.stage_length == "passes":
            first, later = in_passes(first, later, labelled=self.context.labelled, unlabelled=self.context.unlabelled)
        return after_labels(first, later, count=self.config.iterations, share=self.config.supervised_share)

    def begin(self, stage: int, images: UnlabelledImages) -> None:
        best = self.best
        super().begin(stage, images)
        self.best = best

    def label(self, stage: int, labeller: nn.Module, images: UnlabelledImages) -> None:
        config, places = self.config, range(self.context.unlabelled)
        seen = ClassQuantiles(self.context.num_classes)
        seen.counts = seen.counts.to(self._device())
        for _, image in images(places):
            seen.see(*predict(labeller, image, scales=config.scales, flip=config.flip).max(dim=1))
        self.lowest = seen.lowest(ratios(config.first_ratio, config.iterations)[stage - 1], self.context.gather)
        self.masks = self.labelled_by(labeller, places, images)

    def kept(self, confidence: Tensor, label: Tensor) -> Tensor:
        return torch.where(sureness(confidence) >= self.lowest[label], label, IGNORE)

    def losses(self, step: Step) -> StepOutput:
        labelled, unlabelled, config = step.batch.labelled, step.batch.unlabelled, self.config
        step.student.train()
        if step.progress.stage == 0:
            return self.from_labels(step, labelled)
        assert unlabelled is not None
        assert unlabelled.pseudo is not None
        view, pseudo, count = unlabelled.view, unlabelled.pseudo, len(labelled.image)
        logits = step.student(torch.cat([labelled.image, view.weak]))
        nll = pixel_nll(logits[count:], pseudo)
        known, taught = (labelled.mask != IGNORE).sum(), (pseudo != IGNORE).sum()
        both = step.denominator(known + taught)
        supervised = supervised_loss(logits[:count], labelled, step, config.ohem)
        valid = (view.ignore != IGNORE).sum()
        return StepOutput(
            terms={
                "supervised": supervised * (step.denominator(known) / both),
                "self_training": ((-nll.detach()).exp() ** config.gamma * nll).sum() / both,
            },
            weights={"supervised": 1.0, "self_training": 1.0},
            pairs=self.pair("weak", view.weak, logits[count:], view.ignore),
            metrics={"mask_ratio": step.denominator(taught) / step.denominator(valid)},
        )
