import numpy as np
import pytest

from analysis.stats.confirm.seed_race import progress
from benchmarks.confirmation_collapses import is_false, plan_of, scores_in, verdicts, winner
from benchmarks.helpers.collapse_scenarios import SCENARIOS
from benchmarks.helpers.confirmation_races import races

KINDS = {1: "better", -1: "worse", 0: "equivalent", 9: "undecided"}
PAIRS = {1: [(0, 1)], 3: [(0, 1), (0, 2), (0, 3)]}


def raced_one_by_one(plan, table):
    scores = {}
    while (now := progress(scores, plan)).wanted:
        for arm, seed in now.wanted:
            scores.setdefault(arm, {})[seed] = float(table[plan.arms.index(arm), seed])
    return now, scores


@pytest.mark.parametrize("scenario", ["Gaussian", "rounded to 0.5", "collapses of 20 % in both"])
@pytest.mark.parametrize("comparisons", [1, 3])
def test_many_races_at_once_end_as_those_one_by_one(scenario, comparisons):
    plan = plan_of(PAIRS[comparisons])
    tables = scores_in(scenario, np.random.default_rng(0), repetitions=40, arms=comparisons + 1, effect=0.6)
    found = races(plan, tables)
    for index, table in enumerate(tables):
        now, scores = raced_one_by_one(plan, table)
        assert [KINDS[kind] for kind in found.kind[index]] == [one.kind for one in now.standings]
        assert found.low[index] == pytest.approx([one.low for one in now.standings])
        assert found.high[index] == pytest.approx([one.high for one in now.standings])
        for number, arm in enumerate(plan.arms):
            assert set(np.flatnonzero(found.seen[index, number])) == set(scores[arm])
            assert tuple(np.flatnonzero(found.lost[index, number])) == now.lost[arm].collapsed


def test_before_without_lost_runs_the_interval_is_the_intersection_over_the_looks():
    plan = plan_of(PAIRS[1])
    tables = scores_in("Gaussian", np.random.default_rng(1), repetitions=50, arms=2)
    found = races(plan, tables, before=True)
    assert not found.lost.any()
    assert ((found.estimate < found.low) | (found.estimate > found.high)).sum() == 0


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_has_finite_scores_of_the_shape_that_is_asked_for(scenario):
    table = scores_in(scenario, np.random.default_rng(0), repetitions=50, arms=3, effect=0.4)
    assert table.shape == (50, 3, 10)
    assert np.isfinite(table).all()


def test_a_verdict_is_false_against_the_truth_alone():
    kinds = np.array([1, -1, 0, 9])
    assert is_false(kinds, 0.0).tolist() == [True, True, False, False]
    assert is_false(kinds, 0.4).tolist() == [False, True, True, False]


RACES = 1000
"""Standard error of a rate of 5 %: 0.7 %."""


def rate(scenario, key, *, comparisons=1, effect=0.0, before=False, extensions=()):
    found = verdicts(
        scenario, comparisons=comparisons, effect=effect, repetitions=RACES, before=before, extensions=extensions
    )
    return found[key] / RACES


@pytest.mark.parametrize("comparisons", [1, 3])
@pytest.mark.parametrize("scenario", ["Gaussian", "skewed in one arm", *(one for one in SCENARIOS if "10 %" in one)])
def test_at_no_difference_at_most_one_family_in_twenty_has_a_false_verdict(scenario, comparisons):
    assert rate(scenario, "false", comparisons=comparisons) < 0.05 + 2 * 0.007
    assert rate(scenario, "covered", comparisons=comparisons) > 0.95 - 2 * 0.007


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_difference_beyond_delta_is_called_equivalent_in_fewer_than_one_race_in_twenty(scenario):
    assert rate(scenario, "equivalent", effect=0.4) < 0.05


def test_power_with_collapses_in_both_arms_is_at_least_twice_that_of_the_t_test_over_all_runs():
    scenario = "collapses of 10 % in both"
    now, before = (rate(scenario, "better", effect=0.6, before=one) for one in (False, True))
    assert now >= 2 * before


def test_power_on_normal_noise_is_at_most_five_points_below_the_whole_error_spent_at_once():
    now, before = (rate("Gaussian", "better", effect=0.6, before=one) for one in (False, True))
    assert now >= before - 0.05


def test_an_estimate_is_never_outside_its_interval_where_intersected_intervals_lose_theirs():
    scenario = "collapses of 10 % in both"
    assert rate(scenario, "outside") == 0
    assert rate(scenario, "outside", before=True) > 0.05


@pytest.mark.parametrize("scenario", ["Gaussian", "rounded to 0.5", "collapses of 10 % in one arm"])
@pytest.mark.parametrize("effect", [0.0, 0.6])
def test_the_interval_of_a_new_run_holds_whenever_the_race_stops(scenario, effect):
    assert rate(scenario, "new", effect=effect) > 0.95 - 2 * 0.007


def test_the_winners_interval_holds_whichever_of_five_equal_arms_wins():
    found = winner("collapses of 10 % in both", arms=5, repetitions=150, before=False)
    assert found["covered"] / found["n"] > 0.95 - 2 * 0.018
