"""Is the surrogate better than the mean? Trials are left out, in groups of one configuration each, and foretold."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky

from analysis.stats.basis import Floats
from analysis.stats.bootstrap import interval
from analysis.stats.likelihood import Model, Rows
from analysis.stats.study import Study
from analysis.stats.surrogate import Data, Surrogate, find_mode, fit, gather

FOLDS, REPEATS, ITERATIONS = 5, 1000, 25


@dataclass(frozen=True, kw_only=True)
class Check:
    """Errors over ``scores`` scores of ``trials`` trials that were left out: root mean squares of the surrogate's,
    and of the mean's of the other trials at the same epoch. ``skill``: 1 - the ratio of their squares, with its
    interval by resampling trials. ``covered``: the share of scores inside the surrogate's 95 % intervals. ``full``:
    scores at full budget, and both errors there; None where there are none."""

    trials: int
    scores: int
    error: float
    mean_error: float
    skill: tuple[float, float, float]
    covered: float
    full: tuple[int, float, float] | None

    @property
    def usable(self) -> bool:
        """Whether the surrogate is better than the mean."""
        return self.skill[1] > 0


def fit_and_check(study: Study) -> tuple[Surrogate, Check] | None:
    """The study's surrogate and its check; None where there is too little to fit one."""
    surrogate = fit(study)
    return None if surrogate is None else (surrogate, check(surrogate))


def check(surrogate: Surrogate, *, seed: int = 0) -> Check:
    """Cross-validation over the configurations; hyperparameters are fitted anew to the trials of each fold."""
    data = gather(surrogate.study)
    assert data is not None
    rng = np.random.default_rng(seed)
    folds = _folds(surrogate, rng)
    raw = data.rows.scores * data.scale + data.centers[data.at]
    ours, means, spans = (np.full(len(raw), math.nan) for _ in range(3))
    for fold in range(FOLDS):
        held = (folds == fold)[data.rows.who]
        if not held.any():
            continue
        ours[held], means[held], spans[held] = _foretell(data, raw, held, start=surrogate.mode)
    known = np.isfinite(means)
    squares = np.stack([(ours - raw) ** 2, (means - raw) ** 2])[:, known]
    who = data.rows.who[known]
    by_trial = np.stack([np.bincount(who, weights=one, minlength=len(data.trials)) for one in squares])
    drawn = rng.integers(len(data.trials), size=(REPEATS, len(data.trials)))
    sums = by_trial[:, drawn].sum(axis=2)
    ratio = float(squares[0].sum() / squares[1].sum())
    at_end = data.rows.distance[known] == 0
    ends = [float(np.sqrt(one[at_end].mean())) for one in squares] if at_end.any() else None
    return Check(
        trials=len(set(who.tolist())),
        scores=int(known.sum()),
        error=float(np.sqrt(squares[0].mean())),
        mean_error=float(np.sqrt(squares[1].mean())),
        skill=(1 - ratio, *interval(1 - sums[0] / np.maximum(sums[1], 1e-300))),
        covered=float((np.abs(ours - raw)[known] <= 1.96 * spans[known]).mean()),
        full=None if ends is None else (int(at_end.sum()), ends[0], ends[1]),
    )


def _folds(surrogate: Surrogate, rng: np.random.Generator) -> NDArray[np.int64]:
    """The fold of each trial; trials of one configuration share it."""
    settings = [trial.settings for trial in surrogate.trials]
    distinct = {one: i for i, one in enumerate(dict.fromkeys(settings))}
    shuffled = rng.permutation(len(distinct)) % FOLDS
    return np.array([shuffled[distinct[one]] for one in settings])


def _foretell(data: Data, raw: Floats, held: NDArray[np.bool_], *, start: Floats) -> tuple[Floats, Floats, Floats]:
    """Expected scores of the rows ``held``, means of the other trials' at the same epoch, and the standard deviations
    of what is expected; NaN at an epoch that no other trial reached."""
    kept = ~held
    centers = np.array([_mean(raw[kept & (data.at == level)]) for level in range(len(data.levels))])
    scores = raw[kept] - centers[data.at[kept]]
    scale = float(scores.std()) or 1.0
    who = data.rows.who[kept]
    left = np.unique(who)
    rows = Rows(
        who=np.searchsorted(left, who),
        distance=data.rows.distance[kept],
        scores=scores / scale,
        singles=tuple(one[left] for one in data.rows.singles),
    )
    theta = find_mode(Model(data.basis, rows), start=start, iterations=ITERATIONS)
    model = Model(data.basis, data.rows)
    covariance = model.covariance(model.hyper(theta))
    lower = cholesky(covariance[np.ix_(kept, kept)], lower=True)
    across = covariance[np.ix_(held, kept)]
    expected = across @ cho_solve((lower, True), rows.scores)
    variance = np.diag(covariance)[held] - (across * cho_solve((lower, True), across.T).T).sum(axis=1)
    means = centers[data.at[held]]
    return means + scale * expected, means, scale * np.sqrt(np.maximum(variance, 0.0))


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else math.nan
