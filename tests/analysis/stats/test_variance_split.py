"""Variance components against what made the scores."""

import numpy as np
import pytest

from analysis.stats.variance_split import components, remaining

TRUE = {("a",): 4.0, ("b",): 0.0, ("c",): 1.0, ("a", "b"): 2.0, ("a", "c"): 0.0, ("b", "c"): 0.5, ("a", "b", "c"): 3.0}
FACTORS = ("a", "b", "c")


def made(rng, shape):
    """Scores of a crossed design with these components, normal."""
    scores = np.zeros(shape)
    for source, variance in TRUE.items():
        part = [levels if factor in source else 1 for factor, levels in zip(FACTORS, shape, strict=True)]
        scores = scores + np.sqrt(variance) * rng.standard_normal(part)
    return scores


def test_components_are_right_on_average_in_a_small_design():
    rng = np.random.default_rng(0)
    found = [components(made(rng, (3, 4, 2)), FACTORS) for _ in range(8000)]
    for source, variance in TRUE.items():
        values = [split[source] for split in found]
        assert np.mean(values) == pytest.approx(variance, abs=4 * np.std(values) / np.sqrt(len(values)))


def test_in_one_factor_the_component_is_the_sample_variance():
    scores = np.array([1.0, 4.0, 2.0, 8.0])
    assert components(scores, ("a",)) == pytest.approx({("a",): scores.var(ddof=1)})


def test_what_is_left_with_a_factor_fixed_is_the_mean_variance_within_its_levels():
    scores = np.random.default_rng(1).normal(size=(5, 6))
    split = components(scores, ("a", "b"))
    assert remaining(split, fixed=["a"]) == pytest.approx(scores.var(axis=1, ddof=1).mean())
    assert remaining(split, fixed=[]) == pytest.approx(sum(split.values()))
