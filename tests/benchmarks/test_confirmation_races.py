import numpy as np
import pytest

from analysis.stats.race import progress
from benchmarks.confirmation_collapses import SCENARIOS, is_false, plan_of, scores_in
from benchmarks.confirmation_races import races

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
