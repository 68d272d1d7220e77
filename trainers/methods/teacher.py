"""The state of a method whose teacher is a moving average of the student."""

from torch import Tensor, nn

from trainers.interface.method import Stateless
from trainers.methods.ema import EmaTeacher


class EmaMethod(Stateless):
    """Moves the teacher after every step, offers both networks for evaluation, and keeps the teacher's state."""

    def __init__(self, student: nn.Module, teacher: EmaTeacher) -> None:
        self.student = student
        self.teacher = teacher

    def after_step(self) -> None:
        self.teacher.update()

    def networks(self) -> dict[str, nn.Module]:
        return {"student": self.student, "teacher": self.teacher.network}

    def state_dict(self) -> dict[str, Tensor]:
        return self.teacher.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.teacher.load_state_dict(state)
