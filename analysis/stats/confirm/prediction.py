"""What new runs of a configuration will score, from the runs of it that there are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.stats.distributions import student_above

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class PredictedScores:
    """Prediction intervals at `LEVEL`, each by itself, for runs with new seeds: `one` run's score, and the ``mean`` of
    ``runs`` of them."""

    runs: int
    value: float
    """Mean of the scores that it stands on."""
    scores: int
    """How many these are."""
    one: tuple[float, float]
    mean: tuple[float, float]


def predict(scores: Sequence[float], *, runs: int, arms: int) -> PredictedScores | None:
    """Student's prediction intervals (Hahn and Meeker, Statistical Intervals, 1991): mean +- t s sqrt(1/k + 1/n). The
    error is shared out over the arms among which the configuration was chosen (Bonferroni), so that the intervals hold
    for the one that was chosen as the best, whichever it is.

    Args:
        scores: of typical runs of the configuration, all of one length; lost runs left out.
        runs: k, how many new runs the mean is of; at least 1.
        arms: how many configurations the choice was among; at least 1.

    Returns:
        None with fewer than two scores, or where all are the same: their spread is not known.
    """
    values = np.asarray(scores, dtype=np.float64)
    if len(values) < 2 or np.ptp(values) == 0:
        return None
    centre, spread = float(values.mean()), float(values.std(ddof=1))
    t = float(student_above((1 - LEVEL) / 2 / arms, len(values) - 1))
    halves = [t * spread * math.sqrt(1 / count + 1 / len(values)) for count in (1, runs)]
    one, mean = ((centre - half, centre + half) for half in halves)
    return PredictedScores(runs=runs, value=centre, scores=len(values), one=one, mean=mean)
