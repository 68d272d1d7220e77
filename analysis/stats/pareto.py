"""Two objectives: which configurations no other is better than, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from analysis.stats.non_dominated import non_dominated
from analysis.stats.study import StudyTrials, Trial


@dataclass(frozen=True, kw_only=True)
class Point:
    """A configuration that ran all its epochs: its earliest trial, and means over its seeds of both objectives."""

    trial: Trial
    score: float
    second_score: float
    seeds: int
    on_front: bool


@dataclass(frozen=True, kw_only=True)
class Pareto:
    """All such configurations, best first by the first objective.

    Args:
        points: on the front or not.
        noise: what seeds differ by in the first objective; None where that is not known.
        close: configurations on the front that differ by less than that from another one there.
        near: configurations off the front that would be on it if they were better by that.
    """

    points: tuple[Point, ...]
    noise: float | None
    close: int
    near: int

    @property
    def front(self) -> tuple[Point, ...]:
        return tuple(point for point in self.points if point.on_front)


def pareto(study: StudyTrials, *, noise: float | None) -> Pareto | None:
    """The front of a study with two objectives; None while no trial that ran all its epochs has both.

    Args:
        noise: see :class:`Pareto`.
    """
    if study.second_objective is None:
        return None
    ranked = [one for one in study.ranked if one.full]
    if not ranked:
        return None
    on_front = {one.number for one in study.standings.front()}
    signed = [(study.sign * one.score, study.second_objective.sign * one.second_score) for one in ranked]
    points = tuple(
        Point(
            trial=study.by_number[one.number],
            score=one.score,
            second_score=one.second_score,
            seeds=one.seeds,
            on_front=one.number in on_front,
        )
        for one in ranked
    )
    return Pareto(
        points=points,
        noise=noise,
        close=0 if noise is None else _close([point.score for point in points if point.on_front], noise=noise),
        near=0 if noise is None else _near(signed, noise=noise),
    )


def _close(scores: Sequence[float], *, noise: float) -> int:
    """Scores that differ by less than ``noise`` from another."""
    ordered = sorted(scores)
    gaps = [float("inf"), *(b - a for a, b in pairwise(ordered)), float("inf")]
    return sum(min(below, above) < noise for below, above in pairwise(gaps))


def _near(signed: Sequence[tuple[float, float]], *, noise: float) -> int:
    """Points off the front that were on it if only they were better by ``noise`` in the first."""
    front = non_dominated(signed)
    moved = 0
    for index, (first, second) in enumerate(signed):
        if not front[index]:
            moved += non_dominated([*signed[:index], (first + noise, second), *signed[index + 1 :]])[index]
    return moved
