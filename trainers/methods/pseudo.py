"""What FixMatch and UniMatch share: who teaches, and how pseudo-labels are mixed as the images are."""

import functools
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from trainers.common.depends_on import OnlyIf
from trainers.common.section import Section
from trainers.data.views import neighbour
from trainers.interface.batch import Unlabelled
from trainers.interface.labels import IGNORE
from trainers.interface.method import Stateless
from trainers.interface.step import Pair
from trainers.losses.functional import labels_of
from trainers.methods.ema import Buffers, EmaTeacher


class TeacherConfig(Section):
    """The keys that say who teaches."""

    teacher: Literal["shared", "ema"] = "shared"
    """Who makes the pseudo-labels: the student itself, detached, or its moving average."""
    ema_decay: Annotated[float, Field(ge=0, lt=1), OnlyIf({"teacher": "ema"})] = 0.996
    """Largest decay of the moving average; used with `teacher: ema`."""
    ema_buffers: Annotated[Buffers, OnlyIf({"teacher": "ema"})] = "ema"
    """Batch-norm statistics of the teacher: its own, averaged like the weights, or copied."""


Labels = tuple[Tensor, Tensor]
"""Classes (B, H, W) int64 and confidences, the largest class probability."""


class Target:
    """A soft teacher's answer (detached logits (B, C, H, W)) and where there is no image (``ignore``, 255).

    Labels are found once for each answer and then mixed as maps; mixed logits are made only where they are asked for.
    """

    def __init__(
        self,
        *,
        logits: Tensor | Callable[[], Tensor],
        ignore: Tensor,
        labels: Callable[[], Labels] | None = None,
    ) -> None:
        self.ignore = ignore
        self._make_logits = logits
        self._make_labels = labels

    @functools.cached_property
    def logits(self) -> Tensor:
        return self._make_logits if isinstance(self._make_logits, Tensor) else self._make_logits()

    @functools.cached_property
    def _labels(self) -> Labels:
        return labels_of(self.logits) if self._make_labels is None else self._make_labels()

    def mixed(self, box: Tensor, partner: "Target") -> "Target":
        """With the partner's inside ``box`` (B, H, W)."""

        def labels() -> Labels:
            (label, confidence), (other, others) = self._labels, partner._labels
            return torch.where(box, other, label), torch.where(box, others, confidence)

        return Target(
            logits=lambda: torch.where(box[:, None], partner.logits, self.logits),
            ignore=torch.where(box, partner.ignore, self.ignore),
            labels=labels,
        )

    def neighbours(self) -> "Target":
        """The neighbours' answers: an in-batch partner's."""

        def labels() -> Labels:
            label, confidence = self._labels
            return neighbour(label), neighbour(confidence)

        return Target(logits=lambda: neighbour(self.logits), ignore=neighbour(self.ignore), labels=labels)

    def pseudo_labels(self) -> Labels:
        """Labels (B, H, W) int64 and confidences, the largest class probability."""
        return self._labels

    def mask_ratio(self, thresh: float) -> Tensor:
        """Share of the pixels without padding whose pseudo-label trains the student."""
        valid = self.ignore != IGNORE
        return ((self.pseudo_labels()[1] >= thresh) & valid).sum() / valid.sum().clamp(min=1)

    def pair(self, view: str, student: Tensor, box: Tensor | None) -> Pair:
        return Pair(
            view=view,
            teacher=self.logits,
            student=student,
            ignore=self.ignore,
            box=box,
            confidence=self.pseudo_labels()[1],
        )


class Teacher:
    """The student itself, detached, or its moving average.

    A shared teacher answers for a partner batch in eval mode, and for the batch itself with the logits that the
    student's own training forward gave (so that its batch-norm statistics see clean images too).
    """

    def __init__(self, config: TeacherConfig, student: nn.Module) -> None:
        self.student = student
        self.ema = (
            EmaTeacher(student, decay=config.ema_decay, buffers=config.ema_buffers) if config.teacher == "ema" else None
        )

    @torch.no_grad()
    def partner(self, unlabelled: Unlabelled) -> Target | None:
        """Its answer for the partner view, before the student trains; None for an in-batch partner."""
        if unlabelled.partner is None:
            return None
        view = unlabelled.partner
        if self.ema is not None:
            return Target(logits=self.ema(view.weak), ignore=view.ignore)
        self.student.eval()
        logits = self.student(view.weak)
        self.student.train()
        return Target(logits=logits, ignore=view.ignore)

    def own(self, unlabelled: Unlabelled, student_logits: Tensor) -> Target:
        """Its answer for the weak view."""
        view = unlabelled.view
        logits = student_logits.detach() if self.ema is None else self.ema(view.weak)
        return Target(logits=logits, ignore=view.ignore)


class PseudoLabelMethod(Stateless):
    """The state of a method whose only state is its teacher."""

    def __init__(self, config: TeacherConfig, *, student: nn.Module) -> None:
        self.student = student
        self.teacher = Teacher(config, student)

    def after_step(self) -> None:
        if self.teacher.ema is not None:
            self.teacher.ema.update()

    def networks(self) -> dict[str, nn.Module]:
        if self.teacher.ema is None:
            return {"student": self.student}
        return {"student": self.student, "teacher": self.teacher.ema.network}

    def state_dict(self) -> dict[str, Tensor]:
        return {} if self.teacher.ema is None else self.teacher.ema.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if self.teacher.ema is not None:
            self.teacher.ema.load_state_dict(state)


def pasted(unlabelled: Unlabelled, stream: int) -> Tensor:
    """Strong images of one stream with the partner's pasted into the boxes."""
    images = unlabelled.view.strong[stream]
    other = neighbour(images) if unlabelled.partner is None else unlabelled.partner.strong[stream]
    return torch.where(unlabelled.boxes[stream][:, None], other, images)


def mixed_target(own: Target, partner: Target | None, box: Tensor) -> Target:
    """The target of :func:`pasted`, mixed with the same box."""
    return own.mixed(box, own.neighbours() if partner is None else partner)
