import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.errors import PlanError
from analysis.stats.confirm.error_schedule import PLAN, staged
from analysis.stats.confirm.race_plan import RacePlan
from analysis.stats.confirm.seed_race import judge
from analysis.stats.confirm.winner import choose

PAIR = (("a", "b"),)
THREE = (("a", "b"), ("a", "c"), ("b", "c"))


def plan(comparisons=PAIR, max_seeds=6, **rest):
    return RacePlan(comparisons=comparisons, max_seeds=max_seeds, **rest)


def scores_of(**arms):
    return {arm: dict(enumerate(scores)) for arm, scores in arms.items()}


def verdict(differences, **rest):
    """Of an arm that is better by these differences than another whose scores are 50."""
    scores = scores_of(a=[50 + one / 2 for one in differences], b=[50 - one / 2 for one in differences])
    return judge(scores, plan(**rest)).verdicts[0]


values = st.lists(st.floats(-2, 2).map(lambda one: round(one, 3)), min_size=3, max_size=6)
arms_of_scores = st.fixed_dictionaries(
    {arm: st.dictionaries(st.integers(0, 5), st.floats(40, 60).map(lambda one: round(one, 3))) for arm in "abc"}
)


# --- The plan ---


@pytest.mark.parametrize(
    ("rest", "named"),
    [
        ({"delta": 0}, "delta = 0"),
        ({"delta": math.inf}, "delta = inf"),
        ({"error": 0.5}, "error = 0.5"),
        ({"first_seeds": 1}, "first_seeds = 1"),
        ({"max_seeds": 2}, "max_seeds = 2"),
        ({"max_seeds": 31}, "max_seeds = 31"),
        ({"extensions": (6,)}, "extensions = [6]"),
        ({"extensions": (9, 8)}, "extensions = [9, 8]"),
        ({"extensions": (61,)}, "extensions = [61]"),
        ({"comparisons": ()}, "comparisons is empty"),
        ({"comparisons": (("a", "a"),)}, "a is compared with itself"),
        ({"comparisons": (("a", "b"), ("b", "a"))}, "listed twice"),
        ({"kept": frozenset({"c"})}, "kept: c is in no comparison"),
    ],
)
def test_a_plan_out_of_range_is_refused_by_name(rest, named):
    with pytest.raises(PlanError, match=re.escape(named)):
        plan(**rest)


@pytest.mark.parametrize(
    ("scores", "rest", "named"),
    [
        ({"x": {0: 1.0}}, {}, "arm x is in no comparison"),
        ({"a": {6: 1.0}}, {}, "a has seed 6"),
        ({"a": {0: math.nan}}, {}, "a scored nan with seed 0"),
        ({"a": {0: 1.0}}, {"sign": 0}, "sign = 0"),
        ({"a": {0: 1.0}}, {"failed": {("a", 0)}}, "have a score"),
    ],
)
def test_scores_that_the_plan_does_not_know_are_refused(scores, rest, named):
    with pytest.raises(PlanError, match=named):
        judge(scores, plan(), **rest)


# --- Intervals and p ---


@given(differences=st.lists(st.floats(-2, 2), min_size=4, max_size=4).filter(lambda one: np.ptp(one) > 0.01))
def test_with_one_look_interval_and_p_are_scipys_paired_t_test_at_the_plans_share_of_the_error(differences):
    first, second = np.array(differences) / 2 + 70, 70 - np.array(differences) / 2
    found = judge(scores_of(a=first, b=second), plan(first_seeds=4, max_seeds=4, delta=1)).verdicts[0]
    reference = stats.ttest_rel(first, second)
    low, high = reference.confidence_interval(1 - PLAN * 0.05)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-3, abs=1e-3)
    assert found.p == pytest.approx(min(1, reference.pvalue / PLAN), rel=0.02, abs=1e-3)


def test_with_one_look_ten_comparisons_share_the_error():
    rng = np.random.default_rng(0)
    table = {arm: rng.normal(70, 0.5, 8) for arm in "abcde"}
    pairs = tuple((one, other) for one in "abcde" for other in "abcde" if one < other)
    found = judge(scores_of(**table), plan(pairs, first_seeds=8, max_seeds=8))
    for one in found.verdicts:
        reference = stats.ttest_rel(table[one.arm], table[one.other]).confidence_interval(1 - PLAN * 0.05 / 10)
        assert (one.low, one.high) == pytest.approx((reference.low, reference.high), rel=1e-2)


