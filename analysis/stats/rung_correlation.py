"""Do early epochs tell? Every rung's scores against the final ones, among the trials that ran all their epochs."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.stats.bootstrap import interval, resampled
from analysis.stats.study import StudyTrials

LEAST = 6
"""Trials of full length below which nothing is said."""
REPEATS = 300
WINNERS = 3
"""The best one in so many at full length are the winners; fewer where the scheduler lets fewer go on."""
TOO_MANY = 0.5
"""A rung is too early where it stops more than this share of the winners that random stopping would."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """Scores after ``epoch`` against the final ones. ``tau``: Kendall's, with its 95 % interval; NaN where all scores
    are alike. ``lost``: of ``winners``, how many the rung's rule would have stopped."""

    epoch: int
    tau: float
    low: float
    high: float
    lost: int
    winners: int
    too_early: bool


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """What the rungs say about the end, from ``trials`` trials of full length.

    ``supported``: the earliest epoch from which on no rung is too early; None where there is none. ``selected``: other
    trials were stopped, so that these are a selection.
    """

    trials: int
    reduction: int
    rungs: tuple[Rung, ...]
    supported: int | None
    selected: bool


def fidelity(study: StudyTrials, *, repeats: int = REPEATS) -> Fidelity | None:
    """The fidelity of the study's rungs, or without a scheduler of those that its settings would give; None with fewer
    than `LEAST` trials of full length, or without a rung before the end."""
    full = [trial for trial in study.complete if trial.epochs == study.max_epochs]
    if len(full) < LEAST:
        return None
    scored = set.intersection(*(set(trial.curve) for trial in full)) - {study.max_epochs}
    levels = [epoch for epoch in ladder(study.grace_epochs, study) if epoch in scored]
    if not levels:
        return None
    by_epoch = {
        epoch: study.sign * np.array([trial.curve[epoch] for trial in full])
        for epoch in sorted(scored | {study.max_epochs})
    }
    final = by_epoch[study.max_epochs]
    lost = {epoch: winners_lost(scores, final, reduction=study.reduction) for epoch, scores in by_epoch.items()}
    early = {epoch for epoch, found in lost.items() if _too_early(*found, reduction=study.reduction)}
    return Fidelity(
        trials=len(full),
        reduction=study.reduction,
        rungs=tuple(
            Rung(
                epoch=epoch,
                tau=_tau(by_epoch[epoch], final),
                low=low,
                high=high,
                lost=lost[epoch][0],
                winners=lost[epoch][1],
                too_early=epoch in early,
            )
            for epoch in levels
            for low, high in [_interval(by_epoch[epoch], final, repeats=repeats)]
        ),
        supported=next((epoch for epoch in sorted(scored) if not early & set(ladder(epoch, study))), None),
        selected=any(trial.state == "stopped" for trial in study.trials),
    )


def ladder(grace: int, study: StudyTrials) -> list[int]:
    """Epochs before the end at which ASHA decides: grace, grace * reduction, ..."""
    found = []
    epoch = grace
    while epoch < study.max_epochs:
        found.append(epoch)
        epoch *= study.reduction
    return found


def winners_lost(early: NDArray[np.float64], final: NDArray[np.float64], *, reduction: int) -> tuple[int, int]:
    """How many of the winners at the end a rung would stop that sees all ``early`` scores, and how many winners there
    are. As ASHA does, it stops what lies below the (1 - 1/reduction) quantile; what lies on it goes on, whatever the
    rounding. More is better."""
    count = math.ceil(len(final) / max(WINNERS, reduction))
    winners = np.argsort(-final, kind="stable")[:count]
    cutoff = np.quantile(early, (1 - 1 / reduction) * (1 - 1e-9))
    return int((early[winners] < cutoff).sum()), count


def _too_early(lost: int, winners: int, *, reduction: int) -> bool:
    return lost / winners > TOO_MANY * (1 - 1 / reduction)


def _tau(early: NDArray[np.float64], final: NDArray[np.float64]) -> float:
    """Kendall's tau-b, by all pairs."""
    first, second = (np.sign(np.subtract.outer(scores, scores)) for scores in (early, final))
    agree, ours, theirs = (float(pairs.sum()) / 2 for pairs in (first * second, first * first, second * second))
    return max(-1.0, min(1.0, agree / math.sqrt(ours) / math.sqrt(theirs))) if ours * theirs > 0 else math.nan


def _interval(early: NDArray[np.float64], final: NDArray[np.float64], *, repeats: int) -> tuple[float, float]:
    """By resampling trials, with the correlation written as sums over pairs, weighted by how often both were drawn:
    scipy's takes milliseconds a draw. The sums are of whole numbers, small enough for float32. Draws in which all
    scores are alike have none and are left out."""
    first, second = (np.sign(np.subtract.outer(scores, scores)).astype(np.float32) for scores in (early, final))

    def counts(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.bincount(rows, minlength=len(final)).astype(np.float64)

    drawn = resampled(len(final), counts, repeats=repeats)
    agree, ours, theirs = (
        ((drawn.astype(np.float32) @ pairs) * drawn).sum(axis=1)
        for pairs in (first * second, first * first, second * second)
    )
    draws = np.divide(agree, np.sqrt(ours * theirs), out=np.full(repeats, np.nan), where=ours * theirs > 0)
    known = draws[np.isfinite(draws)]
    return interval(known) if len(known) else (math.nan, math.nan)
