"""UCC: two heads teach each other on images with labelled objects in them (methods: section 16).

No code of it is public; what its abstract leaves open is read as the config and the class say.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from trainers.common.depends_on import Above, OnlyIf
from trainers.common.float32 import exact
from trainers.common.section import Section
from trainers.common.transfer import HostRead
from trainers.interface.batch import SemiBatch
from trainers.interface.labels import IGNORE
from trainers.interface.method import AuxiliaryModule, MethodContext, Needs, Stateless
from trainers.interface.step import Pair, Step, StepOutput
from trainers.losses.functional import class_sizes, pixel_nll
from trainers.methods.mixing import image_generators
from trainers.methods.supervised import Ohem, supervised_loss
from trainers.methods.unused import CUTMIX, FEATURE_STREAM, NEVER, TARGET
from trainers.models.interface import Features, SegmentationModel

COPY_PASTE = 300


class UccConfig(Section):
    """UCC."""

    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = {CUTMIX: NEVER, TARGET: NEVER, FEATURE_STREAM: NEVER}

    name: Literal["ucc"]
    cross_weight: Annotated[float, Field(ge=0)] = 1.0
    """lambda, of the heads' losses against each other."""
    copy_paste_p: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability that an unlabelled image gets the objects of a labelled one, where they lie there."""
    copy_paste_classes: Annotated[int, Field(ge=1), OnlyIf({"copy_paste_p": Above(0)})] = 1
    """Classes pasted onto one image, of those that the labelled one shows; rare ones are drawn more often."""
    reweight: Annotated[bool, OnlyIf({"cross_weight": Above(0)})] = True
    """Pixels count by exp(-KL) of the heads' answers for the weak view, the teaching one first; false: all alike."""
    ohem: Ohem = None
    """Mine hard pixels in the supervised loss (Cityscapes); none: plain cross-entropy."""


class Ucc(Stateless):
    """L = CE(q1, y) + CE(q2, y) + lambda sum_{i != j} mean over pixels without padding of v_i CE(q_j of the strong
    view, class of head i for the weak view), with v_i = exp(-KL(softmax p_i, softmax p_j)) of the weak view's answers.

    The strong view has objects of the labelled image in the same place of the batch; their pixels have its labels, and
    count 1. Classes are drawn in inverse proportion to the labelled pixels that were seen of each, of all processes.
    The heads are decoders with all that is not the encoder (pyramid pooling, classifier), on one encoder.

    Both heads are evaluated; the score is that of the student's own. The inter-pixel loss sees both directions, without
    the pasted pixels. The host waits once a step, for the classes of the labelled crops.
    """

    needs = Needs(unlabelled=True, strong=1, boxes=0)

    def __init__(self, config: UccConfig, context: MethodContext) -> None:
        self.config, self.context = config, context
        self.student = cast(SegmentationModel, context.student)
        self.head = cast(SegmentationModel, context.peer())
        self.head.backbone = nn.Identity()
        self.second = SecondHead(self.student, self.head)
        self.training_head = context.in_ddp(FromFeatures(self.head))
        self.seen = torch.zeros(context.num_classes, dtype=torch.float64)

    def networks(self) -> dict[str, nn.Module]:
        return {"student": self.student, "second": self.second}

    def trained(self) -> dict[str, AuxiliaryModule]:
        return {"head": AuxiliaryModule(module=self.head, in_ddp=True)}

    def losses(self, step: Step) -> StepOutput:
        config, labelled, unlabelled = self.config, step.batch.labelled, step.batch.unlabelled
        assert unlabelled is not None
        view, count = unlabelled.view, len(labelled.image)
        pasted = self.pasted(step.batch, self._classes(labelled.mask))
        images = torch.where(pasted[:, None], labelled.image, view.strong[0])
        step.student.train()
        self.head.train()
        clean = self._both(step, torch.cat([labelled.image, view.weak]))
        strong = self._both(step, images)
        weak = [logits[count:].detach() for logits in clean]
        log_p = [exact(logits).log_softmax(dim=1) for logits in weak]
        ignore = torch.where(pasted, labelled.mask, view.ignore)
        terms, pairs = {}, []
        for learner, teacher, name in ((0, 1, ""), (1, 0, "_second")):
            terms[f"supervised{name}"] = supervised_loss(clean[learner][:count], labelled, step, config.ohem)
            label = torch.where(
                ignore == IGNORE, IGNORE, torch.where(pasted, labelled.mask, weak[teacher].argmax(dim=1))
            )
            nll = pixel_nll(strong[learner], label)
            if config.reweight:
                apart = (log_p[teacher].exp() * (log_p[teacher] - log_p[learner])).sum(dim=1)
                nll = nll * torch.where(pasted, torch.ones_like(apart), (-apart).exp())
            terms[f"cross{name}"] = nll.sum() / step.denominator((label != IGNORE).sum())
            unseen = torch.where(pasted, IGNORE, view.ignore)
            pairs.append(Pair(view="s1", teacher=weak[teacher], student=strong[learner], ignore=unseen, box=None))
        return StepOutput(
            terms=terms,
            weights={name: config.cross_weight if name.startswith("cross") else 1.0 for name in terms},
            pairs=tuple(pairs) if self.context.pairs else (),
            metrics={"pasted": pasted.double().mean()},
        )

    def _both(self, step: Step, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of both heads."""
        seen: Features = step.student(images, features=True)
        return seen.logits, self.training_head(seen.maps, (images.shape[-2], images.shape[-1]))

    def _classes(self, mask: Tensor) -> list[list[int]]:
        """The classes that each labelled image shows, after their pixels are counted."""
        sizes = class_sizes(mask, self.context.num_classes)
        here, total = HostRead(sizes, self.context.total(sizes.sum(dim=0).double()))()
        self.seen = self.seen + total
        return [row.nonzero().flatten().tolist() for row in here]

    def pasted(self, batch: SemiBatch, classes: Sequence[list[int]]) -> Tensor:
        """Where the labelled image is pasted onto the unlabelled one, (B, H, W) bool.

        Args:
            classes: those that each labelled image shows.
        """
        mask = batch.labelled.mask
        where = torch.zeros_like(mask, dtype=torch.bool)
        for place, rng in enumerate(image_generators(batch, COPY_PASTE)):
            if rng.random() >= self.config.copy_paste_p:
                continue
            shown = classes[place]
            rarity = 1 / self.seen[shown].numpy()
            count = min(self.config.copy_paste_classes, len(shown))
            for label in rng.choice(shown, size=count, replace=False, p=rarity / rarity.sum()) if shown else []:
                where[place] |= mask[place] == int(label)
        return where

    def state_dict(self) -> dict[str, Tensor]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.seen = state["seen"].clone()


class SecondHead(nn.Module):
    """A network's encoder with another head."""

    def __init__(self, network: SegmentationModel, head: SegmentationModel) -> None:
        super().__init__()
        self.network, self.head = network, head

    def forward(self, images: Tensor) -> Tensor:
        return self.network.through(images, self.head)


class FromFeatures(nn.Module):
    """A network's decoder, of maps that another's encoder gave."""

    def __init__(self, head: SegmentationModel) -> None:
        super().__init__()
        self.head = head

    def forward(self, maps: tuple[Tensor, ...], size: tuple[int, int]) -> Tensor:
        """Logits (B, C, *size) of an encoder's maps."""
        head = self.head
        logits: Tensor = head.upsample(head.tail(head.join(maps, size).neck), size)
        return logits
