"""What may be expected of a comparison that is undecided: by Bayes' rule under the standard reference prior.

With n differences of mean m and standard deviation s and a prior proportional to 1 / sigma, the mean difference has
Student's t distribution with n - 1 degrees of freedom around m, scale s / √n, and (n - 1) s² / sigma² is chi-squared
(Gelman et al., Bayesian Data Analysis, chapter 3). The probabilities of better, equivalent and worse are those of a
region of practical equivalence from -delta to delta (Kruschke 2018; Benavoli et al. 2017 for classifiers). The library
`baycomp` has that for one data set too, but for correlated folds of a cross-validation; seeds are independent, and
then its test is the t distribution here.
"""

import math
from dataclasses import dataclass

import numpy as np

from analysis.stats.confirm.error_schedule import Schedule
from analysis.stats.confirm.group_sequential import Array
from analysis.stats.distributions import student_above

DRAWS = 2000
LIKELY = 0.8
"""Coverage of the interval for the number of seeds that are still needed."""
MOST_NEEDED = 1000
"""No more seeds than this are ever said to be needed; None stands for more."""


@dataclass(frozen=True, kw_only=True)
class Chances:
    """Posterior probabilities of the true difference of typical runs; they add up to 1."""

    better: float
    """Above delta."""
    equivalent: float
    """From -delta to delta."""
    worse: float
    """Below -delta."""

    def words(self, delta: str) -> str:
        """The probabilities in one sentence; ``delta`` is shown as given, such as 0.3 mIoU."""
        return (
            f"better by more than {delta} with probability {_percent(self.better)}, within {delta} "
            f"{_percent(self.equivalent)}, worse by more than {delta} {_percent(self.worse)}"
        )


def chances(differences: Array, *, delta: float) -> Chances | None:
    """Posterior probabilities from paired differences (n,); None where their spread is not known."""
    from scipy import special

    spread = _spread(differences)
    if spread is None:
        return None
    n, mean = len(differences), float(differences.mean())
    scale = spread / math.sqrt(n)
    below = float(special.stdtr(n - 1, (-delta - mean) / scale))
    above = float(special.stdtr(n - 1, (mean - delta) / scale))
    return Chances(better=above, equivalent=max(0.0, 1 - above - below), worse=below)


def chance_to_settle(differences: Array, *, left: int, schedule: Schedule, delta: float) -> float | None:
    """Predictive probability that one of the next ``left`` pairs makes the interval exclude 0 or lie within delta; None
    where the spread is not known. From `DRAWS` simulated continuations, the same ones whenever it is asked."""
    spread = _spread(differences)
    n = len(differences)
    left = min(left, schedule.last - n)
    if left <= 0:
        return 0.0
    if spread is None:
        return None
    rng, mean = np.random.default_rng(0), float(differences.mean())
    sigma = spread * np.sqrt((n - 1) / rng.chisquare(n - 1, DRAWS))
    truth = mean + sigma / math.sqrt(n) * rng.standard_normal(DRAWS)
    future = truth[:, None] + sigma[:, None] * rng.standard_normal((DRAWS, left))
    looks = np.arange(n + 1, n + left + 1)
    sums = differences.sum() + future.cumsum(axis=1)
    squares = (differences**2).sum() + (future**2).cumsum(axis=1)
    means = sums / looks
    errors = np.sqrt(np.maximum(squares - looks * means**2, 0) / (looks - 1) / looks)
    limits = np.append(np.full(max(schedule.first - n - 1, 0), np.inf), schedule.limits(n + left - schedule.first + 1))
    halves = limits[-left:] * errors
    settled = (np.abs(means) > halves) | (np.abs(means) + halves < delta)
    return float(settled.any(axis=1).mean())


def seeds_needed(differences: Array, *, schedule: Schedule, delta: float) -> tuple[int, int | None] | None:
    """80 % interval of the number of further pairs after which an interval of one look, at what the next extension may
    spend, excludes 0 or lies within delta, the true difference and spread being drawn from their posterior; an end of
    None stands for more than `MOST_NEEDED`. None where the spread is not known."""
    spread = _spread(differences)
    if spread is None:
        return None
    rng, n = np.random.default_rng(1), len(differences)
    sigma = spread * np.sqrt((n - 1) / rng.chisquare(n - 1, DRAWS))
    truth = np.abs(float(differences.mean()) + sigma / math.sqrt(n) * rng.standard_normal(DRAWS))
    pairs = np.arange(n + 1, n + MOST_NEEDED + 1)
    halves = student_above(schedule.next_error / 2, pairs - 1) / np.sqrt(pairs)
    needed = np.searchsorted(-halves, -np.maximum(truth, delta - truth) / sigma) + 1
    low, high = np.quantile(needed, [(1 - LIKELY) / 2, (1 + LIKELY) / 2])
    return math.ceil(low), None if high > MOST_NEEDED else math.ceil(high)


def _spread(differences: Array) -> float | None:
    """None where it is not known: with fewer than two differences, or all the same."""
    if len(differences) < 2:
        return None
    spread = float(differences.std(ddof=1))
    return spread if spread > 1e-9 * float(np.abs(differences).max()) else None


def _percent(value: float) -> str:
    if 0 < value < 0.01:
        return "below 1 %"
    if 0.99 < value < 1:
        return "above 99 %"
    return f"{100 * value:.0f} %"
