"""DSBN: self-training on strongly changed images that have batch norm of their own (methods: section 25.9)."""

from collections.abc import Mapping
from contextlib import nullcontext
from math import log
from typing import Annotated, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from trainers.common.depends_on import OnlyIf
from trainers.interface.labels import IGNORE
from trainers.interface.method import AuxiliaryModule, MethodContext, Needs, Stage, UnlabelledImages
from trainers.interface.step import Step, StepOutput
from trainers.losses.functional import labels_of, pixel_nll
from trainers.methods.labelling import after_labels, below, in_passes
from trainers.methods.relabelling import Relabelling, RelabellingConfig
from trainers.methods.separate_norm import SeparateNorm
from trainers.methods.supervised import supervised_loss
from trainers.methods.unused import LABELLED_OFFLINE
from trainers.models.interface import SegmentationModel

REVERSE = -log(1e-4)
"""What the reverse cross-entropy takes for -log 0."""


class DsbnConfig(RelabellingConfig):
    """DSBN, the simple baseline with strong data augmentation."""

    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = LABELLED_OFFLINE

    name: Literal["dsbn"]
    separate_norm: bool = True
    """Strong images have batch norm of their own; false: that of the labelled ones."""
    rounds: Annotated[int, Field(ge=1, le=5)] = 1
    """How often all unlabelled images are labelled and trained on."""
    reverse_weight: Annotated[float, Field(ge=0)] = 1.0
    """beta, of the reverse cross-entropy: 1 in the published config, 0.5 in the code."""
    sure_thresh: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Confidence of the student above which a pseudo-labelled pixel has the reverse cross-entropy alone."""
    start_pull: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the squared distance of all weights from those that a later training began with."""
    supervised_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of `schedule.epochs` of the first training, which is on labels alone; none: as much as each later one."""
    stage_length: Literal["equal", "passes"] = "equal"
    """`equal`: an epoch has as many steps in every stage. `passes`: an epoch of the first training is a pass over the
    labelled list by 2 B images a step, of the later ones a pass over the unlabelled list. Where
    `schedule.steps_per_epoch` is given, it is the length of every epoch either way."""


class Dsbn(Relabelling):
    """The first training: L = L_x. Then, `rounds` times, all unlabelled images are labelled and
    L = L_x + mean over all pixels of (1 - w) CE + beta mean over all pixels of w RCE, of strong views with their stored
    labels: w the student's largest probability, detached, 1 where it is above the threshold;
    RCE = -log(1e-4) (1 - p), p the probability of the label. A pixel without label or image adds 0 and is in the
    divisor. One forward pass of labelled weak and unlabelled strong views.

    In that pass the strong views have batch norm of their own, weights and statistics, which begin as copies after the
    first training; evaluation, labelling and export know the labelled images' alone. Each training goes on with the
    weights of the network that labelled, with a fresh optimiser and schedule.

    The inter-pixel loss attaches from the second training on: its teacher is the network that labelled, frozen, on the
    weak view.
    """

    config: DsbnConfig

    def __init__(self, config: DsbnConfig, context: MethodContext) -> None:
        super().__init__(config, context)
        backbone = cast(SegmentationModel, context.student).backbone
        self.separate = SeparateNorm(context.student, backbone) if config.separate_norm else None
        self.start: dict[str, Tensor] = {}
        self.needs = self.stages()[0].needs

    def trained(self) -> dict[str, AuxiliaryModule]:
        if self.separate is None:
            return {}
        norms = self.separate.norms
        backbone = norms["backbone"]
        inside = next(backbone.parameters(), None) is not None
        return {"norms": AuxiliaryModule(module=norms, backbone=backbone if inside else None)}

    def stages(self) -> tuple[Stage, ...]:
        first, later = Needs(unlabelled=False), Needs(unlabelled=True, strong=1, boxes=0)
        if self.config.stage_length == "passes":
            first, later = in_passes(first, later, labelled=self.context.labelled, unlabelled=self.context.unlabelled)
        return after_labels(first, later, count=self.config.rounds, share=self.config.supervised_share)

    def begin(self, stage: int, images: UnlabelledImages) -> None:
        super().begin(stage, images)
        if stage == 1 and self.separate is not None:
            self.separate.begin()
        if self.config.start_pull > 0:
            self.start = {name: weight.detach().clone() for name, weight in self.student.named_parameters()}

    def label(self, stage: int, labeller: nn.Module, images: UnlabelledImages) -> None:
        self.masks = self.labelled_by(labeller, range(self.context.unlabelled), images)

    def kept(self, confidence: Tensor, label: Tensor) -> Tensor:
        return label

    def losses(self, step: Step) -> StepOutput:
        labelled, unlabelled, config = step.batch.labelled, step.batch.unlabelled, self.config
        step.student.train()
        if step.progress.stage == 0:
            return self.from_labels(step, labelled)
        assert unlabelled is not None
        assert unlabelled.pseudo is not None
        view, count = unlabelled.view, len(labelled.image)
        with nullcontext() if self.separate is None else self.separate.behind(count):
            logits = step.student(torch.cat([labelled.image, view.strong[0]]))
        strong = logits[count:]
        nll = pixel_nll(strong, unlabelled.pseudo)
        sure = labels_of(strong.detach())[1]
        weight = torch.where(sure > config.sure_thresh, 1.0, sure)
        pixels = step.denominator(torch.full((), nll.numel(), device=nll.device))
        terms = {
            "supervised": supervised_loss(logits[:count], labelled, step, config.ohem),
            "pseudo": ((1 - weight) * nll).sum() / pixels,
            "reverse": (weight * REVERSE * (1 - (-nll).exp())).sum() / pixels,
        }
        weights = {"supervised": 1.0, "pseudo": 1.0, "reverse": config.reverse_weight}
        if config.start_pull > 0:
            pulls = [(one - self.start[name]).square().sum() for name, one in self.student.named_parameters()]
            terms["pull"], weights["pull"] = torch.stack(pulls).sum(), config.start_pull
        valid = step.denominator((view.ignore != IGNORE).sum())
        return StepOutput(
            terms=terms,
            weights=weights,
            pairs=self.pair("s1", view.weak, strong, view.ignore),
            metrics={"sure": ((sure > config.sure_thresh) & (view.ignore != IGNORE)).sum() / valid},
        )

    def state_dict(self) -> dict[str, Tensor]:
        return super().state_dict() | {f"start.{name}": weight for name, weight in self.start.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        super().load_state_dict(state)
        self.start = below("start.", state)
