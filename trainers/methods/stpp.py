"""ST++: self-training on the more reliable images first (methods: section 12)."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from trainers.interface.method import MethodContext, UnlabelledImages
from trainers.interface.step import Step, StepOutput
from trainers.methods.labelling import below, copy_of, mean_iou, predict
from trainers.methods.st import SelfTraining, SelfTrainingConfig


class StPlusPlusConfig(SelfTrainingConfig):
    """ST++."""

    name: Literal["stpp"]
    snapshots: Annotated[int, Field(ge=2)] = 3
    """K: snapshots of the first stage, evenly spaced, the last one at its end."""
    reliable_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the unlabelled images, the most reliable ones, that the second stage trains on."""


class StPlusPlus(SelfTraining):
    """Three stages: on labelled images; on these and the most reliable unlabelled ones, labelled by the first student;
    on all, the rest of them labelled by the second.

    An image is the more reliable, the more the masks of K - 1 snapshots of the first stage agree with that of its last
    student: the mean of their mIoUs on it, over the classes that either shows.
    """

    trainings = 3

    def __init__(self, config: StPlusPlusConfig, context: MethodContext) -> None:
        self.fraction, self.count = config.reliable_fraction, config.snapshots
        super().__init__(config, context)
        self.snapshots: list[dict[str, Tensor]] = []
        self.done: tuple[int, int] | None = None

    def losses(self, step: Step) -> StepOutput:
        progress = step.progress
        self.done = (progress.step + 1, progress.total_steps) if progress.stage == 0 else None
        return super().losses(step)

    def after_step(self) -> None:
        if self.done is None:
            return
        steps, total = self.done
        while len(self.snapshots) < self.count - 1 and steps * self.count >= (len(self.snapshots) + 1) * total:
            self.snapshots.append({name: value.clone() for name, value in self.student.state_dict().items()})

    def label(self, stage: int, labeller: nn.Module, images: UnlabelledImages) -> None:
        places = range(self.context.unlabelled)
        if stage == 1:
            ranked = self.ranked(places, images)
            self.snapshots = []
            self.masks = self.labelled_by(labeller, sorted(ranked[: self._reliable(len(ranked))]), images)
        else:
            rest = [place for place in places if place not in self.masks]
            self.masks = self.masks | self.labelled_by(labeller, rest, images)

    def masked(self, stage: int) -> int:
        return self._reliable(self.context.unlabelled) if stage == 1 else self.context.unlabelled

    def _reliable(self, ranked: int) -> int:
        """How many of so many ranked images the second stage trains on."""
        return max(1, round(self.fraction * ranked))

    def ranked(self, places: Sequence[int], images: UnlabelledImages) -> list[int]:
        """The images that can be decoded, from the most to the least reliable."""
        earlier, last = [copy_of(self.student) for _ in self.snapshots], copy_of(self.student)
        for network, state in zip(earlier, self.snapshots, strict=True):
            network.load_state_dict(state)
        rows = []
        for place, image in images(places):
            final, *masks = [
                predict(one, image, scales=(1.0,), flip=False).argmax(dim=1)[0] for one in (last, *earlier)
            ]
            scores = [mean_iou(mask, final, self.context.num_classes) for mask in masks]
            rows.append([float(place), sum(scores) / len(scores)])
        table = torch.tensor(rows, dtype=torch.float64, device=self._device()).view(-1, 2)
        found = [(int(place), score) for place, score in self.context.gather(table).tolist()]
        return [place for place, _ in sorted(found, key=lambda one: (-one[1], one[0]))]

    def state_dict(self) -> dict[str, Tensor]:
        snapshots = {
            f"snapshot{number}.{name}": value
            for number, snapshot in enumerate(self.snapshots)
            for name, value in snapshot.items()
        }
        return {**super().state_dict(), **snapshots}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        super().load_state_dict(state)
        found = [below(f"snapshot{number}.", state) for number in range(self.count)]
        self.snapshots = [one for one in found if one]
