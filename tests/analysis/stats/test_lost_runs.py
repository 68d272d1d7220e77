import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.stats.confirm.error_schedule import Schedule
from analysis.stats.confirm.lost_runs import Lost, lost_runs, noise
from analysis.stats.confirm.new_run import new_run
from analysis.stats.confirm.outlook import chance_to_settle, chances, seeds_needed
from analysis.stats.confirm.race_plan import RacePlan
from analysis.stats.confirm.seed_race import judge
from analysis.stats.confirm.standing import standing
from analysis.stats.confirm.winner import choose
from analysis.stats.proportions import exact_interval

PLAN = RacePlan(max_seeds=10, comparisons=(("a", "b"),))
THREE = RacePlan(max_seeds=10, comparisons=(("a", "b"), ("a", "c"), ("b", "c")))


def scores_of(**arms):
    return {arm: dict(enumerate(map(float, scores))) for arm, scores in arms.items()}


def normal(seed=0, seeds=10, **means):
    rng = np.random.default_rng(seed)
    return {arm: dict(enumerate(70 + mean + rng.normal(0, 0.1, seeds))) for arm, mean in means.items()}


drops = st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.0, -7.0, -9.5]), min_size=10, max_size=10)
spreads = st.lists(st.floats(-1, 1).map(lambda one: round(one, 2)), min_size=10, max_size=10)


# --- The rule ---


def test_the_noise_is_the_standard_deviation_of_normal_scores():
    rng = np.random.default_rng(0)
    scores = {arm: dict(enumerate(rng.normal(0, 2.5, 400))) for arm in "ab"}
    assert noise(scores) == pytest.approx(2.5, rel=0.1)


def test_the_noise_is_hardly_moved_by_collapsed_runs():
    scores = normal(a=0, b=0)
    moved = {arm: {seed: one - 8 * (seed < 2) for seed, one in of_arm.items()} for arm, of_arm in scores.items()}
    assert noise(moved) < 2 * noise(scores)


@pytest.mark.parametrize(("sign", "drop"), [(1, -6), (-1, 6)])
def test_a_run_far_below_its_arm_has_collapsed_and_one_far_above_has_not(sign, drop):
    scores = normal(a=0, b=0)
    scores["a"][3] += drop
    scores["b"][5] -= drop
    found = lost_runs(scores, delta=0.3, sign=sign)
    assert (found["a"].collapsed, found["b"].collapsed) == ((3,), ())


@pytest.mark.parametrize("collapsed", [4, 5, 6])
def test_runs_that_collapsed_are_found_where_they_are_most_of_the_arm(collapsed):
    scores = normal(a=0, b=0, seeds=9)
    for seed in range(collapsed):
        scores["a"][seed] -= 5 + 0.8 * seed
    found = lost_runs(scores, delta=0.3)
    assert (found["a"].collapsed, found["b"].collapsed) == (tuple(range(collapsed)), ())


def test_one_run_that_stands_far_above_its_arm_does_not_make_the_others_collapsed_ones():
    scores = normal(a=0, b=0)
    scores["a"][3] += 8
    assert lost_runs(scores, delta=0.3)["a"].collapsed == ()


@pytest.mark.parametrize("seeds", [9, 10, 30])
def test_of_arms_of_normal_noise_hardly_a_run_is_said_to_have_collapsed(seeds):
    rng = np.random.default_rng(3)
    arms = [{arm: dict(enumerate(rng.normal(70, 1, seeds))) for arm in "ab"} for _ in range(300)]
    assert sum(one.count for scores in arms for one in lost_runs(scores, delta=0.1).values()) <= 0.001 * 600 * seeds


def test_what_is_within_five_delta_of_the_median_has_not_collapsed_however_small_the_noise():
    scores = scores_of(a=[70, 70, 70, 68.6], b=[70, 70, 70, 68.4])
    found = lost_runs(scores, delta=0.3)
    assert (found["a"].collapsed, found["b"].collapsed) == ((), (3,))


def test_an_arm_that_is_noisier_than_the_others_is_not_called_collapsed_for_it():
    rng = np.random.default_rng(1)
    scores = {"a": dict(enumerate(rng.normal(70, 4, 10))), **{name: normal(b=0)["b"] for name in "bcd"}}
    assert lost_runs(scores, delta=0.1)["a"].collapsed == ()


def test_of_two_runs_none_is_said_to_have_collapsed():
    assert lost_runs(scores_of(a=[70, 60], b=[70, 70]), delta=0.3)["a"].collapsed == ()


