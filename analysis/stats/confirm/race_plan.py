"""The plan of a confirmation: what is compared, how sure the answer has to be, and how many seeds it may take."""

import math
from collections.abc import Collection
from dataclasses import dataclass

from analysis.errors import PlanError
from analysis.stats.confirm.error_schedule import MOST_EXTENDED, Schedule

MOST_SEEDS = 30
"""Most seeds of an arm in a plan: the boundaries of many more looks would take minutes to compute."""


@dataclass(frozen=True, kw_only=True)
class RacePlan:
    """What is compared, and how sure the answer has to be. Fixed before the first score is seen.

    Seeds are numbered 0 to ``max_seeds`` - 1; which random seed stands behind a number is the caller's choice.

    Raises:
        PlanError: a field is out of its range.
    """

    delta: float = 0.3
    """Smallest difference that matters, in units of the objective; above 0."""
    error: float = 0.05
    """Family-wise, two-sided, over all comparisons and looks; in (0, 0.5)."""
    first_seeds: int = 3
    """Seeds before the first look; at least 2."""
    max_seeds: int
    """Seed budget of each arm; ``first_seeds`` to 30."""
    extensions: tuple[int, ...] = ()
    """Seed budget of each arm after each extension of the plan, increasing; at most 60. They are added when the plan is
    spent, and use a part of the error that is kept for them (`analysis.stats.confirm.error_schedule`)."""
    comparisons: tuple[tuple[str, str], ...]
    """(arm, other arm): every comparison that the report will make, each pair once."""
    kept: frozenset[str] = frozenset()
    """Arms that go on until their comparisons are decided, even when clearly worse than another: those of a published
    question, such as the paper's defaults and the same with alpha = 0."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.delta) and self.delta > 0):
            raise PlanError(f"delta = {self.delta}: a number above 0 is allowed")
        if not 0 < self.error < 0.5:
            raise PlanError(f"error = {self.error}: a number above 0 and below 0.5 is allowed")
        if self.first_seeds < 2:
            raise PlanError(f"first_seeds = {self.first_seeds}: at least 2 are needed for an interval")
        if not self.first_seeds <= self.max_seeds <= MOST_SEEDS:
            raise PlanError(
                f"max_seeds = {self.max_seeds}: first_seeds = {self.first_seeds} to {MOST_SEEDS} is allowed"
            )
        stops = (self.max_seeds, *self.extensions)
        if list(stops) != sorted(set(stops)) or stops[-1] > MOST_EXTENDED:
            raise PlanError(
                f"extensions = {list(self.extensions)}: increasing numbers above max_seeds = {self.max_seeds}, and at "
                f"most {MOST_EXTENDED}, are allowed"
            )
        if not self.comparisons:
            raise PlanError("comparisons is empty: name at least one pair of arms")
        seen: set[frozenset[str]] = set()
        for arm, other in self.comparisons:
            if arm == other:
                raise PlanError(f"comparisons: {arm} is compared with itself")
            if frozenset((arm, other)) in seen:
                raise PlanError(f"comparisons: {arm} against {other} is listed twice")
            seen.add(frozenset((arm, other)))
        if unknown := self.kept - set(self.arms):
            raise PlanError(f"kept: {_listed(unknown)} in no comparison; arms: {', '.join(self.arms)}")

    @property
    def arms(self) -> tuple[str, ...]:
        """All arms, in the order in which the comparisons mention them first."""
        return tuple(dict.fromkeys(arm for pair in self.comparisons for arm in pair))

    @property
    def seeds(self) -> int:
        """Seed budget of each arm, with the extensions."""
        return (self.max_seeds, *self.extensions)[-1]

    @property
    def schedule(self) -> Schedule:
        """Looks and error of each comparison."""
        return Schedule(
            first=self.first_seeds,
            stops=(self.max_seeds, *self.extensions),
            error=self.error,
            comparisons=len(self.comparisons),
        )


def _listed(arms: Collection[str]) -> str:
    return ", ".join(sorted(arms)) + (" is" if len(arms) == 1 else " are")
