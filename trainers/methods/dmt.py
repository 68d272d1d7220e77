"""DMT: two networks that label for each other, and learn the less, the more they disagree (methods: section 25.1)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from trainers.common.depends_on import Above, OnlyIf
from trainers.common.section import Section
from trainers.data.read import planes_to_png
from trainers.interface.labels import IGNORE
from trainers.interface.method import AuxiliaryModule, MethodContext, Needs, Stage, Stateless, UnlabelledImages
from trainers.interface.step import Pair, Step, StepOutput
from trainers.losses.functional import labels_of, pixel_nll
from trainers.methods.curriculum import ClassQuantiles, ratios, sureness
from trainers.methods.labelling import (
    after_labels,
    below,
    copy_of,
    in_passes,
    masks_from_tensors,
    predict,
    tensors_from_masks,
)
from trainers.methods.supervised import Ohem, supervised_loss
from trainers.methods.unused import LABELLED_OFFLINE, NEVER, STRONG_VIEWS
from trainers.models.interface import SegmentationModel

Gamma = Annotated[float, Field(ge=0)]
NAMES = ("", "_peer")
PLANES = 4
"""Of a stored pseudo-label: the student's class and confidence, the peer's class and confidence."""


class DmtConfig(Section):
    """DMT."""

    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = {**LABELLED_OFFLINE, STRONG_VIEWS: NEVER}

    name: Literal["dmt"]
    agreement_gamma: Gamma = 5.0
    """gamma_1: where a network's class is the label, a pixel counts by p^gamma_1, p being what the network gives the
    label; 3 on Cityscapes. 0: by 1."""
    disagreement_gamma: Gamma = 5.0
    """gamma_2: where it is another class, of which the network is no surer than the labeller was of the label, by
    p^gamma_2. Where it is surer, the pixel does not count."""
    iterations: Annotated[int, Field(ge=1, le=10)] = 5
    """How often both networks label all images for each other."""
    first_ratio: Annotated[float, Field(gt=0, le=1), OnlyIf({"iterations": Above(1)})] = 0.2
    """Share of each class's pixels, the surest ones, that is labelled at first; it grows to 1 in equal steps."""
    unlabelled_batches: Annotated[int, Field(ge=1, le=16)] = 1
    """Pseudo-labelled images of a step for each labelled one; 7 on VOC and 3 on Cityscapes in the code."""
    supervised_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of `schedule.epochs` of the first training, which is on labels alone; none: as much as each later one."""
    labels_apart: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Share of the labelled images that only the student sees in the first training, and as many others that only the
    peer sees, so that the two differ by more than their first weights; 0.2 in the code where both have the same
    pretraining, which are two parts of 80% that have 60% in common."""
    stage_length: Literal["equal", "passes"] = "equal"
    """`equal`: an epoch has as many steps in every stage. `passes`, as published: an epoch of the first training is a
    pass over the labelled list, of the later ones a pass over the unlabelled list, by 1 + `unlabelled_batches` times
    `data.batch_size` images a step. Where `schedule.steps_per_epoch` is given, it is the length of every epoch either
    way."""
    ohem: Ohem = None
    """Mine hard pixels in the supervised loss; none: plain cross-entropy."""


