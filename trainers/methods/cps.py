"""CPS: two networks, each trained on the other's pseudo-labels (methods: section 8)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from trainers.common.depends_on import Above, OnlyIf
from trainers.common.section import Section
from trainers.data.views import neighbour
from trainers.interface.labels import IGNORE
from trainers.interface.method import AuxiliaryModule, MethodContext, Needs, Stateless
from trainers.interface.step import Step, StepOutput
from trainers.losses.functional import cross_entropy
from trainers.methods.pseudo import Target, mixed_target
from trainers.methods.supervised import Ohem, supervised_loss
from trainers.methods.unused import CUTMIX, FEATURE_STREAM, NEVER, STRONG_VIEWS, TARGET
from trainers.models.interface import SegmentationModel


class CpsConfig(Section):
    """CPS."""

    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = {
        STRONG_VIEWS: NEVER,
        CUTMIX: OnlyIf({"method.cutmix": True}),
        TARGET: OnlyIf({"method.cutmix": True, "views.cutmix_p": Above(0)}),
        FEATURE_STREAM: NEVER,
    }

    name: Literal["cps"]
    cps_weight: Annotated[float, Field(ge=0)] = 1.5
    """Weight lambda; the paper has 1.5 without and 1 with CutMix on VOC, 6 and 5 on Cityscapes."""
    cutmix: bool = False
    """Cross supervision on mixed unlabelled images, instead of plain labelled and unlabelled ones."""
    ohem: Ohem = None
    """Mine hard pixels in the supervised loss (Cityscapes); none: plain cross-entropy."""


class Cps(Stateless):
    """L = CE(q1, y) + CE(q2, y) + lambda (CE(q1, argmax q2) + CE(q2, argmax q1)); means over pixels without padding, no
    threshold.

    Plain: the cross terms are over labelled and unlabelled weak views, from the same forward. With CutMix: over mixed
    weak views of unlabelled images, and the labels are the mixed answers of both networks in train mode without
    gradient. Pixels of labelled images that are void take no part.

    Both networks are evaluated; the score is the student's. The inter-pixel loss sees both directions: each network is
    once the soft teacher.
    """

    def __init__(self, config: CpsConfig, context: MethodContext) -> None:
        self.config = config
        self.student, self.peer = context.student, context.peer()
        self.training_peer = context.in_ddp(self.peer)
        self.needs = Needs(unlabelled=True, boxes=1 if config.cutmix else 0)
        self.pairs = context.pairs

    def networks(self) -> dict[str, nn.Module]:
        return {"student": self.student, "peer": self.peer}

    def trained(self) -> dict[str, AuxiliaryModule]:
        return {
            "peer": AuxiliaryModule(module=self.peer, backbone=cast(SegmentationModel, self.peer).backbone, in_ddp=True)
        }

    def losses(self, step: Step) -> StepOutput:
        step.student.train()
        self.peer.train()
        return self._mixed(step) if self.config.cutmix else self._plain(step)

    def _plain(self, step: Step) -> StepOutput:
        labelled, unlabelled = step.batch.labelled, step.batch.unlabelled
        assert unlabelled is not None
        images, count = torch.cat([labelled.image, unlabelled.view.weak]), len(labelled.image)
        first, second = step.student(images), self.training_peer(images)
        ignore = torch.cat([labelled.mask, unlabelled.view.ignore])
        return self._output(
            step,
            supervised=(first[:count], second[:count]),
            students=(first, second),
            targets=[Target(logits=logits.detach(), ignore=ignore) for logits in (first, second)],
            pairs_from=count,
            box=None,
        )

    def _mixed(self, step: Step) -> StepOutput:
        labelled, unlabelled = step.batch.labelled, step.batch.unlabelled
        assert unlabelled is not None
        box = unlabelled.boxes[0]
        view, partner = unlabelled.view, unlabelled.partner
        with torch.no_grad():
            targets = []
            for network in (self.student, self.peer):
                own = Target(logits=network(view.weak), ignore=view.ignore)
                other = None if partner is None else Target(logits=network(partner.weak), ignore=partner.ignore)
                targets.append(mixed_target(own, other, box))
        images = torch.where(box[:, None], neighbour(view.weak) if partner is None else partner.weak, view.weak)
        supervised = step.student(labelled.image), self.training_peer(labelled.image)
        students = step.student(images), self.training_peer(images)
        return self._output(step, supervised=supervised, students=students, targets=targets, pairs_from=0, box=box)

    def _output(
        self,
        step: Step,
        *,
        supervised: tuple[Tensor, Tensor],
        students: tuple[Tensor, Tensor],
        targets: list[Target],
        pairs_from: int,
        box: Tensor | None,
    ) -> StepOutput:
        config, terms = self.config, {}
        for name, logits in zip(("supervised", "supervised_peer"), supervised, strict=True):
            terms[name] = supervised_loss(logits, step.batch.labelled, step, config.ohem)
        crossed = [(students[0], targets[1]), (students[1], targets[0])]
        for name, (logits, target) in zip(("cross", "cross_peer"), crossed, strict=True):
            label = target.logits.argmax(dim=1)
            terms[name] = cross_entropy(
                logits, torch.where(target.ignore == IGNORE, target.ignore, label), step.denominator
            )
        unlabelled = [
            Target(logits=target.logits[pairs_from:], ignore=target.ignore[pairs_from:]).pair(
                view, logits[pairs_from:], box
            )
            for view, (logits, target) in zip(("s1", "s2"), crossed, strict=True)
        ]
        weight = config.cps_weight
        return StepOutput(
            terms=terms,
            weights={"supervised": 1.0, "supervised_peer": 1.0, "cross": weight, "cross_peer": weight},
            pairs=tuple(unlabelled) if self.pairs else (),
        )
