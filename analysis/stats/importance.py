"""Which parameters matter: fANOVA (Hutter et al. 2014, through Optuna) at one budget, with bootstrap intervals."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.stats.bootstrap import interval, resampled
from analysis.stats.study import Study, Trial

LEAST = 8
"""Trials below which nothing is said."""
TREES = 32
DEPTH = 6
"""Of a tree. Enough for effects and their interactions; a deeper one splits the noise of single trials, at a cost that
grows with their number (1,000 trials: minutes)."""
FEW_TREES, MANY = 8, 200
"""Trees of a resampled forest where there are many trials. The interval is then centred on the estimate: it is narrow,
and a resample, in which trials repeat, has less noise than the trials have."""
REPEATS = 40


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Share of the score's variance by parameter with its 95 % interval, from ``trials`` trials at ``epoch`` epochs.

    ``conditional``: the same, and the number of trials, for parameters that are searched only under a condition; each
    is measured among the trials in which it was active, so that these shares do not add up with the others.
    ``left_out``: parameters with one value only, or active in too few trials.
    """

    epoch: int
    trials: int
    shares: dict[str, tuple[float, float, float]]
    conditional: dict[str, tuple[float, float, float, int]]
    left_out: tuple[str, ...]
    seeds: str


def importance(study: Study, *, least: int = LEAST, repeats: int = REPEATS) -> Importance | None:
    """Importance at the largest budget that ``least`` trials reached; None where there is none.

    Scores at different budgets are not mixed: a stopped trial counts with its score at this budget, or not at all.
    Trials are resampled for the intervals.
    """
    epoch = study.budget_with(least)
    if epoch is None:
        return None
    trials = [trial for trial in study.trials if epoch in trial.curve]
    shares = _measure(study, trials, epoch=epoch, repeats=repeats)
    if not shares:
        return None
    conditional = {}
    for name in study.parameters:
        active = [trial for trial in trials if name in trial.values]
        if least <= len(active) < len(trials):
            among = _measure(study, active, epoch=epoch, repeats=repeats)
            if name in among:
                conditional[name] = (*among[name], len(active))
    return Importance(
        epoch=epoch,
        trials=len(trials),
        shares=shares,
        conditional=conditional,
        left_out=tuple(name for name in study.parameters if name not in shares and name not in conditional),
        seeds=study.seeds_each(),
    )


def _measure(study: Study, trials: list[Trial], *, epoch: int, repeats: int) -> dict[str, tuple[float, float, float]]:
    """Shares, largest first, of the parameters that all ``trials`` have and that vary in them; empty where the scores
    are all alike."""
    import optuna

    names = [
        name
        for name in study.parameters
        if all(name in trial.values for trial in trials) and len({repr(trial.values[name]) for trial in trials}) > 1
    ]
    scores = np.array([trial.curve[epoch] for trial in trials])
    if not names or np.ptp(scores) == 0:
        return {}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions = {name: _distribution(study.space[name]) for name in names}
    every = np.arange(len(trials))

    def shares(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        trees = TREES if rows is every or len(trials) <= MANY else FEW_TREES
        evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=trees, max_depth=DEPTH, seed=0)
        if np.ptp(scores[rows]) == 0:
            return np.zeros(len(names))
        frozen = [
            optuna.trial.create_trial(
                params={name: trials[row].values[name] for name in names},
                distributions=distributions,
                value=float(scores[row]),
            )
            for row in rows
        ]
        sampled = optuna.create_study()
        sampled.add_trials(frozen)
        try:
            found = evaluator.evaluate(sampled, params=names)
        except RuntimeError:  # Optuna's way to say that no tree found anything to split
            return np.zeros(len(names))
        total = sum(found.values()) or 1.0
        return np.array([found[name] / total for name in names])

    point = shares(every)
    if not point.any():
        return {}
    draws = resampled(len(trials), shares, repeats=repeats)
    if len(trials) > MANY:
        draws = np.clip(draws - draws.mean(axis=0) + point, 0, 1)
    found = {name: (float(point[index]), *interval(draws[:, index])) for index, name in enumerate(names)}
    return dict(sorted(found.items(), key=lambda item: -item[1][0]))


def _distribution(dimension: dict[str, Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension["choices"] is not None:
        return CategoricalDistribution(dimension["choices"])
    log = dimension["kind"].startswith("log")
    if dimension["kind"] in ("int", "logint"):
        return IntDistribution(dimension["low"], dimension["high"], log=log)
    return FloatDistribution(dimension["low"], dimension["high"], log=log, step=dimension["step"])
