"""What a search knows of its trials' curves: the report's surrogate of score over configuration and budget
(`analysis.stats.sensitivity.gp_likelihood`), conditioned on the trials as they stand.

It differs from the report's fit, since it is asked at every report and has no end of a study to look back from. The
hyperparameters stand at their mode, which is sought again when the rows have grown by `GROWTH`. Scores far below the
usual ones count as less low, so that a run that collapsed does not decide what the others are compared by. Every rung
has a unit of its own: where scores at the first differ by little and those at the end by much, the little says nothing
of the much. Of many trials the leading ones stay.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from analysis.stats.sensitivity.anova_basis import Basis, Floats
from analysis.stats.sensitivity.gp_likelihood import Model, Rows
from analysis.stats.sensitivity.posterior_function import Conditioned, Function, normals
from analysis.stats.sensitivity.posterior_mode import find_mode
from ipix_tune.config.dimension import nearest_value
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.search.trial_record import TrialRecord
from ipix_tune.trainer.resources import Value

GROWTH = 1.3
ITERATIONS = 60
"""Steps of the search for the mode, at most; it begins at the last one."""
MOST, LEADING = 250, 150
"""Trials that count at most, and how many of them are the leading ones; the others are taken at even distances."""
AS_BEFORE = 4
"""Trials that say that scores differ at a rung as much as at the one before, beside those that were seen at both."""
LOWEST = 2.0
"""How far below the median of its rung a score counts at most, in units of the distance from there to the 95 %
quantile."""
EVEN, NEAR, LEADERS = 300, 10, 10
"""Configurations among which a function's maximum is sought first: drawn evenly, and near each of the leaders."""
ROUNDS, KEPT, MORE = 4, 10, 12
"""Then so many times: near each of the best ones so many."""
WIDTHS, MOVED = (0.3, 0.1, 0.03), 0.4
"""Spreads of a configuration near another on a range, which is 1 wide, and the chance that a value is moved."""


@dataclass(frozen=True, kw_only=True)
class Guess:
    """A function that may be the true one. ``ends``: what each trial would come to at full length, by key; more is
    better, in a unit of its own."""

    function: Function
    ends: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class _Known:
    records: list[TrialRecord]
    places: Floats
    rows: Rows


class CurveSurrogate:
    """The surrogate of one study.

    Args:
        space: its search space.
        levels: the rungs and the full length, in epochs, ascending.
        sign: 1 where more is better, else -1.
        least: trials with a score at a rung, before which nothing is modelled; 2 at least.
    """

    def __init__(self, space: SearchSpace, *, levels: Sequence[int], sign: int, least: int) -> None:
        self._least = max(least, 2)
        self._space, self._levels, self._sign = space, tuple(levels), sign
        self._basis = Basis(space.describe())
        self._ranged = np.array([axis.choices is None for axis in self._basis.axes])
        self.theta: Floats | None = None
        """The mode of the hyperparameters when it was last sought."""
        self.rows = 0
        """How many scores there were then."""

    def scored(self, records: Sequence[TrialRecord]) -> list[TrialRecord]:
        """Those that can be modelled: with a score at a rung, and not failed."""
        return [one for one in records if one.state != "failed" and any(at in one.scores for at in self._levels)]

    def fit(self, records: Sequence[TrialRecord]) -> bool:
        """Seek the mode where there are enough new scores; whether there is one."""
        scored = self.scored(records)
        count = sum(level in one.scores for one in scored for level in self._levels)
        if len(scored) >= self._least and (self.theta is None or count >= self.rows * GROWTH):
            known = self._gathered(scored)
            with _one_thread():
                self.theta = find_mode(Model(self._basis, known.rows), start=self.theta, iterations=ITERATIONS)
            self.rows = count
        return self.theta is not None

    def given(self, records: Sequence[TrialRecord]) -> "Posterior":
        """What follows from the trials; there must be a mode."""
        assert self.theta is not None
        known = self._gathered(self.scored(records))
        with _one_thread():
            features = self._basis.joined(known.rows.singles)
            conditioned = Conditioned(Model(self._basis, known.rows), features, self.theta)
        return Posterior(self, known, conditioned)

    def _gathered(self, scored: Sequence[TrialRecord]) -> _Known:
        records = self._counted(scored)
        pairs = [
            (who, at, self._sign * one.scores[level], one.state == "infeasible")
            for who, one in enumerate(records)
            for at, level in enumerate(self._levels)
            if level in one.scores
        ]
        who, at = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
        scores = np.array([pair[2] for pair in pairs], dtype=float)
        infeasible = np.array([pair[3] for pair in pairs])
        for level in np.unique(at):
            scores[at == level] = _centered(scores[at == level], low=infeasible[at == level])
        places, active = self._basis.units([one.values for one in records])
        full = math.log(self._levels[-1] / self._levels[0]) or 1.0
        distances = np.log(self._levels[-1] / np.array(self._levels, dtype=float)) / full
        rows = Rows(
            who=who,
            distance=distances[at],
            scores=_in_units(scores, who, at),
            singles=tuple(self._basis.single(i, places[:, i], active[:, i]) for i in range(len(self._basis.axes))),
            extra=np.zeros(len(scores)),
        )
        return _Known(records=records, places=places, rows=rows)

    def _counted(self, scored: Sequence[TrialRecord]) -> list[TrialRecord]:
        """Of too many the leading ones, by rung and score there, and others at even distances in the order of their
        keys."""
        if len(scored) <= MOST:
            return list(scored)
        chosen = {one.key for one in sorted(scored, key=self.standing, reverse=True)[:LEADING]}
        others = [one for one in scored if one.key not in chosen]
        count = MOST - LEADING
        chosen |= {others[round(step * (len(others) - 1) / (count - 1))].key for step in range(count)}
        return [one for one in scored if one.key in chosen]

    def standing(self, one: TrialRecord) -> tuple[int, float]:
        """By which trials are ordered: the highest rung with a score, and the score there."""
        level = max(at for at in self._levels if at in one.scores)
        return level, self._sign * one.scores[level]

    def maximum(self, function: Function, leaders: Floats, rng: np.random.Generator) -> tuple[Floats, float]:
        """Where the function is highest, (axes,), and its value there.

        Args:
            leaders: places of the leading trials, (n, axes), near which it is sought too.
        """
        near = self._near(np.repeat(leaders, NEAR, axis=0), rng)
        places = np.concatenate([self._basis.places(rng, EVEN), near])
        values = self._at(places) @ function.weights
        for _ in range(ROUNDS):
            best = np.argsort(-values, kind="stable")[:KEPT]
            more = self._near(np.repeat(places[best], MORE, axis=0), rng)
            places = np.concatenate([places[best], more])
            values = np.concatenate([values[best], self._at(more) @ function.weights])
        best_of_all = int(np.argmax(values))
        return places[best_of_all], function.level + float(values[best_of_all])

    def _at(self, places: Floats) -> Floats:
        active = self._basis.active(places)
        return self._basis.joined([self._basis.single(i, places[:, i], active[:, i]) for i in range(places.shape[1])])

    def _near(self, places: Floats, rng: np.random.Generator) -> Floats:
        moved = rng.random(places.shape) < MOVED
        still = ~moved.any(axis=1)
        moved[still, rng.integers(places.shape[1], size=int(still.sum()))] = True
        width = rng.choice(WIDTHS, size=(len(places), 1))
        shifted = np.clip(places + width * rng.standard_normal(places.shape), 0, 1)
        drawn = np.where(self._ranged, shifted, self._basis.places(rng, len(places)))
        found: Floats = np.where(moved, drawn, places)
        return found

    def values(self, place: Floats) -> dict[str, Value]:
        """The configuration there."""
        active = self._basis.active(place[None])[0]
        return {
            axis.name: nearest_value(self._space.dimensions[axis.name], axis.value(float(unit)))
            for axis, unit, on in zip(self._basis.axes, place, active, strict=True)
            if on
        }


