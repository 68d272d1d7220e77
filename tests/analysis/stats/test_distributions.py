import numpy as np
import pytest
from scipy import stats

from analysis.stats import distributions
from analysis.stats.rung_correlation import _tau

LEVELS = np.concatenate([np.linspace(0.001, 0.999, 97), [1e-12, 1e-300]])
FREEDOM = np.arange(1, 41)[:, None]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (distributions.student, stats.t.ppf),
        (distributions.student_above, stats.t.isf),
        (distributions.chi_squared, stats.chi2.ppf),
    ],
)
def test_quantiles_with_degrees_of_freedom_are_scipys_to_the_bit_where_scipy_has_a_number(ours, theirs):
    known = np.isfinite(theirs(LEVELS, FREEDOM))
    assert known[:, :-1].all()
    assert np.array_equal(ours(LEVELS, FREEDOM)[known], theirs(LEVELS, FREEDOM)[known])


def test_quantiles_and_tails_of_the_normal_are_scipys_to_the_bit():
    assert np.array_equal(distributions.normal_above(LEVELS), stats.norm.isf(LEVELS))
    assert np.array_equal(distributions.normal_tail(np.linspace(-9, 40, 99)), stats.norm.sf(np.linspace(-9, 40, 99)))


@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_the_rank_correlation_is_scipys_to_the_bit_with_ties_and_without(decimals):
    rng = np.random.default_rng(0)
    for count in range(2, 60):
        one, other = rng.normal(size=(2, count)).round(decimals)
        expected = stats.kendalltau(one, other + one).statistic
        assert np.array_equal(_tau(one, other + one), expected, equal_nan=True)


def test_the_smaller_a_tail_of_student_the_farther_out_also_where_scipy_finds_no_number():
    tails = distributions.normal_tail(np.arange(0.5, 35, 0.5))
    for freedom in (1, 2, 3, 5, 9, 30):
        found = distributions.student_above(tails, freedom)
        assert not np.isnan(found).any()
        assert (found > 0).all()
        assert (np.maximum.accumulate(found) == found).all()


def test_two_degrees_of_freedom_have_the_closed_form():
    tails = 10.0 ** -np.arange(1, 13)
    exact = (1 - 2 * tails) / np.sqrt(2 * tails * (1 - tails))
    np.testing.assert_allclose(distributions.student_above(tails, 2), exact, rtol=1e-9)
