"""Several trainings, between which unlabelled images are labelled: what such methods share (methods: section 12)."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from trainers.common.section import Section
from trainers.data.read import mask_to_png
from trainers.interface.batch import Labelled
from trainers.interface.method import MethodContext, Stateless, UnlabelledImages
from trainers.interface.step import Pair, Step, StepOutput
from trainers.methods.labelling import below, copy_of, masks_from_tensors, predict, tensors_from_masks
from trainers.methods.supervised import Ohem, supervised_loss


class RelabellingConfig(Section):
    """How unlabelled images are labelled."""

    labeller: Literal["final", "best"] = "final"
    """Whose masks the next stage learns from, and whose weights it goes on with where it does not begin afresh: a
    stage's last student, or its best on held-out images."""
    scales: tuple[Annotated[float, Field(gt=0)], ...] = (0.5, 0.75, 1.0, 1.5, 2.0)
    """Sizes at which an image is labelled; the class probabilities are averaged."""
    flip: bool = True
    """Label the mirrored image too."""
    ohem: Ohem = None
    """Mine hard pixels (Cityscapes); none: plain cross-entropy."""


class Relabelling(Stateless):
    """Keeps the pseudo-masks, the frozen network that made them where the inter-pixel loss wants a teacher, and the
    best weights where these label. A method says what its stages are and which pixels keep their label."""

    def __init__(self, config: RelabellingConfig, context: MethodContext) -> None:
        self.config, self.context, self.student = config, context, context.student
        self.masks: dict[int, bytes] = {}
        self.labeller: nn.Module | None = None
        self.best: tuple[float, dict[str, Tensor]] | None = None

    def begin(self, stage: int, images: UnlabelledImages) -> None:
        labeller = copy_of(self.student)
        if self.config.labeller == "best" and self.best is not None:
            labeller.load_state_dict(self.best[1])
            if not self.stages()[stage].fresh:
                self.student.load_state_dict(self.best[1])
        self.best = None
        self.label(stage, labeller, images)
        self.labeller = labeller if self.context.pairs else None

    @abstractmethod
    def label(self, stage: int, labeller: nn.Module, images: UnlabelledImages) -> None:
        """Set the masks that ``stage`` trains on."""

    @abstractmethod
    def kept(self, confidence: Tensor, label: Tensor) -> Tensor:
        """The label (1, H, W) that an image's pixels get, 255 where they get none, of the labeller's classes and their
        probabilities."""

    def stored(self, p: Tensor) -> bytes:
        """What is kept of an image's class probabilities (1, C, H, W)."""
        confidence, label = p.max(dim=1)
        return mask_to_png(self.kept(confidence, label)[0].to(torch.uint8))

    def labelled_by(self, network: nn.Module, places: Sequence[int], images: UnlabelledImages) -> dict[int, bytes]:
        """Masks of these images, of all processes."""
        config, found = self.config, {}
        for place, image in images(places):
            found[place] = self.stored(predict(network, image, scales=config.scales, flip=config.flip))
        return masks_from_tensors(
            {name: self.context.gather(tensor) for name, tensor in tensors_from_masks(found, self._device()).items()}
        )

    def _device(self) -> torch.device:
        return next(self.student.parameters()).device

    def pair(self, view: str, weak: Tensor, student: Tensor, ignore: Tensor) -> tuple[Pair, ...]:
        """What the inter-pixel loss may use: the frozen labeller on the weak view against the student."""
        if self.labeller is None:
            return ()
        with torch.no_grad():
            teacher = self.labeller(weak)
        return (Pair(view=view, teacher=teacher, student=student, ignore=ignore, box=None),)

    def from_labels(self, step: Step, labelled: Labelled) -> StepOutput:
        """The first training's loss, on labels alone: L = L_x."""
        loss = supervised_loss(step.student(labelled.image), labelled, step, self.config.ohem)
        return StepOutput(terms={"supervised": loss}, weights={"supervised": 1.0}, pairs=None)

    def pseudo_masks(self) -> Mapping[int, bytes] | None:
        return self.masks or None

    def after_epoch(self, score: float | None) -> None:
        if self.config.labeller == "best" and score is not None and (self.best is None or score > self.best[0]):
            self.best = score, {name: value.clone() for name, value in self.student.state_dict().items()}

    def state_dict(self) -> dict[str, Tensor]:
        state = {
            f"masks.{name}": tensor for name, tensor in tensors_from_masks(self.masks, torch.device("cpu")).items()
        }
        if self.labeller is not None:
            state |= {f"labeller.{name}": value for name, value in self.labeller.state_dict().items()}
        if self.best is not None:
            state |= {f"best.{name}": value for name, value in self.best[1].items()}
            state["best_score"] = torch.tensor(self.best[0], dtype=torch.float64)
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.masks = masks_from_tensors(below("masks.", state))
        labeller, best = below("labeller.", state), below("best.", state)
        self.labeller = copy_of(self.student) if labeller else None
        if self.labeller is not None:
            self.labeller.load_state_dict(labeller)
        self.best = (float(state["best_score"]), best) if best else None