def test_the_interval_is_that_of_the_last_look_and_the_estimate_its_centre():
    differences = np.array([0.5, 0.7, 0.6, 1.6, -0.4])
    found = verdict(differences)
    half = staged(3, (6,), 0.05)[2] * differences.std(ddof=1) / math.sqrt(5)
    assert (found.low, found.high) == pytest.approx((differences.mean() - half, differences.mean() + half))
    assert found.effect == pytest.approx((found.low + found.high) / 2)


@given(differences=values)
def test_p_is_below_the_error_when_and_only_when_an_interval_excludes_zero(differences):
    found = verdict(differences, delta=1e-6)
    if abs(found.p - 0.05) > 0.002:
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_before_the_first_look_nothing_is_said():
    found = verdict([1.0, 1.1])
    assert (found.kind, found.low, found.high, found.p) == ("undecided", -math.inf, math.inf, pytest.approx(1))
    assert "the first look is at 3" in found.words


def test_differences_that_are_all_the_same_decide_nothing():
    found = verdict([0.5, 0.5, 0.5])
    assert found.kind == "undecided"
    assert (found.plan_settles, found.seeds_needed, found.chances) == (None, None, None)
    assert "their spread is not known" in found.words
    assert "no interval" in found.words
    assert "inf" not in found.words


# --- Properties ---


@given(scores=arms_of_scores)
def test_swapping_the_arms_of_a_comparison_turns_the_verdict_round(scores):
    one, other = (
        judge({arm: scores[arm] for arm in "ab"}, plan((pair,))).verdicts[0] for pair in (("a", "b"), ("b", "a"))
    )
    assert other.kind == {"better": "worse", "worse": "better"}.get(one.kind, one.kind)
    assert (other.low, other.high, other.p) == pytest.approx((-one.high, -one.low, one.p))


@given(scores=arms_of_scores)
def test_minimising_negated_scores_is_maximising(scores):
    negated = {arm: {seed: -one for seed, one in of_arm.items()} for arm, of_arm in scores.items()}
    assert str(judge(negated, plan(THREE), sign=-1)) == str(judge(scores, plan(THREE)))


@given(scores=arms_of_scores, shifts=st.lists(st.integers(-50, 50), min_size=6, max_size=6))
def test_what_a_seed_adds_to_all_arms_changes_no_interval_where_no_run_collapses(scores, shifts):
    moved = {arm: {seed: one + shifts[seed] for seed, one in of_arm.items()} for arm, of_arm in scores.items()}
    before, after = judge(scores, plan(THREE, delta=30)), judge(moved, plan(THREE, delta=30))
    assert [(one.low, one.high) for one in after.verdicts] == [
        (pytest.approx(one.low, abs=1e-6), pytest.approx(one.high, abs=1e-6)) for one in before.verdicts
    ]


@given(scores=arms_of_scores, factor=st.sampled_from([0.01, 0.5, 2.0, 64.0]))
def test_scores_and_delta_in_another_unit_give_the_same_verdicts(scores, factor):
    scaled = {arm: {seed: one * factor for seed, one in of_arm.items()} for arm, of_arm in scores.items()}
    before, after = judge(scores, plan(THREE, delta=0.3)), judge(scaled, plan(THREE, delta=0.3 * factor))
    assert [one.low for one in after.verdicts] == [pytest.approx(one.low * factor, rel=1e-6) for one in before.verdicts]
    assert (after.wanted, after.dropped, after.leader) == (before.wanted, before.dropped, before.leader)


@given(scores=arms_of_scores, order=st.permutations(THREE))
def test_the_order_of_the_comparisons_does_not_matter(scores, order):
    before, after = judge(scores, plan(THREE)), judge(scores, plan(tuple(order)))
    assert {(one.arm, one.other): str(one) for one in after.verdicts} == {
        (one.arm, one.other): str(one) for one in before.verdicts
    }
    assert (set(after.wanted), after.dropped) == (set(before.wanted), before.dropped)


@given(differences=values, deltas=st.tuples(st.floats(0.5, 2), st.floats(0.5, 2)))
def test_a_larger_delta_only_ever_makes_a_verdict_equivalent_where_no_run_collapses(differences, deltas):
    small, large = (verdict(differences, delta=one).kind for one in sorted(deltas))
    assert large in (small, "equivalent")


