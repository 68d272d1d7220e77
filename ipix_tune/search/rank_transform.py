"""What TPE is shown of a study's trials: where they stand among each other, however far each of them came.

A trial that was stopped has no final score, and one that ran in full is not good for that alone. So every trial that
has a score is given the final score that it would likely have had, and shown by its rank among these.
`docs/explanation/search.md` says why.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from ipix_tune.search.study_view import view

AS_BEFORE = 2
"""Trials that say that a lead at one rung stays as large at the next, beside those that were seen at both."""
SHOWN, BEST = 1000, 100
"""Trials with a rank that TPE is shown at most, and how many of these are the best."""
FORGOTTEN = 4
"""Ended trials of a study after which it is shown half of the earlier ones."""


def expected_ends(curves: Sequence[Mapping[int, float]], rungs: Sequence[int]) -> list[float | None]:
    """The score that each curve would likely have at the last rung; of a curve that came so far, the one that it has;
    None where it reached no rung.

    From rung to rung by a straight line through the curves that have both. Its slope is shrunk towards 1 with the
    weight of `AS_BEFORE` pseudo-observations, which vary as all curves do at the first of the two.

    Args:
        curves: scores by epoch.
        rungs: the epochs at which curves are compared, in order, the full length last.
    """
    return [None if math.isnan(end) else end for end in _ends(curves, rungs).tolist()]


def _ends(curves: Sequence[Mapping[int, float]], rungs: Sequence[int]) -> np.ndarray:
    """As :func:`expected_ends`, (curves,); not a number where a curve reached no rung."""
    return _ends_of(np.array([_at_rungs(one, rungs) for one in curves]).reshape(-1, len(rungs)))


def _at_rungs(curve: Mapping[int, float], rungs: Sequence[int]) -> list[float]:
    return [curve.get(rung, math.nan) for rung in rungs]


def _ends_of(scores: np.ndarray) -> np.ndarray:
    """The same of scores (curves, rungs)."""
    known = ~np.isnan(scores)
    ends = np.full(len(scores), math.nan)
    for here in range(scores.shape[1]):
        reached = known[:, here]
        ends[reached] = scores[reached, here]
        if here + 1 < scores.shape[1]:
            mean, slope, next_mean = _line(scores[:, here : here + 2])
            ends = next_mean + slope * (ends - mean)
    return ends


def _line(scores: np.ndarray) -> tuple[float, float, float]:
    """From one rung to the next: the mean there of the curves that have both, the slope, and their mean at the next.

    Args:
        scores: (curves, 2), not a number where a curve did not come so far.
    """
    known = ~np.isnan(scores)
    at_both = scores[known.all(axis=1)]
    if not len(at_both):
        return 0.0, 1.0, 0.0
    means = at_both.mean(axis=0)
    x, y = (at_both - means).T
    usual = AS_BEFORE * np.var(scores[known[:, 0], 0])
    slope = (x @ y + usual) / (x @ x + usual) if usual > 0 else 1.0
    return float(means[0]), float(slope), float(means[1])


def ranks(curves: Sequence[Mapping[int, float]], *, stopped: Sequence[bool]) -> list[float | None]:
    """Where each curve stands among all, by :func:`expected_ends`: see :func:`rank`. Rungs are the epochs after which
    curves were ``stopped``, and the longest curve's end."""
    rungs = {max(one) for one, early in zip(curves, stopped, strict=True) if early and one}
    rungs.add(max((max(one) for one in curves if one), default=0))
    return [None if math.isnan(where) else where for where in _places(_ends(curves, sorted(rungs))).tolist()]


def _places(ends: np.ndarray) -> np.ndarray:
    """:func:`rank` of every one that is a number among these."""
    ordered = np.sort(ends[~np.isnan(ends)])
    below = np.searchsorted(ordered, ends, side="left") + np.searchsorted(ordered, ends, side="right")
    return np.where(np.isnan(ends), math.nan, below / (2 * max(len(ordered), 1)))


def rank(score: float, ordered: Sequence[float]) -> float:
    """Where ``score`` stands among all scores, itself included, lowest first, between 0 and 1; equal ones share the
    middle of their ranks. A single score stands at 0.5: whether it is a good one is not known."""
    return (bisect_left(ordered, score) + bisect_right(ordered, score)) / (2 * len(ordered))


@dataclass(slots=True)
class _Curve:
    """What ranking needs of a trial. ``counts``: whether it is ranked; ``last``: its last epoch with a score; ``row``:
    its scores at ``rungs``."""

    trial: FrozenTrial
    counts: bool
    last: int
    stopped: bool
    rungs: tuple[int, ...] = ()
    row: list[float] = field(default_factory=list)

    def at(self, rungs: tuple[int, ...]) -> list[float]:
        """Scores there."""
        if self.rungs != rungs:
            self.rungs, self.row = rungs, _at_rungs(self.trial.intermediate_values, rungs)
        return self.row


