"""What a study and its trainer tell each other: configs, epochs, what was found out beforehand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import BaseModel

from trainers.common.errors import ConfigError

Config = BaseModel
"""A run's config. Equal plain data (``model_dump(mode="json")``) is an equal config."""
Section = Mapping[str, Any]
"""The study's `trainer` section, or a config's plain data."""


class SpaceError(ConfigError):
    """A search space, a point or a `trainer` section that cannot be used; `path` says where in the study file."""

    def __init__(self, message: str, *, path: tuple[str | int, ...]) -> None:
        super().__init__(message)
        self.path = path


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What a run reports.

    Args:
        epoch: 1, 2, ... up to the full length.
        metrics: by name; one without a value is left out.
        split_hash: of the lists it trains on; '' where the trainer has none.
        saved: a checkpoint of this epoch lies in the run's folder.
        parts: in how many parts a step is computed, where that is not what its config says.
    """

    epoch: int
    metrics: dict[str, float]
    split_hash: str = ""
    saved: bool = False
    parts: int | None = None


NO_DEFAULT = object()
"""Stands for a default that there is not, where None may be one."""
Report = Callable[[Epoch], bool]
"""Takes an epoch, and says whether to go on."""


class Timing(Protocol):
    """What an epoch takes, as measured."""

    @property
    def words(self) -> str:
        """In one line."""
        ...

    def trial_hours(self, epochs: float) -> tuple[float, float]:
        """Hours of one trial for so many epochs, low and high."""
        ...


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a trainer found out about a config before anything is trained.

    Args:
        lines: about data and batches, for the plan.
        memory: about what a worker takes.
        warnings: what a user should know.
        timing: what an epoch takes; None where it was not measured.
    """

    lines: list[str] = field(default_factory=list)
    memory: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    timing: Timing | None = None