def test_what_the_later_seeds_do_not_bear_out_is_withdrawn_with_a_word():
    differences = [0.90, 0.92, 0.91, 0.90, 0.93, -1.5]
    before, after = verdict(differences[:5]), verdict(differences)
    assert before.kind == "better"
    assert (after.kind, after.withdrawn) == ("undecided", "better")
    assert "after 5 pairs it was better, which the later seeds do not bear out" in after.words


# --- Words ---


@pytest.mark.parametrize(
    ("differences", "kind", "words"),
    [
        (
            [1.0, 1.02, 1.04, 1.01, 1.03, 1.0],
            "better",
            "a is better than b by at least 0.3 (mean",
        ),
        (
            [-1.0, -1.02, -1.04, -1.01, -1.03, -1.0],
            "worse",
            "a is worse than b by at least 0.3 (mean",
        ),
        ([0.5, 0.3, 0.4, 0.45, 0.35, 0.3], "better", "a is better than b, by at least 0.28; at least 0.3 is not shown"),
        ([0.01, -0.01, 0.02, 0.0, -0.02, 0.0], "equivalent", "a and b are equivalent within 0.3 (mean difference"),
        ([0.2, 0.18, 0.19, 0.2, 0.21, 0.2], "equivalent", "equivalent within 0.3, a being the better one"),
        ([0.5, -0.5, 0.9, 0.1, 0.3, 0.2], "undecided", "the plan's seeds are spent"),
    ],
)
def test_the_words_say_what_the_interval_shows(differences, kind, words):
    found = verdict(differences)
    assert found.kind == kind
    assert words in found.words
    assert f"{found.pairs} paired seeds" in found.words


# --- The race ---


def raced(means, comparisons, noise=0.2, max_seeds=10, seed=0, failing=(), **rest):
    """Runs what is wanted until it is over; the judgement and the scores."""
    rng = np.random.default_rng(seed)
    table = {arm: mean + rng.normal(0, noise, max_seeds) for arm, mean in means.items()}
    the_plan = plan(comparisons, max_seeds=max_seeds, **rest)
    scores, failed = {}, set()
    while not (found := judge(scores, the_plan, failed=failed)).over:
        for arm, one in found.wanted:
            if (arm, one) in failing:
                failed.add((arm, one))
            else:
                scores.setdefault(arm, {})[one] = float(table[arm][one])
    return found, scores


def test_the_first_rounds_are_wanted_together_and_in_pairs():
    assert judge({}, plan(first_seeds=2)).wanted == (("a", 0), ("b", 0), ("a", 1), ("b", 1))


def test_after_the_first_look_rounds_come_one_by_one():
    assert judge(scores_of(a=[1, 2, 1.5], b=[1.2, 1.9, 1.4]), plan()).wanted == (("a", 3), ("b", 3))


def test_a_round_that_was_begun_is_finished_first():
    scores = scores_of(a=[1, 2, 1.5, 1], b=[1.2, 1.9, 1.4])
    assert judge(scores, plan()).wanted == (("b", 3),)


def test_a_clearly_worse_arm_is_dropped_and_the_others_go_on():
    found, scores = raced({"a": 1.0, "b": 0.9, "c": -6.0}, THREE, noise=0.6)
    assert found.dropped == {"c"}
    assert len(scores["c"]) < len(scores["a"]) == 10


def test_a_dropped_arm_takes_its_open_questions_along():
    found, scores = raced({"a": 3.0, "b": 0.0, "b0": 0.0}, (("a", "b"), ("b", "b0")))
    assert found.dropped == {"b"}
    assert len(scores["b0"]) == len(scores["b"]) < 10
    assert found.reason == "1 of 2 comparisons undecided, all with an arm that is clearly worse than another"


def test_a_kept_arm_goes_on_until_its_comparisons_are_decided():
    found, scores = raced({"a": 3.0, "b": 0.0, "b0": 0.0}, (("a", "b"), ("b", "b0")), kept=frozenset({"b"}))
    assert found.dropped == frozenset()
    assert len(scores["b"]) == len(scores["b0"]) > len(scores["a"])


def test_it_is_over_when_every_comparison_is_decided():
    found, scores = raced({"a": 3.0, "b": 0.0}, PAIR)
    assert found.reason == "every comparison is decided"
    assert len(scores["a"]) < 10


def test_it_is_over_when_the_budget_is_spent():
    found, _ = raced({"a": 0.1, "b": 0.0}, PAIR, noise=1.0, max_seeds=4)
    assert found.reason == "the budget of 4 seeds is spent; 1 of 1 comparisons undecided"