class Ranking:
    """Ranks a study's trials time and again. Of a trial that has ended it looks up once what will not change: in a long
    study that is nearly all of the work."""

    def __init__(self) -> None:
        self._ended: dict[int, _Curve] = {}

    def ranked(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """See :func:`ranked`."""
        known = [self._ended.get(id(one)) or self._curve(one) for one in trials]
        counted = np.array([one.counts for one in known], dtype=bool)
        curves = [one for one in known if one.counts]
        longest = max((one.last for one in curves), default=0)
        rungs = tuple(sorted({longest, *(one.last for one in curves if one.stopped)}))
        where = np.full(len(trials), math.nan)
        where[counted] = _places(_ends_of(np.array([one.at(rungs) for one in curves]).reshape(-1, len(rungs))))
        stays = np.isnan(where)
        numbers = np.flatnonzero(~stays)
        shown = np.ones(len(trials), dtype=bool)
        shown[numbers[thinned_out(where[numbers])]] = False
        return [
            trials[index] if stays[index] else _at(trials[index], float(where[index]))
            for index in np.flatnonzero(shown).tolist()
        ]

    def __deepcopy__(self, memo: dict[int, Any]) -> "Ranking":
        return Ranking()  # a copy's trials would be copies, which nobody asks for; samplers are copied time and again

    def _curve(self, trial: FrozenTrial) -> _Curve:
        values = trial.intermediate_values
        counts = bool(values) and trial.state != TrialState.FAIL and not breaks_constraint(trial)
        found = _Curve(trial, counts, max(values, default=0), trial.state == TrialState.PRUNED)
        if trial.state.is_finished():
            self._ended[id(trial)] = found  # which keeps the trial, so that no other one gets its id
        return found


def ranked(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials with their ranks for final scores, those that still run included. What has no score at a rung is left
    as it is, and so are failed trials and those that break a constraint, which TPE puts behind all others by itself."""
    return Ranking().ranked(trials)


def thinned_out(places: np.ndarray) -> np.ndarray:
    """Which of the trials with these ranks, in the order of their numbers, TPE is not shown, as positions: of more than
    `SHOWN`, all but the `BEST` and others at even distances from the best of them to the lowest. TPE looks at every
    trial for every proposal, so that its time would grow with the square of their number; its good ones are 25 at
    most."""
    if len(places) <= SHOWN:
        return np.array([], dtype=int)
    others = np.argsort(-places, kind="stable")[BEST:]
    kept = _even_distances(len(others), SHOWN - BEST)
    return np.delete(others, kept)


def breaks_constraint(trial: FrozenTrial) -> bool:
    """Whether Optuna was told so."""
    return any(excess > 0 for excess in trial.constraints.values())


def _at(trial: FrozenTrial, where: float) -> FrozenTrial:
    changed = FrozenTrial.__new__(FrozenTrial)
    changed.__dict__.update(trial.__dict__)  # as `copy.copy`, at a tenth of its time: a proposal makes a thousand
    changed.state = TrialState.COMPLETE
    changed.value = where
    changed.system_attrs = {}  # read for constraints alone, of which it breaks none, time and again
    return changed


def _kinds(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Of the trials that ended, the first with each set of dimensions."""
    first: dict[frozenset[str], FrozenTrial] = {}
    for one in trials:
        if one.state in (TrialState.COMPLETE, TrialState.PRUNED):
            first.setdefault(frozenset(one.distributions), one)
    return list(first.values())


class RankedSampler(BaseSampler):
    """Shows ``model`` a study's trials by their ranks, and to every other proposal those of earlier studies too.

    Args:
        model: what learns from them.
        past: trials of earlier studies, as `ipix_tune.search.warm_start.past_trials` gives them.
    """

    def __init__(self, model: BaseSampler, past: Sequence[FrozenTrial] = ()) -> None:
        self._model = model
        self._past = list(past)
        self._ranking = Ranking()

    def _shown(self, study: Study, trial: FrozenTrial) -> Study:
        if trial.number % 2 == 0:
            return view(study, self._with_past)
        return view(study, self._ranking.ranked)

    def _with_past(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        return [*self._remembered(trials), *self._ranking.ranked(trials)]

    def _remembered(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Fewer the more trials of this study have ended, at even distances from the lowest rank to the highest."""
        ended = sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)
        count = round(len(self._past) / (1 + ended / FORGOTTEN))
        return [self._past[index] for index in _even_distances(len(self._past), count)]

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        # Optuna's groups of dimensions depend on which sets of them occur, and it goes through all trials to find these
        return self._model.infer_relative_search_space(view(self._shown(study, trial), _kinds), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._model.sample_relative(self._shown(study, trial), trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._model.sample_independent(self._shown(study, trial), trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._model.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._model.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._model.reseed_rng()


def _even_distances(length: int, count: int) -> list[int]:
    """``count`` of ``length`` indices, both ends among them where there are two or more."""
    if count < 2:
        return [length - 1] * count
    return [round(step * (length - 1) / (count - 1)) for step in range(count)]
