"""Functions of the configuration from the surrogate's posterior, with the hyperparameters at one theta.

By Matheron's rule (Wilson et al. 2020): a draw from the prior, moved by what the scores differ from its scores.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve

from analysis.stats.sensitivity.anova_basis import Floats
from analysis.stats.sensitivity.gp_likelihood import LEVEL_VARIANCE, Model, factor

Normals = tuple[float, Floats, Floats, Floats]
"""Standard normal numbers of one draw: of the level, of the weights, of the runs, and of the rows."""


@dataclass(frozen=True, kw_only=True)
class Function:
    """Scores at full budget, in the unit of `gp_likelihood.Rows`. ``level``: mean over the space; ``weights`` (width,):
    of the basis' functions; ``ends`` (trials,): what the run of each trial would come to, but for the noise."""

    level: float
    weights: Floats
    ends: Floats

    def towards(self, other: "Function", share: float) -> "Function":
        """The function that lies so far on the way to ``other``; 0: this one."""
        return Function(
            level=self.level + share * (other.level - self.level),
            weights=self.weights + share * (other.weights - self.weights),
            ends=self.ends + share * (other.ends - self.ends),
        )


class Conditioned:
    """The posterior given the scores.

    Args:
        model: prior and scores.
        features: of its trials, (trials, width).
        theta: its hyperparameters.

    Raises:
        numpy.linalg.LinAlgError: the covariance is singular.
    """

    def __init__(self, model: Model, features: Floats, theta: Floats) -> None:
        self.hyper = model.hyper(theta)
        self._rows, self._features = model.rows, features
        self._variances = model.prior_variances(self.hyper)
        self._other = factor(model.other_covariance(self.hyper))
        self._lower = factor(model.covariance(self.hyper))

    def mean(self) -> Function:
        """The posterior's mean."""
        trials, width = self._features.shape
        return self._moved(0.0, np.zeros(width), np.zeros(trials), np.zeros(len(self._rows.scores)))

    def draw(self, normals: Normals) -> Function:
        """The draw that these numbers make."""
        for_level, for_weights, for_runs, for_rows = normals
        level = math.sqrt(LEVEL_VARIANCE) * for_level
        weights = np.sqrt(self._variances) * for_weights
        runs = math.sqrt(self.hyper.run) * for_runs
        simulated = level + (self._features @ weights + runs)[self._rows.who] + self._other @ for_rows
        return self._moved(level, weights, runs, simulated)

    def _moved(self, level: float, weights: Floats, runs: Floats, simulated: Floats) -> Function:
        pull = cho_solve((self._lower, True), self._rows.scores - simulated, check_finite=False)
        by_trial = np.add.reduceat(pull, self._rows.starts)
        level += LEVEL_VARIANCE * float(pull.sum())
        weights = weights + self._variances * (self._features.T @ by_trial)
        runs = runs + self.hyper.run * by_trial
        return Function(level=level, weights=weights, ends=level + self._features @ weights + runs)


def normals(rng: np.random.Generator, *, width: int, trials: int, rows: int) -> Normals:
    """The numbers of one draw."""
    return rng.standard_normal(), rng.standard_normal(width), rng.standard_normal(trials), rng.standard_normal(rows)
