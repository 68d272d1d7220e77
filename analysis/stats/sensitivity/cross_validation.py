"""Is the surrogate better than the mean? Trials are left out, in groups of one configuration each, and foretold."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky
from threadpoolctl import threadpool_limits

from analysis.compute.cache import digest, load_arrays, save_arrays
from analysis.compute.process_pool import Here
from analysis.stats.bootstrap import interval
from analysis.stats.sensitivity.anova_basis import Floats
from analysis.stats.sensitivity.gp_likelihood import Model, Rows
from analysis.stats.sensitivity.posterior_draws import Draws, draw
from analysis.stats.sensitivity.posterior_mode import find_mode
from analysis.stats.sensitivity.surrogate import Surrogate, drawn, settle
from analysis.stats.sensitivity.surrogate_data import Data, gather, without
from analysis.stats.study import StudyTrials

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


def fit_and_check(
    study: StudyTrials, *, keep: Path | None = None, pool: Executor | None = None
) -> tuple[Surrogate, Check] | None:
    """The study's surrogate and its check; None where there is too little to fit one.

    Args:
        study: with all its trials.
        keep: the file that both are taken from, where it has those of the same scores, and else kept in.
        pool: shares out the check's folds and the draws; none: this process does both.
    """
    data = gather(study)
    if data is None or study.max_epochs not in data.levels:
        return None
    scores = (data.basis, data.rows, data.levels, data.at, data.centers, data.scale)
    key = digest(scores, [trial.settings for trial in data.trials])
    known = None if keep is None else load_arrays(keep, key)
    if known is not None:
        return drawn(study, without(data, known["out"]), _draws(known)), _check_of(str(known["check"]))
    data, mode = settle(data)
    wait = begin(data, mode, pool=pool)
    draws = draw(data, mode, pool=pool)
    checked = wait()
    if keep is not None:
        save_arrays(keep, key, {**vars(draws), "out": data.out, "check": np.array(json.dumps(vars(checked)))})
    return drawn(study, data, draws), checked


def _draws(known: Mapping[str, NDArray[Any]]) -> Draws:
    return Draws(**{one.name: known[one.name] for one in fields(Draws)})


def _check_of(text: str) -> Check:
    found = json.loads(text)
    full = found["full"]
    return Check(**{**found, "skill": tuple(found["skill"]), "full": None if full is None else tuple(full)})


def check(surrogate: Surrogate, *, seed: int = 0) -> Check:
    """Cross-validation over the configurations; hyperparameters are fitted anew to the trials of each fold."""
    data = gather(surrogate.study)
    assert data is not None
    data = without(data, surrogate.out)
    return begin(data, surrogate.mode, seed=seed)()


def begin(data: Data, mode: Floats, *, seed: int = 0, pool: Executor | None = None) -> Callable[[], Check]:
    """Begin a check, by ``pool``; what is returned waits for it."""
    rng = np.random.default_rng(seed)
    folds = _folds(data, rng)[data.rows.who]
    raw = data.raw
    begun = [(folds == fold) for fold in range(FOLDS) if (folds == fold).any()]
    found = [(held, (pool or Here()).submit(_foretell, data, raw, held, start=mode)) for held in begun]
    return lambda: _checked(data, raw, found, rng)


def _checked(
    data: Data,
    raw: Floats,
    found: Sequence[tuple[NDArray[np.bool_], Future[tuple[Floats, Floats, Floats]]]],
    rng: np.random.Generator,
) -> Check:
    ours, means, spans = (np.full(len(raw), math.nan) for _ in range(3))
    for held, foretold in found:
        ours[held], means[held], spans[held] = foretold.result()
    known = np.isfinite(means) & ~data.out
    squares = np.stack([(ours - raw) ** 2, (means - raw) ** 2])[:, known]
    who = data.rows.who[known]
    by_trial = np.stack([np.bincount(who, weights=one, minlength=len(data.trials)) for one in squares])
    resampled = rng.integers(len(data.trials), size=(REPEATS, len(data.trials)))
    sums = by_trial[:, resampled].sum(axis=2)
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


def _folds(data: Data, rng: np.random.Generator) -> NDArray[np.int64]:
    """The fold of each trial; trials of one configuration share it."""
    settings = [trial.settings for trial in data.trials]
    distinct = {one: i for i, one in enumerate(dict.fromkeys(settings))}
    shuffled = rng.permutation(len(distinct)) % FOLDS
    return np.array([shuffled[distinct[one]] for one in settings])


def _foretell(data: Data, raw: Floats, held: NDArray[np.bool_], *, start: Floats) -> tuple[Floats, Floats, Floats]:
    with threadpool_limits(1, user_api="blas"):
        return _foretold(data, raw, held, start)


def _foretold(data: Data, raw: Floats, held: NDArray[np.bool_], start: Floats) -> tuple[Floats, Floats, Floats]:
    """Expected scores of the rows ``held``, means of the other trials' at the same epoch, and the standard deviations
    of what is expected; NaN at an epoch that no other trial reached."""
    kept = ~held & ~data.out
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
        extra=np.zeros(len(scores)),
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