def test_failed_runs_are_lost_too():
    scores = scores_of(a=[70, 70.1, 60], c=[70, 70.1, 70.2])
    found = lost_runs(scores, delta=0.3, failed=[("a", 3), ("b", 0)])
    assert found["a"] == Lost(collapsed=(2,), failed=(3,), runs=4)
    assert found["b"] == Lost(failed=(0,), runs=1)


@given(drops=drops, spread=spreads, other=spreads)
def test_what_has_collapsed_does_not_depend_on_the_comparison(drops, spread, other):
    """Nothing that a seed does to the other arm alone can move a run across the line but by the common noise."""
    first = lost_runs(scores_of(a=np.add(drops, spread), b=other), delta=3)
    second = lost_runs(scores_of(a=np.add(drops, spread), b=other[::-1]), delta=3)
    assert first["a"] == second["a"]


# --- Counts and their intervals ---


@pytest.mark.parametrize(("count", "of"), [(0, 10), (2, 10), (10, 10), (1, 3)])
def test_the_exact_interval_is_scipys(count, of):
    reference = stats.binomtest(count, of).proportion_ci(0.95)
    assert exact_interval(count, of, level=0.95) == pytest.approx((reference.low, reference.high))


def test_none_lost_of_ten_still_allows_a_third():
    assert Lost(runs=10).words == "0 of 10 runs were lost (up to 31 % may)"


def test_the_words_on_lost_runs_say_how_many_of_which_kind_and_the_interval():
    words = Lost(collapsed=(1,), failed=(4,), runs=10).words
    assert words == "2 of 10 runs were lost (1 collapsed, 1 failed; 3 to 56 % may)"


def test_in_a_new_run_a_lost_run_loses_and_two_lost_ones_are_tied():
    scores = scores_of(a=[70, 70.1, 60, 60, 70.2], b=[69.9, 70.2, 70, 60, 70.2])
    found = new_run(scores, lost_runs(scores, delta=0.3), "a", "b", sign=1)
    assert (found.value, found.seeds) == (pytest.approx(2 / 5), 5)
    wins, ties = 1, 2
    assert found.low == pytest.approx(stats.binomtest(wins, 5).proportion_ci().low)
    assert found.high == pytest.approx(stats.binomtest(wins + ties, 5).proportion_ci().high)


def test_a_failed_run_loses_the_new_run_against_one_with_a_score():
    scores = scores_of(a=[70, 70.1], b=[69, 69.1, 69.2])
    lost = lost_runs(scores, delta=0.3, failed=[("a", 2)])
    assert new_run(scores, lost, "a", "b", sign=1).value == pytest.approx(2 / 3)


# --- Verdicts ---


def test_a_collapse_in_one_arm_neither_hides_nor_makes_a_difference():
    whole = normal(a=1, b=0)
    scores = {arm: dict(of_arm) for arm, of_arm in whole.items()}
    scores["a"][4] -= 8
    found = judge(scores, PLAN)
    assert found.verdicts[0].kind == "better"
    assert found.verdicts[0].pairs == 9
    assert found.lost["a"].collapsed == (4,)


def test_differences_with_a_last_one_of_minus_seven_give_one_coherent_verdict():
    differences = [0.9, 0.5, 0.7, 0.6, 0.8, 0.7, 0.6, -7]
    scores = scores_of(a=[70 + one for one in differences], b=[70, 70.1, 69.9, 70, 70.05, 70, 69.95, 70])
    found = judge(scores, PLAN).verdicts[0]
    assert found.low < found.effect < found.high
    assert (found.kind, found.pairs) == ("better", 7)
    assert "mean difference of typical runs +0.69" in found.words
    assert found.new_run.value == pytest.approx(7 / 8)


@settings(max_examples=150, deadline=None)
@given(first=st.tuples(spreads, drops), second=st.tuples(spreads, drops), effect=st.sampled_from([0.0, 0.5, 1.5]))
def test_estimate_interval_kind_and_words_never_contradict_each_other(first, second, effect):
    scores = scores_of(a=np.add(*first) + effect, b=np.add(*second))
    found = judge(scores, PLAN).verdicts[0]
    if found.pairs < PLAN.first_seeds:
        assert found.kind == "undecided"
        return
    assert found.low <= found.effect <= found.high
    shown = {"better": found.low > 0, "worse": found.high < 0, "equivalent": max(-found.low, found.high) < 0.3}
    assert found.kind == next((kind for kind in ("equivalent", "better", "worse") if shown[kind]), "undecided")
    if found.kind in ("better", "worse"):
        assert f"a is {found.kind} than b" in found.finding
        least = found.low if found.kind == "better" else -found.high
        assert (" by at least 0.3" in found.finding.split(";")[0]) == (least >= 0.3 or f"{least:.2g}" == "0.3")
    if found.withdrawn is not None:
        assert found.kind == "undecided"
        assert "do not bear out" in found.finding