def test_a_failed_run_is_not_asked_for_again_and_its_pair_is_left_out():
    found, scores = raced({"a": 0.1, "b": 0.0}, PAIR, noise=1.0, failing={("a", 1), ("b", 4)})
    assert found.verdicts[0].pairs == 8
    assert len(scores["a"]) == len(scores["b"]) == 9


def test_an_arm_whose_runs_all_fail_leaves_the_others_a_leader():
    found, _ = raced({"a": 1.0, "b": 0.0, "c": 0.0}, THREE, failing={("c", seed) for seed in range(10)})
    assert found.leader == "a"
    assert not choose(found, order=("a", "b", "c")).confirmed


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), means=st.fixed_dictionaries({arm: st.floats(-1, 1) for arm in "abc"}))
def test_every_race_ends_with_nothing_wanted_and_within_its_budget(seed, means):
    found, scores = raced(means, THREE, noise=0.5, max_seeds=6, seed=seed)
    assert found.wanted == ()
    assert all(len(of_arm) <= 6 for of_arm in scores.values())


# --- The winner ---


def test_the_winner_is_confirmed_when_nothing_about_it_is_open():
    found, _ = raced({"a": 3.0, "b": 0.0, "c": -3.0}, THREE)
    chosen = choose(found, order=("c", "b", "a"))
    assert (chosen.arm, chosen.confirmed, chosen.words) == ("a", True, "a leads, confirmed")


def test_a_leader_with_an_open_comparison_is_not_confirmed():
    found, _ = raced({"a": 0.1, "b": 0.0}, PAIR, noise=1.0, max_seeds=4)
    chosen = choose(found, order=("a", "b"))
    assert not chosen.confirmed
    assert "not confirmed: undecided against" in chosen.words


def test_a_leader_that_was_not_compared_with_a_rival_is_not_confirmed():
    found, _ = raced({"a": 3.0, "b": 0.0, "c": 3.5, "d": 0.0}, (("a", "b"), ("c", "d")))
    assert choose(found, order=("a", "b", "c", "d")).words == "c leads, not confirmed: undecided against a"


def test_the_simplest_arm_inside_the_leaders_equivalence_band_is_taken_if_asked():
    found, _ = raced({"a": 1.0, "b": 0.95, "c": -2.0}, THREE, noise=0.02)
    assert choose(found, order=("c", "b", "a")).arm == found.leader
    chosen = choose(found, order=("c", "b", "a"), simplest=True)
    assert (chosen.arm, chosen.confirmed) == ("b", True)
    assert "simplest that is equivalent" in chosen.words


def test_an_order_without_the_leader_is_refused():
    found, _ = raced({"a": 3.0, "b": 0.0}, PAIR)
    with pytest.raises(PlanError, match="order lacks a"):
        choose(found, order=("b",))


def test_no_winner_is_chosen_before_the_first_look():
    with pytest.raises(PlanError, match="no winner"):
        choose(judge({}, plan()), order=("a", "b"))


# --- Constraints ---


def test_an_arm_that_breaks_a_constraint_never_leads_and_drops_none():
    scores = scores_of(a=[60, 61, 62, 60], b=[50, 51, 52, 50.5], c=[49.9, 51, 52, 50.4])
    best = judge(scores, plan(THREE, max_seeds=4))
    assert (best.leader, best.dropped) == ("a", {"b", "c"})
    barred = judge(scores, plan(THREE, max_seeds=4), barred=["a"])
    assert (barred.leader, barred.dropped) == ("b", {"a"})
    assert [one.kind for one in barred.verdicts] == [one.kind for one in best.verdicts]


def test_an_arm_that_breaks_a_constraint_is_not_chosen_and_what_it_beats_is_said():
    scores = scores_of(a=[60, 61, 62, 60], b=[50, 51, 52, 50.5])
    found = judge(scores, plan(max_seeds=4), barred=["a"])
    choice = choose(found, order=["a", "b"], simplest=True, barred=["a"])
    assert choice.arm == "b"
    assert choice.qualification == "shown to be worse than a, which breaks a constraint"


def test_where_every_arm_breaks_a_constraint_none_leads():
    scores = scores_of(a=[60, 61, 62, 60], b=[50, 51, 52, 50.5])
    assert judge(scores, plan(max_seeds=4), barred=["a", "b"]).leader is None
