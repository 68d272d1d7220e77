import numpy as np
import pytest
from scipy import stats

from analysis.stats.confirm.error_schedule import Schedule, share, staged
from analysis.stats.confirm.group_sequential import crossing
from benchmarks.helpers.boundaries import critical_values


def null_t_statistics(repetitions, last, seed=0):
    """(repetitions, last - 1): t of the first 2, ..., last normal draws with mean 0."""
    draws = np.random.default_rng(seed).standard_normal((repetitions, last))
    return np.stack([stats.ttest_1samp(draws[:, :n], 0, axis=1).statistic for n in range(2, last + 1)], axis=1)


@pytest.mark.parametrize("pairs", [2, 3, 5, 10, 30])
@pytest.mark.parametrize("error", [0.05, 0.005])
def test_a_single_look_is_students_quantile(pairs, error):
    assert critical_values(pairs, pairs, error) == pytest.approx([stats.t.isf(error / 2, pairs - 1)], rel=1e-4)


@pytest.mark.parametrize(("first", "last", "error"), [(2, 4, 0.05), (3, 10, 0.05), (3, 10, 0.02), (4, 7, 0.2)])
@pytest.mark.parametrize("shape", [0.0, 0.5])
def test_boundaries_are_crossed_as_often_as_they_say_by_brute_force(first, last, error, shape):
    repetitions = 100_000
    t = null_t_statistics(repetitions, last)[:, first - 2 :]
    crossed = (np.abs(t) > critical_values(first, last, error, shape)).any(axis=1).mean()
    assert crossed == pytest.approx(error, abs=4 * np.sqrt(error / repetitions))


@pytest.mark.parametrize("limits", [(9.0, 4.0), (186.0, 3.0), (12.7, 4.3), (3.0, 100.0)])
def test_two_looks_agree_with_an_area_on_the_sphere(limits):
    """Three normal draws point anywhere on the sphere with equal chance, and t depends on the direction alone: the
    probability of crossing at 2 or 3 pairs is the share of the sphere, found by counting a grid of equal areas."""
    height, angle = np.meshgrid((np.arange(1000) + 0.5) / 1000, (np.arange(2000) + 0.5) * np.pi / 1000)
    x, y = np.sqrt(1 - height**2) * np.cos(angle), np.sqrt(1 - height**2) * np.sin(angle)
    second = np.abs(x + y) > limits[0] * np.abs(x - y)
    mean = (x + y + height) / 3
    third = np.abs(mean) > limits[1] * np.sqrt(np.maximum(1 - 3 * mean**2, 0) / 2 / 3)
    assert crossing(np.array(limits), 2) == pytest.approx((second | third).mean(), rel=0.01)


def test_a_boundary_that_is_never_reached_is_never_crossed():
    assert crossing(np.full(5, 1e12), 3) == pytest.approx(0, abs=1e-9)


def test_more_looks_ask_for_more_at_the_last():
    assert critical_values(3, 10, 0.05)[-1] > critical_values(10, 10, 0.05)[-1]


def test_an_early_look_asks_for_more_than_a_late_one():
    assert list(critical_values(3, 10, 0.05)) == sorted(critical_values(3, 10, 0.05), reverse=True)


# --- Plans that are extended ---


@pytest.mark.parametrize("stops", [(5,), (5, 8), (4, 6, 9)])
def test_each_stage_spends_its_share_by_brute_force(stops):
    repetitions, error = 200_000, 0.2
    t = np.abs(null_t_statistics(repetitions, stops[-1])[:, 1:])
    crossed = np.maximum.accumulate(t > staged(3, stops, error), axis=1)
    for stage, stop in enumerate(stops):
        spent = error * sum(share(one) for one in range(stage + 1))
        assert crossed[:, stop - 3].mean() == pytest.approx(spent, abs=4 * np.sqrt(spent / repetitions))


def test_a_plan_that_is_extended_keeps_its_own_boundaries():
    assert staged(3, (6, 9), 0.05)[:4] == staged(3, (6,), 0.05)


def test_however_often_a_plan_is_extended_some_of_the_error_is_never_spent():
    assert sum(share(stage) for stage in range(50)) == pytest.approx(0.95)


@pytest.mark.parametrize("look", [3, 5, 6, 7, 9])
@pytest.mark.parametrize("comparisons", [1, 4])
def test_p_at_the_boundary_is_the_error_whichever_look_reaches_it(look, comparisons):
    schedule = Schedule(first=3, stops=(6, 9), error=0.04, comparisons=comparisons)
    assert schedule.p(schedule.limits(7)[look - 3], look) == pytest.approx(0.04, rel=0.02)
    assert schedule.p(-schedule.limits(7)[look - 3] - 0.1, look) < 0.04


def test_p_without_a_difference_is_1():
    assert Schedule(first=3, stops=(6, 9), error=0.05).p(0.0, 9) == 1
