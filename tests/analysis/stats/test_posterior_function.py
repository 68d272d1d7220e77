"""The posterior against the normal distribution's own formulas, written out by pairs of rows."""

import numpy as np
import pytest

from analysis.stats.sensitivity.anova_basis import Basis
from analysis.stats.sensitivity.gp_likelihood import LEVEL_VARIANCE, Model, Rows
from analysis.stats.sensitivity.posterior_function import Conditioned, normals
from tests.analysis.made import MIXED, draw

TRIALS = 9


@pytest.fixture(scope="module")
def known():
    """Model, features of its trials, theta, and mean and covariance of the trials' ends given the scores."""
    rng, basis = np.random.default_rng(0), Basis(MIXED)
    configs = [draw(MIXED, rng) for _ in range(TRIALS)]
    places, active = basis.units(configs)
    singles = tuple(basis.single(i, places[:, i], active[:, i]) for i in range(len(basis.axes)))
    rungs = [(who, t) for who in range(TRIALS) for t in ((1.0, 0.5, 0.0) if who % 3 == 0 else (1.0,))]
    rows = Rows(
        who=np.array([who for who, _ in rungs]),
        distance=np.array([t for _, t in rungs]),
        scores=rng.standard_normal(len(rungs)),
        singles=singles,
        extra=np.zeros(len(rungs)),
    )
    model, features = Model(basis, rows), basis.joined(singles)
    theta = model.center + 0.3 * rng.standard_normal(len(model.center))
    hyper, variances = model.hyper(theta), model.prior_variances(model.hyper(theta))

    def end(i, j):
        return LEVEL_VARIANCE + (features[i] * variances) @ features[j] + hyper.run * (i == j)

    def drift(i, j):
        parts = [
            u * (one[i] * spectrum) @ one[j] for u, one, spectrum in zip(hyper.u, singles, hyper.spectra, strict=True)
        ]
        return hyper.mean_drift + sum(parts) + hyper.run_drift * (i == j)

    covariance = np.array([[end(i, j) + min(s, t) * drift(i, j) for j, t in rungs] for i, s in rungs])
    covariance += hyper.noise * np.eye(len(rungs))
    across = np.array([[end(i, j) for j, _ in rungs] for i in range(TRIALS)])
    prior = np.array([[end(i, j) for j in range(TRIALS)] for i in range(TRIALS)])
    solved = np.linalg.solve(covariance, across.T)
    return model, features, theta, solved.T @ rows.scores, prior - across @ solved


def test_the_mean_of_the_ends_is_the_normal_distributions(known):
    model, features, theta, mean, _ = known
    assert Conditioned(model, features, theta).mean().ends == pytest.approx(mean, abs=1e-6)


def test_draws_of_the_ends_have_its_mean_and_covariance(known):
    model, features, theta, mean, covariance = known
    posterior, rng = Conditioned(model, features, theta), np.random.default_rng(1)
    ends = np.array(
        [
            posterior.draw(normals(rng, width=features.shape[1], trials=TRIALS, rows=len(model.rows.scores))).ends
            for _ in range(4000)
        ]
    )
    spread = np.sqrt(np.diag(covariance))
    assert np.abs((ends.mean(axis=0) - mean) / spread).max() < 5 / np.sqrt(4000)
    assert np.abs((np.cov(ends.T) - covariance) / np.outer(spread, spread)).max() < 0.1


def test_ends_and_weights_are_of_one_function(known):
    model, features, theta, *_ = known
    mean = Conditioned(model, features, theta).mean()
    shares = mean.ends - (mean.level + features @ mean.weights)  # what stays with a run
    assert np.abs(shares).max() < np.abs(mean.ends).max()
    assert np.allclose(mean.towards(mean, 0.7).ends, mean.ends)