class Posterior:
    """What the trials so far leave open; made by :meth:`CurveSurrogate.given`."""

    def __init__(self, surrogate: CurveSurrogate, known: _Known, conditioned: Conditioned) -> None:
        self._surrogate, self._known, self._conditioned = surrogate, known, conditioned
        self._mean = conditioned.mean()
        order = sorted(range(len(known.records)), key=lambda i: surrogate.standing(known.records[i]), reverse=True)
        self._leaders = known.places[order[:LEADERS]]

    @property
    def mean(self) -> Guess:
        """The most likely function."""
        return self._guess(self._mean)

    def draw(self, rng: np.random.Generator) -> Guess:
        """A function as likely as the posterior has it, drawn towards the mean: it goes u^2 of the way from there, u
        even between 0 and 1. So most proposals use what is known, and trials that run side by side differ."""
        rows, count = self._known.rows, len(self._known.records)
        numbers = normals(rng, width=len(self._mean.weights), trials=count, rows=len(rows.scores))
        with _one_thread():
            drawn = self._conditioned.draw(numbers)
        return self._guess(self._mean.towards(drawn, rng.random() ** 2))

    def maximum(self, guess: Guess, rng: np.random.Generator) -> tuple[dict[str, Value], float]:
        """The best configuration if the guess is right, and what it would come to."""
        with _one_thread():
            place, value = self._surrogate.maximum(guess.function, self._leaders, rng)
        return self._surrogate.values(place), value

    def _guess(self, function: Function) -> Guess:
        ends = {one.key: float(end) for one, end in zip(self._known.records, function.ends, strict=True)}
        return Guess(function=function, ends=ends)


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # looks through all loaded libraries, which takes longer than a decision


def _one_thread() -> AbstractContextManager[object]:
    """The matrices are small, and several threads do not give the same bits everywhere."""
    found: AbstractContextManager[object] = _controller().limit(limits=1, user_api="blas")
    return found


def _in_units(scores: Floats, who: NDArray[np.int64], at: NDArray[np.int64]) -> Floats:
    """Scores of each rung in its own unit: what trials differ by at the first; from there by how much more the same
    trials differ at the next, since those that go on are a selection."""
    unit, found = float(scores[at == at.min()].std()) or 1.0, np.empty_like(scores)
    before: dict[int, float] = {}
    for level in np.unique(at):
        own = dict(zip(who[at == level].tolist(), scores[at == level].tolist(), strict=True))
        both = [trial for trial in own if trial in before]
        if both and (usual := float(np.var([before[trial] for trial in both]))) > 0:
            now = float(np.var([own[trial] for trial in both]))
            unit *= math.sqrt((len(both) * now + AS_BEFORE * usual) / ((len(both) + AS_BEFORE) * usual))
        found[at == level] = scores[at == level] / unit
        before = own
    return found / (float(found.std()) or 1.0)


def _centered(scores: Floats, *, low: NDArray[np.bool_]) -> Floats:
    """Scores at one rung with mean 0; those far below the others, and those of ``low``, are raised or set to the lowest
    that counts."""
    middle, high = np.median(scores), np.quantile(scores, 0.95)
    floor = float(middle - LOWEST * (high - middle)) if high > middle else float(scores.min())
    counted = np.where(low, floor, np.maximum(scores, floor))
    found: Floats = counted - counted.mean()
    return found