# --- What may be expected of an undecided one ---

OPEN = np.array([0.5, -0.5, 0.9, 0.1, 0.3, 0.2])


def test_the_chances_are_those_of_the_t_posterior_and_add_up_to_one():
    found = chances(OPEN, delta=0.3)
    posterior = stats.t(5, loc=OPEN.mean(), scale=stats.sem(OPEN))
    assert found.better == pytest.approx(posterior.sf(0.3))
    assert found.worse == pytest.approx(posterior.cdf(-0.3))
    assert found.better + found.equivalent + found.worse == pytest.approx(1)


def test_the_plan_settles_as_often_as_continuations_do_that_are_raced_one_by_one():
    schedule, rng = Schedule(first=3, stops=(10,), error=0.05), np.random.default_rng(5)
    settled = 0
    for _ in range(1500):
        sigma = OPEN.std(ddof=1) * np.sqrt(5 / rng.chisquare(5))
        truth = rng.normal(OPEN.mean(), sigma / np.sqrt(6))
        whole = np.concatenate((OPEN, rng.normal(truth, sigma, 4)))
        for n in range(7, 11):
            half = schedule.limits(8)[n - 3] * stats.sem(whole[:n])
            if abs(whole[:n].mean()) > half or abs(whole[:n].mean()) + half < 0.3:
                settled += 1
                break
    assert chance_to_settle(OPEN, left=4, schedule=schedule, delta=0.3) == pytest.approx(settled / 1500, abs=0.05)


def needed_by_draws(differences, schedule, *, delta):
    """10 % and 90 % quantiles of the further pairs until an interval excludes 0 or lies within delta, over draws of the
    true mean and spread."""
    rng, n = np.random.default_rng(7), len(differences)
    sigma = differences.std(ddof=1) * np.sqrt((n - 1) / rng.chisquare(n - 1, 8000))
    truth = np.abs(rng.normal(differences.mean(), sigma / np.sqrt(n)))
    pairs = np.arange(n + 1, n + 301)
    half = stats.t.ppf(1 - schedule.next_error / 2, pairs - 1) * sigma[:, None] / np.sqrt(pairs)
    settled = (half < truth[:, None]) | (half < delta - truth[:, None])
    return np.quantile(np.where(settled.any(axis=1), settled.argmax(axis=1) + 1, 1000), [0.1, 0.9])


def test_a_spent_plan_settles_nothing_and_names_more_seeds_with_their_uncertainty():
    scores = scores_of(a=70 + OPEN, b=[70] * 6)
    found = judge(scores, RacePlan(max_seeds=6, comparisons=(("a", "b"),))).verdicts[0]
    assert found.plan_settles == 0
    schedule = Schedule(first=3, stops=(6,), error=0.05)
    low, high = found.seeds_needed
    least, most = needed_by_draws(OPEN, schedule, delta=0.3)
    assert low == pytest.approx(least, abs=1)
    assert high == pytest.approx(most, rel=0.15)
    assert f"likely {low} to {high} more are needed" in found.words
    assert "confirm --more-seeds adds some, and the intervals still hold" in found.words
    assert "about" not in found.words


@pytest.mark.slow
def test_more_seeds_than_a_plan_may_have_are_not_advised():
    differences = 2 * np.resize(OPEN - OPEN.mean(), 60)
    scores = scores_of(a=70 + differences[:30], b=[70] * 30)
    found = judge(scores, RacePlan(max_seeds=30, comparisons=(("a", "b"),))).verdicts[0]
    assert min(found.seeds_needed) > 30
    assert "more are needed, and 30 are allowed" in found.words
    scores = scores_of(a=70 + differences, b=[70] * 60)
    spent = judge(scores, RacePlan(max_seeds=30, extensions=(60,), comparisons=(("a", "b"),))).verdicts[0]
    assert "the plan's seeds are spent, and no plan may have more than 60" in spent.words
    assert "--more-seeds" not in spent.words


DECIDED = np.array([1.4, -0.3, 1.0, 0.1, 0.9, -0.2, 1.2, 0.6, -0.1, 1.4])


def test_what_the_plan_decided_stands_in_an_extension_whose_first_looks_are_strict():
    scores = scores_of(a=70 + np.append(DECIDED, 0.9), b=[70] * 11)
    plan = RacePlan(max_seeds=10, extensions=(20,), comparisons=(("a", "b"),))
    found = judge(scores, plan).verdicts[0]
    at_its_end = judge(scores_of(a=70 + DECIDED, b=[70] * 10), PLAN).verdicts[0]
    assert found.kind == at_its_end.kind == "better"
    assert (found.effect, found.low, found.high, found.pairs) == pytest.approx(
        (at_its_end.effect, at_its_end.low, at_its_end.high, 10)
    )
    assert found.p < 0.05


