"""What new runs will score."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.stats.confirm.prediction import predict


def test_the_interval_for_one_run_is_students_prediction_interval():
    scores = [70.0, 71.0, 69.5, 72.0]
    found = predict(scores, runs=3, arms=1)
    half = stats.t.ppf(0.975, 3) * np.std(scores, ddof=1) * math.sqrt(1 + 1 / 4)
    assert found.one == pytest.approx((np.mean(scores) - half, np.mean(scores) + half))
    assert found.mean[1] - found.mean[0] == pytest.approx(2 * half * math.sqrt((1 / 3 + 1 / 4) / (1 + 1 / 4)))


@pytest.mark.parametrize("scores", [[], [70.0], [70.0, 70.0, 70.0]])
def test_without_a_spread_nothing_is_predicted(scores):
    assert predict(scores, runs=3, arms=1) is None


@pytest.mark.parametrize(("arms", "seeds"), [(1, 3), (5, 5), (10, 10)])
def test_the_mean_of_three_new_runs_of_the_arm_with_the_best_mean_is_in_its_interval_in_95_of_100_cases(arms, seeds):
    rng, cases, runs = np.random.default_rng(0), 4000, 3
    inside = {"one": 0, "mean": 0}
    for _ in range(cases):
        scores = rng.normal(70, 0.45, (arms, seeds))
        best = scores[scores.mean(axis=1).argmax()]
        found, new = predict(best, runs=runs, arms=arms), rng.normal(70, 0.45, runs)
        inside["one"] += found.one[0] <= new[0] <= found.one[1]
        inside["mean"] += found.mean[0] <= new.mean() <= found.mean[1]
    least = 0.95 - 2 * math.sqrt(0.95 * 0.05 / cases)
    assert min(inside.values()) / cases >= least
