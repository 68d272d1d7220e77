"""An exponential moving average of a network, as a teacher (methods: section 0)."""

from typing import Literal

import torch
from torch import Tensor, nn

from trainers.models.frozen import copied
from trainers.models.interface import Features
from trainers.models.noise import noise_of

Buffers = Literal["own", "ema", "copy"]


class EmaTeacher:
    """theta_t <- d theta_t + (1 - d) theta_s with d = min(1 - 1 / (a n + 1), d_max) after n updates, so that the first
    update copies the student.

    Args:
        student: the network to average; copied. A frozen encoder is not averaged, and is the teacher's too.
        network: holds the average, instead of a copy of the student; trainable as it is.
        pace: a, above 1 for a shorter warm-up.
        decay: d_max.
        warm_up: False takes d_max from the first update on.
        buffers: batch-norm statistics. ``own``: left alone, and the teacher runs in train mode so that it gathers
            its own; ``ema``: averaged like the weights, teacher in eval mode; ``copy``: the student's, teacher in
            eval mode. Integer buffers are never averaged: copied, or left alone with ``own``.
        batch_statistics: the teacher normalises by its batch also where ``buffers`` is not ``own``.
    """

    def __init__(
        self,
        student: nn.Module,
        *,
        decay: float,
        buffers: Buffers,
        warm_up: bool = True,
        batch_statistics: bool = False,
        network: nn.Module | None = None,
        pace: float = 1.0,
    ) -> None:
        self.student = student
        self.network = copied(student).requires_grad_(False) if network is None else network
        self.pace = pace
        self.decay = decay
        self.buffers = buffers
        self.warm_up = warm_up
        self.train_mode = batch_statistics or buffers == "own"
        self.noise = noise_of(self.network)
        self.updates = 0

    @torch.no_grad()
    def update(self, decay: float | None = None) -> None:
        """One step of the average, after the student's optimiser step.

        Args:
            decay: d_max of this step, where it moves.
        """
        decay = self.decay if decay is None else decay
        decay = min(1 - 1 / (self.pace * self.updates + 1), decay) if self.warm_up else decay
        self.updates += 1
        self._move(decay)

    @torch.no_grad()
    def follow(self) -> None:
        """Take the student's weights while the average has not begun: no update of it."""
        self._move(0.0)

    def _move(self, decay: float) -> None:
        averaged = list(zip(self.network.parameters(), self.student.parameters(), strict=True))
        averaged = [(mine, theirs) for mine, theirs in averaged if mine is not theirs]  # a frozen encoder is of both
        for mine, theirs in zip(self.network.buffers(), self.student.buffers(), strict=True):
            if mine is theirs:
                continue
            if not mine.is_floating_point():
                if self.buffers != "own":
                    mine.copy_(theirs)
            elif self.buffers == "ema":
                averaged.append((mine, theirs))  # type: ignore[arg-type]
            elif self.buffers == "copy":
                mine.copy_(theirs)
        teacher, student = [list(column) for column in zip(*averaged, strict=True)]
        torch._foreach_mul_(teacher, decay)
        torch._foreach_add_(teacher, student, alpha=1 - decay)

    def ready(self) -> None:
        """In the mode in which it teaches; also where it gathers batch statistics, without dropout."""
        self.network.train(self.train_mode)
        for layer in self.noise:
            layer.eval()

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Logits, without gradient."""
        self.ready()
        logits: Tensor = self.network(images)
        return logits

    @torch.no_grad()
    def features(self, images: Tensor) -> Features:
        """All of its forward pass, without gradient."""
        self.ready()
        every: Features = self.network(images, features=True)
        return every

    def state_dict(self) -> dict[str, Tensor]:
        state = {f"teacher.{name}": value for name, value in self.network.state_dict().items()}
        return {**state, "updates": torch.tensor(self.updates)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        prefix = "teacher."
        self.network.load_state_dict(
            {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)}
        )
        self.updates = int(state["updates"])