def test_what_the_plan_decided_is_withdrawn_where_the_later_seeds_contradict_it():
    scores = scores_of(a=70 + np.append(DECIDED, [-0.9] * 8), b=[70] * 18)
    found = judge(scores, RacePlan(max_seeds=10, extensions=(20,), comparisons=(("a", "b"),))).verdicts[0]
    assert (found.kind, found.withdrawn, found.pairs) == ("undecided", "better", 18)
    assert "which the later seeds do not bear out" in found.words


def test_verdicts_that_stand_in_extensions_err_no_more_often_than_is_promised():
    """All pairs to the end of two extensions, whether decided or not, with no true difference."""
    schedule, rng = Schedule(first=3, stops=(10, 20, 30), error=0.05), np.random.default_rng(0)
    found = [standing(rng.normal(size=rng.integers(11, 31)), schedule, 0.01) for _ in range(1500)]
    assert np.mean([one.kind in ("better", "worse") for one in found]) < 0.05
    assert np.mean([one.low <= 0 <= one.high for one in found]) > 0.95


def test_while_the_plan_has_seeds_no_number_is_named_but_whether_it_can_settle_it():
    scores = scores_of(a=70 + OPEN, b=[70] * 6)
    found = judge(scores, PLAN).verdicts[0]
    assert found.seeds_needed is None
    assert (
        f"up to 4 more seeds of the plan are left, and settle it with probability {100 * found.plan_settles:.0f} %"
        in (found.words)
    )


def test_a_smaller_spread_needs_fewer_seeds():
    schedule = Schedule(first=3, stops=(6,), error=0.05)
    apart = OPEN - OPEN.mean()
    wide, narrow = (seeds_needed(OPEN.mean() + share * apart, schedule=schedule, delta=0.3) for share in (1.0, 0.5))
    assert narrow[0] < wide[0]
    assert narrow[1] < wide[1]


# --- The winner ---


def test_an_arm_with_lost_runs_is_confirmed_with_words_only():
    scores = normal(a=3, b=0)
    scores["a"][2] -= 9
    chosen = choose(judge(scores, PLAN), order=("a", "b"))
    assert chosen.confirmed
    assert chosen.headline == (
        "CONFIRMED for runs that do not collapse or fail; 1 of 10 runs was lost (1 collapsed; 0 to 45 % may)"
    )


def test_an_arm_with_lost_runs_that_is_not_confirmed_says_both():
    rng = np.random.default_rng(2)
    scores = {arm: dict(enumerate(70 + rng.normal(0, 0.5, 10))) for arm in "ab"}
    for arm in "ab":
        scores[arm][7 + (arm == "a")] -= 9
    chosen = choose(judge(scores, PLAN), order=("a", "b"))
    assert chosen.headline == "NOT CONFIRMED; 1 of 10 runs was lost (1 collapsed; 0 to 45 % may)"


def test_the_simplest_that_is_shown_to_be_worse_within_delta_is_said_to_be():
    scores = normal(a=0.15, b=0, c=-3)
    scores["a"] = {seed: one + 0.15 + 0.01 * (seed % 2) for seed, one in scores["b"].items()}
    found = judge(scores, THREE)
    assert found.leader == "a"
    assert found.verdicts[0].kind == "equivalent"
    chosen = choose(found, order=("b", "a", "c"), simplest=True)
    assert chosen.arm == "b"
    assert "shown to be worse than a, by 0.15 to 0.16, which is within 0.3" in chosen.headline


def test_the_simplest_with_an_open_comparison_of_its_own_is_not_confirmed():
    rng = np.random.default_rng(3)
    base = rng.normal(70, 0.01, 10)
    apart = base - 0.25 + 0.4 * (-1.0) ** np.arange(10)
    scores = scores_of(a=base + 0.2 + rng.normal(0, 0.02, 10), b=base, c=apart)
    found = judge(scores, THREE)
    kinds = {(one.arm, one.other): one.kind for one in found.verdicts}
    assert (kinds["a", "b"], kinds["a", "c"], kinds["b", "c"]) == ("equivalent", "better", "undecided")
    assert not choose(found, order=("b", "a", "c"), simplest=True).confirmed


def test_the_arm_that_leads_does_so_by_its_typical_runs():
    scores = normal(a=0.3, b=0)
    scores["a"][0] -= 9
    assert judge(scores, PLAN).leader == "a"
