"""How likely the logged scores are: a Gaussian process over configuration and budget, with its hyperparameters.

The score of trial i after e of E epochs, t = log(E / e) scaled to [0, 1], is

    y = c + a(x_i) + r_i + m(t) + b(x_i, t) + w_i(t) + noise,

where m, b and w are Brownian in t and 0 at t = 0. So a is the score at full budget, b what a configuration adds to it
on the way there, r_i the seed's share that stays with a run, w_i what its curve has of its own. The kernel of a is

    sum_i s_i k_i + sum_{i<j} lambda_ij s_i s_j k_i k_j,

that of b is g(t, t') sum_i u_i k_i with g = min(t, t'), and k_i has the functions of
`analysis.stats.sensitivity.anova_basis` with
variances that fall with the degree as rho_i^k. A parameter that does nothing has a small s_i, and with it its
interactions.

A stopped trial has rows at the rungs that it reached and none after: the rule that stopped it saw only scores that are
rows here, so the censoring is ignorable (Rubin 1976) and the likelihood needs no term for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky
from scipy.linalg.lapack import dpotri

from analysis.stats.sensitivity.anova_basis import Basis, Floats

LEVEL_VARIANCE = 100.0
"""Prior variance of c, in units of the scores' variance within a budget; practically flat."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Scores of trials at budgets. ``who`` (n,): the trial, ascending; ``distance`` (n,): t; ``scores`` (n,): more is
    better, mean 0 at every budget and variance 1 within them. ``singles``: the functions of every parameter by
    trial. ``extra`` (n,): variance that a row's noise has besides; large where a row must not count."""

    who: NDArray[np.int64]
    distance: Floats
    scores: Floats
    singles: tuple[Floats, ...]
    extra: Floats

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """First row of each trial."""
        return np.flatnonzero(np.diff(self.who, prepend=-1))

    @cached_property
    def near(self) -> Floats:
        """g by pairs of rows, (n, n)."""
        return np.minimum.outer(self.distance, self.distance)

    @cached_property
    def same(self) -> NDArray[np.bool_]:
        """Whether two rows are of one trial, (n, n)."""
        return np.equal.outer(self.who, self.who)


@dataclass(frozen=True, kw_only=True)
class Hyper:
    """Hyperparameters on their natural scales; s and u by parameter, ``spectra`` the variances of its functions;
    ``interaction`` (parameters, parameters) is lambda, symmetric, 0 where a pair has no term."""

    s: Floats
    u: Floats
    spectra: tuple[Floats, ...]
    rho: Floats
    interaction: Floats
    mean_drift: float
    run: float
    run_drift: float
    noise: float


