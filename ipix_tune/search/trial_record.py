"""One trial as the study's record has it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from analysis.columns import State
from analysis.stats.best import SEED, Scored, chance_of, settings_of
from ipix_tune.trainer.resources import Value


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trial as the record has it: ``scores`` by epoch, ``state`` as in `analysis.columns`; ``second_score`` is the
    value of the second objective after the epoch of the last score, None where it is not known."""

    key: str
    values: dict[str, Value]
    scores: dict[int, float]
    state: State
    error: str | None
    retries: int
    second_score: float | None = None
    stops: int | None = None
    """The epoch at which the scheduler stopped it, or was about to when the driver died."""
    cause: str | None = None
    """Kind of error of a failed trial; None where it was not recorded."""
    data_state: str | None = None
    """What the data were when it failed."""
    source: str | None = None
    """Who proposed its configuration: prior, incumbent, model or even; None: a point, or a sampler that says nothing of
    it."""
    again: bool = False
    """Whether it has ended before and was handed out once more: it was frozen, or it failed."""
    measured: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """By constrained metric its worst value so far, and by how much that breaks the constraint
    (`analysis.stats.constraints.excess`)."""

    @property
    def broken(self) -> dict[str, float]:
        """Constrained metrics that broke their constraint, with the worst value of each."""
        return {name: value for name, (value, excess) in self.measured.items() if excess > 0}

    @property
    def scored(self) -> Scored | None:
        """The trial in the form that `analysis.stats.best` compares; None without a score."""
        last = max(self.scores, default=0)
        return scored(
            self.key,
            self.values,
            state=self.state,
            epoch=last,
            score=self.scores.get(last),
            second_score=self.second_score,
        )


def scored(
    key: str, values: Mapping[str, Any], *, state: State, epoch: int, score: float | None, second_score: float | None
) -> Scored | None:
    """The trial; None where it has no finite score.

    Args:
        key: such as t0003: a letter and the number.
        values: the searched leaves that are active in it.
        state: how it stands.
        epoch: of its last score.
        score: that score.
        second_score: the second objective after that epoch.
    """
    if score is None or not math.isfinite(score):
        return None
    return Scored(
        number=trial_number(key),
        settings=settings_of(values),
        seed=chance_of(values, values.get(SEED)),
        state=state,
        epoch=epoch,
        score=score,
        second_score=second_score if second_score is not None and math.isfinite(second_score) else None,
    )


def trial_number(key: str) -> int:
    """3 of t0003."""
    return int(key[1:])
