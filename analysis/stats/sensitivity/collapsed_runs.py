"""Runs that collapsed, as the surrogate sees them: scores far below what the other trials let it expect.

A trial's scores from some row on are either what the model says of them, or lower by a drop that is drawn once for the
run: half-normal, of `DROPS` times the scores' robust standard deviation. Both are weighed with what the *other* trials
say of this one (as in leave-one-out cross-validation), and a collapse with its prior chance `CHANCE`. Rows that are
likelier collapsed than not are given so much noise that they tell nothing. So the likelihood is a Gaussian one that is
contaminated on one side (Box and Tiao 1968), at its most likely assignment; :func:`evidence` compares assignments.
Where bad scores lie beside each other the surrogate expects them, and they are no collapse.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import inv, solve
from scipy.special import log_ndtr, logsumexp

from analysis.stats.sensitivity.anova_basis import Floats
from analysis.stats.sensitivity.gp_likelihood import Model, Rows, factor, inverted

CHANCE, DROPS = 0.02, 5.0
JITTER = 0.3
"""By how much, of the robust standard deviation, rows of a collapsed run differ besides."""
SUSPECT = 2.5
"""Robust standard deviations below the median of its level from which on a row is suspected at first."""
SILENT = 1e4
"""Variance that is added to a row that must not count, in units of the scores' variance."""

Mask = NDArray[np.bool_]
"""Which rows belong to collapsed runs, (n,)."""


def collapsed_rows(model: Model, theta: Floats) -> tuple[Mask, float]:
    """The rows from which on each trial is likelier to have collapsed than not, given all others; and the log density
    of the rows that are silenced now, as those of collapsed runs, given the others."""
    rows, unit = model.rows, robust_deviation(model.rows)
    precision = inverted(factor(model.covariance(model.hyper(theta))))
    pulled = precision @ rows.scores
    found, density = np.zeros(len(rows.scores), dtype=bool), 0.0
    for start, end in zip(rows.starts, [*rows.starts[1:], len(rows.scores)], strict=True):
        own = slice(start, end)
        spread: Floats = inv(precision[own, own])
        away, alone = spread @ pulled[own], spread - np.diag(rows.extra[own])
        logs = begins(away, alone, unit)
        if logs[0] < float(logsumexp(logs[1:])):
            found[start + int(np.argmax(logs[1:])) : end] = True
        if (silent := rows.extra[own] > 0).any():
            first = int(np.argmax(silent))
            density += logs[1 + first] - (_log_normal(away[:first], alone[:first, :first])[0] if first else 0.0)
        else:
            density += math.log(1 - CHANCE)
    return found, density


def evidence(model: Model, theta: Floats, density: float, scale: float) -> float:
    """How likely an assignment is, up to what all have in common: the posterior density of the rows that count, and
    that of the others as collapsed ones, both per point of the study's own unit.

    Args:
        density: from :func:`collapsed_rows`.
        scale: points of one unit of the rows' scores.
    """
    silent = int((model.rows.extra > 0).sum())
    counted = model.log_posterior(theta) + 0.5 * silent * math.log(2 * math.pi * SILENT)
    return counted + density - len(model.rows.scores) * math.log(scale)


def suspects(rows: Rows) -> Mask:
    """Rows far below the median of their level, and those after them in the same trial."""
    low, found = -SUSPECT * robust_deviation(rows), np.zeros(len(rows.scores), dtype=bool)
    for level in np.unique(rows.distance):
        at = rows.distance == level
        found[at] = rows.scores[at] - np.median(rows.scores[at]) < low
    for start, end in zip(rows.starts, [*rows.starts[1:], len(found)], strict=True):
        found[start:end] = np.logical_or.accumulate(found[start:end])
    return found


def begins(away: Floats, spread: Floats, unit: float) -> list[float]:
    """Log densities of a trial's rows with the prior chances: of no collapse, and of one at the first row, the second,
    and so on.

    Args:
        away: the scores minus what is expected of them, with the covariance ``spread``.
        unit: of drops, see `DROPS`.
    """
    count = len(away)
    logs = [math.log(1 - CHANCE) + _log_normal(away, spread)[0]]
    for first in range(count):
        fallen = np.zeros(count)
        fallen[first:] = 1
        noise = spread + np.diag((JITTER * unit) ** 2 * fallen)
        size = (DROPS * unit) ** 2
        plain, solved = _log_normal(away, noise + size * np.outer(fallen, fallen))
        # the drop given the scores is normal with this mean and variance; half-normal before it, hence the factor 2
        mean = -size * float(fallen @ solved)
        deviation = math.sqrt(size / (1 + size * float(fallen @ solve(noise, fallen, assume_a="pos"))))
        logs.append(math.log(CHANCE / count) + math.log(2) + plain + float(log_ndtr(mean / deviation)))
    return logs


def _log_normal(away: Floats, spread: Floats) -> tuple[float, Floats]:
    """The log density, and the precision times ``away``."""
    solved: Floats = solve(spread, away, assume_a="pos")
    size = len(away) * math.log(2 * math.pi) + float(np.linalg.slogdet(spread)[1])
    return -0.5 * (float(away @ solved) + size), solved


def robust_deviation(rows: Rows) -> float:
    """The standard deviation that the quartiles of the scores give for normal ones."""
    low, high = np.quantile(rows.scores, [0.25, 0.75])
    return float(high - low) / 1.349 or 1.0