class Dmt(Stateless):
    """The first training: L_x for either network. Then, `iterations` times: both label all unlabelled images, whole,
    and each learns from the other's labels:
    L = (sum over labelled pixels of CE + sum over pseudo-labelled pixels of w CE) / their number. w is not in the
    divisor, and is detached; p: the network's present probability of the label y, c' the labeller's confidence in it:

    - w = p^gamma_1 where argmax = y,
    - w = 0 where it is not and the network's largest probability is above c',
    - w = p^gamma_2 else.

    A pixel keeps its label where it is among the surest r of all pixels that were labelled as its class, r from
    `first_ratio` to 1. The code trains one network after the other, the second on labels of the first as it was before;
    both therefore learn from networks of one moment, and here they do so in the same steps, on the same images. The
    confidence is stored in steps of 1/255. Weights go on from training to training; optimisers and schedule begin anew.
    Labels are the last network's, where the code takes the best on held-out images.

    Both networks are evaluated; the score is the student's. The inter-pixel loss attaches from the second training on,
    in both directions: the network that labelled, frozen, teaches the other on the weak view. Another labelled loss
    than cross-entropy counts by the share of labelled pixels.
    """

    def __init__(self, config: DmtConfig, context: MethodContext) -> None:
        self.config, self.context = config, context
        self.student, self.peer = context.student, context.peer()
        self.training_peer = context.in_ddp(self.peer)
        self.masks: dict[int, bytes] = {}
        self.labellers: tuple[nn.Module, nn.Module] | None = None
        place = torch.randperm(context.labelled, generator=torch.Generator().manual_seed(context.seed))
        apart, device = round(config.labels_apart * context.labelled), next(context.student.parameters()).device
        self.unseen = ((place >= apart) & (place < 2 * apart)).to(device), (place < apart).to(device)
        """Which labelled images the student, and which the peer, does not see in the first training."""
        self.needs = self.stages()[0].needs

    def stages(self) -> tuple[Stage, ...]:
        config, more = self.config, self.config.unlabelled_batches
        first = Needs(unlabelled=False)
        later = Needs(unlabelled=True, unlabelled_batches=more, pseudo_planes=PLANES)
        if config.stage_length == "passes":
            first, later = in_passes(first, later, labelled=self.context.labelled, unlabelled=self.context.unlabelled)
        return after_labels(first, later, count=config.iterations, share=config.supervised_share)

    def networks(self) -> dict[str, nn.Module]:
        return {"student": self.student, "peer": self.peer}

    def trained(self) -> dict[str, AuxiliaryModule]:
        backbone = cast(SegmentationModel, self.peer).backbone
        return {"peer": AuxiliaryModule(module=self.peer, backbone=backbone, in_ddp=True)}

    def begin(self, stage: int, images: UnlabelledImages) -> None:
        networks = self.student.eval(), self.peer.eval()
        places, share = (
            range(self.context.unlabelled),
            ratios(self.config.first_ratio, self.config.iterations)[stage - 1],
        )
        seen = [ClassQuantiles(self.context.num_classes) for _ in networks]
        for _, image in images(places):
            for one, network in zip(seen, networks, strict=True):
                one.see(*_answer(network, image))
        lowest = [self._lowest(one, share) for one in seen]
        found = {}
        for place, image in images(places):
            planes = [
                plane
                for network, bound in zip(networks, lowest, strict=True)
                for plane in stored(*_answer(network, image), bound)
            ]
            found[place] = planes_to_png(torch.stack(planes))
        device = next(self.student.parameters()).device
        self.masks = masks_from_tensors(
            {name: self.context.gather(tensor) for name, tensor in tensors_from_masks(found, device).items()}
        )
        self.labellers = (copy_of(self.student), copy_of(self.peer)) if self.context.pairs else None

    def _lowest(self, seen: ClassQuantiles, share: float) -> Tensor:
        seen.counts = seen.counts.to(next(self.student.parameters()).device)
        return seen.lowest(share, self.context.gather)

    def losses(self, step: Step) -> StepOutput:
        forwards = step.student, self.training_peer
        for one in forwards:
            one.train()
        return self._from_labels(step, forwards) if step.progress.stage == 0 else self._from_each_other(step, forwards)

    def _from_labels(self, step: Step, forwards: Sequence[nn.Module]) -> StepOutput:
        terms = {}
        for forward, unseen, name in zip(forwards, self.unseen, NAMES, strict=True):
            labelled = step.batch.labelled
            if self.config.labels_apart > 0:
                assert labelled.index is not None
                hidden = unseen[labelled.index][:, None, None]
                labelled = replace(labelled, mask=labelled.mask.masked_fill(hidden, IGNORE))
            terms[f"supervised{name}"] = supervised_loss(forward(labelled.image), labelled, step, self.config.ohem)
        return StepOutput(terms=terms, weights=dict.fromkeys(terms, 1.0), pairs=None)

    def _from_each_other(self, step: Step, forwards: Sequence[nn.Module]) -> StepOutput:
        labelled, unlabelled = step.batch.labelled, step.batch.unlabelled
        assert unlabelled is not None
        assert unlabelled.pseudo is not None
        view, planes, count = unlabelled.view, unlabelled.pseudo.unbind(1), len(labelled.image)
        images, known = torch.cat([labelled.image, view.weak]), (labelled.mask != IGNORE).sum()
        terms: dict[str, Tensor] = {}
        metrics: dict[str, Tensor] = {}
        pairs: list[Pair] = []
        for own, (forward, name) in enumerate(zip(forwards, NAMES, strict=True)):
            label, confidence = planes[2 - 2 * own], planes[3 - 2 * own].double() / 255
            logits = forward(images)
            both = step.denominator(known + (label != IGNORE).sum())
            nll = pixel_nll(logits[count:], label)
            weight, disagree = self._weight(logits[count:].detach(), label, confidence, (-nll.detach()).exp())
            supervised = supervised_loss(logits[:count], labelled, step, self.config.ohem)
            terms[f"supervised{name}"] = supervised * step.denominator(known) / both
            terms[f"mutual{name}"] = (weight * nll).sum() / both
            metrics[f"disagreement{name}"] = disagree.sum() / both
            if self.labellers is not None:
                with torch.no_grad():
                    teacher = self.labellers[1 - own](view.weak)
                student = logits[count:]
                pairs.append(Pair(view="weak", teacher=teacher, student=student, ignore=view.ignore, box=None))
        return StepOutput(terms=terms, weights=dict.fromkeys(terms, 1.0), pairs=tuple(pairs), metrics=metrics)

    def _weight(self, logits: Tensor, label: Tensor, confidence: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        """w (B, H, W), and where a network's class is another than the label.

        Args:
            logits: the network's (B, C, H, W).
            label, confidence: the labeller's (B, H, W).
            p: what the network gives the label (B, H, W).
        """
        config, (own, sure) = self.config, labels_of(logits)
        disagree = (own != label) & (label != IGNORE)
        apart = torch.where(sure > confidence.to(sure.dtype), torch.zeros_like(p), p**config.disagreement_gamma)
        return torch.where(disagree, apart, p**config.agreement_gamma), disagree

    def pseudo_masks(self) -> Mapping[int, bytes] | None:
        return self.masks or None

    def state_dict(self) -> dict[str, Tensor]:
        state = {f"masks.{name}": one for name, one in tensors_from_masks(self.masks, torch.device("cpu")).items()}
        for name, labeller in zip(NAMES, self.labellers or (), strict=False):
            state |= {f"labeller{name}.{key}": value for key, value in labeller.state_dict().items()}
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.masks = masks_from_tensors(below("masks.", state))
        kept = [below(f"labeller{name}.", state) for name in NAMES]
        self.labellers = (copy_of(self.student), copy_of(self.peer)) if all(kept) else None
        for labeller, weights in zip(self.labellers or (), kept, strict=False):
            labeller.load_state_dict(weights)


def _answer(network: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    """Confidence and class of each pixel (1, H, W) of an image."""
    confidence, label = predict(network, image, scales=(1.0,), flip=False).max(dim=1)
    return confidence, label


def stored(confidence: Tensor, label: Tensor, lowest: Tensor) -> tuple[Tensor, Tensor]:
    """What is kept of an image's labels, (H, W) uint8 twice: the class, 255 where the pixel is not among the surest of
    it, and the confidence in steps of 1/255.

    Args:
        lowest: `sureness` from which on a pixel of each class is, (C,).
    """
    kept = sureness(confidence) >= lowest[label]
    return torch.where(kept, label, IGNORE)[0].to(torch.uint8), (confidence[0] * 255).round().to(torch.uint8)