class Model:
    """Prior and likelihood of the hyperparameters, as one vector theta: logs, and the logit of rho.

    Args:
        basis: the space.
        rows: the scores.
    """

    def __init__(self, basis: Basis, rows: Rows) -> None:
        self.basis = basis
        self.rows = rows
        self.ranges = [i for i, axis in enumerate(basis.axes) if axis.choices is None]
        count = len(basis.axes)
        pairs = [term.axes for term in basis.terms if len(term.axes) == 2]
        self._pairs = (np.array([i for i, _ in pairs], dtype=int), np.array([j for _, j in pairs], dtype=int))
        self._cuts = np.cumsum([count, count, len(self.ranges), len(pairs)])
        parts = [(count, *S), (count, *U), (len(self.ranges), *RHO), (len(pairs), *LAMBDA)]
        parts += [(1, *prior) for prior in SINGLE]
        self.center = np.concatenate([np.full(n, center) for n, center, _ in parts])
        self.spread = np.concatenate([np.full(n, spread) for n, _, spread in parts])

    def hyper(self, theta: Floats) -> Hyper:
        """``theta`` on natural scales."""
        log_s, log_u, eta, log_lambda, rest = np.split(theta, self._cuts)
        rho = 1 / (1 + np.exp(-eta))
        spectra = [np.full(axis.count, 1 / max(axis.count, 1)) for axis in self.basis.axes]
        for i, one in zip(self.ranges, rho, strict=True):
            powers = one ** np.arange(1, self.basis.axes[i].count + 1)
            spectra[i] = powers / powers.sum()
        interaction = np.zeros((len(log_s), len(log_s)))
        interaction[self._pairs] = np.exp(log_lambda)
        values = np.exp(rest)
        return Hyper(
            s=np.exp(log_s),
            u=np.exp(log_u),
            spectra=tuple(spectra),
            rho=rho,
            interaction=interaction + interaction.T,
            mean_drift=float(values[0]),
            run=float(values[1]),
            run_drift=float(values[2]),
            noise=float(values[3]),
        )

    def prior_variances(self, hyper: Hyper) -> Floats:
        """Prior variance of every weight of the basis, (width,)."""
        found = []
        for term in self.basis.terms:
            variances = hyper.s[term.axes[0]] * hyper.spectra[term.axes[0]]
            if len(term.axes) == 2:
                other = hyper.s[term.axes[1]] * hyper.spectra[term.axes[1]]
                variances = hyper.interaction[term.axes] * np.outer(variances, other).ravel()
            found.append(variances)
        return np.concatenate(found)

    def other_covariance(self, hyper: Hyper) -> Floats:
        """Covariance of the rows from drift, curves and noise alone, without c, a and r: (n, n), column-major."""
        rows = self.rows
        found: Floats = rows.near * _by_row(self._drifts(hyper, self._parts(hyper)).T, rows.who)
        found[np.diag_indices_from(found)] += hyper.noise + rows.extra
        return found.T

    def covariance(self, hyper: Hyper) -> Floats:
        """Covariance of the rows, (n, n), column-major."""
        return self._covariance(hyper, self._parts(hyper))

    def _parts(self, hyper: Hyper) -> list[Floats]:
        """k of every parameter by pairs of trials."""
        singles = self.rows.singles
        return [(one * spectrum) @ one.T for one, spectrum in zip(singles, hyper.spectra, strict=True)]

    def _covariance(self, hyper: Hyper, parts: Sequence[Floats]) -> Floats:
        scaled = hyper.s[:, None, None] * np.stack(parts)
        partners = np.tensordot(hyper.interaction, scaled, axes=1)
        ends: Floats = (scaled * (1 + partners / 2)).sum(axis=0)
        ends += LEVEL_VARIANCE
        ends[np.diag_indices_from(ends)] += hyper.run
        found = _by_row(self._drifts(hyper, parts).T, self.rows.who)
        found *= self.rows.near
        found += _by_row(ends.T, self.rows.who)
        found[np.diag_indices_from(found)] += hyper.noise + self.rows.extra
        return found.T

    def _drifts(self, hyper: Hyper, parts: Sequence[Floats]) -> Floats:
        """What g multiplies, by pairs of trials."""
        found: Floats = hyper.mean_drift + sum(u * k for u, k in zip(hyper.u, parts, strict=True))
        found[np.diag_indices_from(found)] += hyper.run_drift
        return found

    def log_prior(self, theta: Floats) -> float:
        return float(-0.5 * (((theta - self.center) / self.spread) ** 2).sum())

    def log_posterior(self, theta: Floats) -> float:
        """Up to a constant; minus infinity where the covariance is singular."""
        hyper = self.hyper(theta)
        try:
            lower = factor(self.covariance(hyper))
        except np.linalg.LinAlgError:
            return -np.inf
        return self._log_likelihood(lower) + self.log_prior(theta)

    def _log_likelihood(self, lower: Floats) -> float:
        scores = self.rows.scores
        fit = scores @ cho_solve((lower, True), scores, check_finite=False)
        return float(-0.5 * (fit + len(scores) * np.log(2 * np.pi)) - np.log(np.diag(lower)).sum())

    def with_gradient(self, theta: Floats) -> tuple[float, Floats]:
        """The log posterior and its gradient in theta.

        Raises:
            numpy.linalg.LinAlgError: the covariance is singular.
        """
        rows, hyper = self.rows, self.hyper(theta)
        parts = self._parts(hyper)
        lower = factor(self._covariance(hyper, parts))
        inverse = inverted(lower)
        alpha = inverse @ rows.scores
        weights = np.outer(alpha, alpha) - inverse
        drifts = weights * rows.near
        by_trial, curves_by_trial = (_by_trial(one, rows.starts) for one in (weights, drifts))
        scaled = hyper.s[:, None, None] * np.stack(parts)
        partners = np.tensordot(hyper.interaction, scaled, axes=1)
        weighted = by_trial * scaled
        pairs = hyper.interaction * np.tensordot(weighted, scaled, axes=((1, 2), (1, 2)))
        s = weighted.sum(axis=(1, 2)) + pairs.sum(axis=1)
        u, rho = np.zeros(len(parts)), []
        for i, k in enumerate(parts):
            u[i] = hyper.u[i] * (curves_by_trial * k).sum()
            if self.basis.axes[i].choices is None:
                one, spectrum = rows.singles[i], hyper.spectra[i]
                degrees = np.arange(1, len(spectrum) + 1)
                tilt = spectrum * (degrees - degrees @ spectrum) * (1 - hyper.rho[self.ranges.index(i)])
                both = hyper.s[i] * by_trial * (1 + partners[i]) + hyper.u[i] * curves_by_trial
                rho.append(float(((both @ one) * one).sum(axis=0) @ tilt))
        rest = [
            hyper.mean_drift * drifts.sum(),
            hyper.run * weights[rows.same].sum(),
            hyper.run_drift * drifts[rows.same].sum(),
            hyper.noise * np.trace(weights),
        ]
        slope = 0.5 * np.concatenate([s, u, rho, pairs[self._pairs], rest]) - (theta - self.center) / self.spread**2
        return self._log_likelihood(lower) + self.log_prior(theta), slope


S, U, RHO, LAMBDA = (np.log(0.03), 2.5), (np.log(0.05), 1.5), (-0.4, 1.0), (np.log(0.1), 2.0)
SINGLE = (
    (0.0, 1.5),  # mean_drift
    (np.log(0.05), 1.5),  # run
    (np.log(0.05), 1.5),  # run_drift
    (np.log(0.05), 1.5),  # noise
)
"""Means and standard deviations of the normal priors on theta; variances are in units of the scores' variance."""


def factor(covariance: Floats) -> Floats:
    """The lower triangle L of ``covariance`` = L L', made in its place where that is in the columns' order.

    Raises:
        numpy.linalg.LinAlgError: it is singular.
    """
    found: Floats = cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
    return found


def inverted(lower: Floats) -> Floats:
    """The inverse of L L', from L: a third of the work of solving for the columns of the identity.

    Raises:
        numpy.linalg.LinAlgError: a diagonal element of L is 0.
    """
    triangle, zero = dpotri(lower, lower=1)
    if zero:
        raise np.linalg.LinAlgError(f"element {zero} of the factor's diagonal is 0")
    found: Floats = triangle + triangle.T
    found[np.diag_indices_from(found)] /= 2
    return found


def _by_row(by_trial: Floats, who: NDArray[np.int64]) -> Floats:
    found: Floats = by_trial.take(who, axis=1).take(who, axis=0)
    return found


def _by_trial(by_row: Floats, starts: NDArray[np.int64]) -> Floats:
    """Sums over the rows of each pair of trials."""
    found: Floats = np.add.reduceat(np.add.reduceat(by_row, starts, axis=0), starts, axis=1)
    return found
