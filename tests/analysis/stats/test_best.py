"""The rule of the best, by itself: against its definition written out, and over the course of a study."""

from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.stats.best import Scored, contenders, settings_of, standings

FULL = 4


def run(number, score, *, config="a", seed=0, state="complete", epoch=FULL, second_score=None):
    return Scored(
        number=number, settings=config, seed=seed, state=state, epoch=epoch, score=score, second_score=second_score
    )


def best(trials, **more):
    found = standings(trials, **{"max_epochs": FULL, "sign": 1, **more}).best
    return None if found is None else (found.number, found.score)


def test_the_best_mean_leads_and_not_the_luckiest_seed():
    lucky, steady = [run(0, 50.0), run(1, 10.0, seed=1)], [run(2, 35.0, config="b"), run(3, 34.0, config="b", seed=1)]
    assert best([*lucky, *steady]) == (2, 34.5)


def test_of_trials_with_equal_seeds_the_earliest_counts():
    assert best([run(1, 90.0), run(0, 30.0), run(2, 31.0, config="b")]) == (2, 31.0)


def test_a_failed_trial_never_competes():
    assert best([run(0, 90.0, state="failed")]) is None


def test_a_configuration_of_which_one_run_breaks_a_constraint_does_not_compete_by_the_others():
    kept, broke = run(0, 90.0), run(1, 95.0, seed=1, state="infeasible", epoch=2)
    for order in ([kept, broke], [broke, kept]):
        assert best([*order, run(2, 10.0, config="b")]) == (2, 10.0)
        assert best(order) is None


def test_where_the_only_complete_one_breaks_a_constraint_stopped_ones_compete():
    broke = [run(0, 90.0), run(1, 95.0, seed=1, state="infeasible")]
    assert best([*broke, run(2, 10.0, config="b", state="stopped", epoch=3)]) == (2, 10.0)


def test_a_stopped_trial_competes_only_while_none_is_complete():
    stopped = run(0, 90.0, state="stopped", epoch=3)
    assert best([stopped]) == (0, 90.0)
    assert best([stopped, run(1, 10.0, config="b")]) == (1, 10.0)


def test_a_complete_trial_without_a_score_for_its_last_epoch_is_not_at_full_length():
    unscored = run(0, 90.0, epoch=3)
    assert best([unscored, run(1, 10.0, config="b")]) == (1, 10.0)
    assert best([unscored, run(1, 99.0, config="b", state="stopped", epoch=2)]) == (0, 90.0)


def test_of_equal_means_the_better_second_objective_leads_and_then_the_earliest():
    trials = [
        run(i, 40.0, config=name, second_score=one)
        for i, (name, one) in enumerate(zip("abc", (3.0, 2.0, 2.0), strict=True))
    ]
    assert best(trials, second_sign=-1) == (1, 40.0)


def test_with_two_objectives_a_trial_without_the_second_does_not_compete():
    assert best([run(0, 90.0), run(1, 10.0, config="b", second_score=1.0)], second_sign=-1) == (1, 10.0)


def test_the_seed_is_no_part_of_a_configuration():
    assert settings_of({"seed": 1, "b": 2, "a": None}) == (("a", "None"), ("b", "2"))
    assert settings_of({"seeds.init": 1, "seeds.order": 2, "data.draw.seed": 0, "b": 2}) == (("b", "2"),)


drawn = st.lists(
    st.builds(
        dict,
        config=st.sampled_from("abc"),
        seed=st.integers(0, 2),
        state=st.sampled_from(["complete", "complete", "stopped", "failed", "interrupted", "running", "infeasible"]),
        epoch=st.integers(1, FULL),
        score=st.integers(0, 3).map(float),
        second_score=st.one_of(st.none(), st.integers(0, 2).map(float)),
    ),
    max_size=12,
)


def trials_of(drawn):
    """A trial that is stopped, cut off or still runs is not at full length."""
    return [
        run(number, **{**one, "epoch": one["epoch"] if one["state"] == "complete" else min(one["epoch"], FULL - 1)})
        for number, one in enumerate(drawn)
    ]


def by_definition(trials, *, sign, second_sign):
    """All that compete, best first, as (number, mean), and the numbers on the front."""
    barred = {one.settings for one in trials if one.state == "infeasible"}
    able = [one for one in trials if one.state != "failed" and one.settings not in barred]
    able = [one for one in able if second_sign is None or one.second_score is not None]
    full = [one for one in able if one.state == "complete" and one.epoch == FULL]
    top = max((one.epoch for one in able), default=0)
    pool = full or [one for one in able if one.epoch == top]
    ranks = []
    for config in {one.settings for one in pool}:
        same = {one.seed: one for one in sorted(pool, key=lambda one: -one.number) if one.settings == config}
        mean = fmean(one.score for one in same.values())
        second = 0.0 if second_sign is None else fmean(one.second_score for one in same.values())
        ranks.append((sign * mean, (second_sign or 0) * second, -min(one.number for one in same.values()), mean))
    ranks.sort(reverse=True)
    front = {
        -number
        for first, second, number, _ in ranks
        if not any(a >= first and b >= second and (a, b) != (first, second) for a, b, *_ in ranks)
    }
    return [(-number, mean) for _, _, number, mean in ranks], front


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("second_sign", [None, 1, -1])
@given(drawn=drawn, data=st.data())
@settings(deadline=None, max_examples=150)
def test_the_order_the_best_and_the_front_are_those_of_the_definition_whatever_order_trials_come_in(
    sign, second_sign, drawn, data
):
    trials = trials_of(drawn)
    ranked, front = by_definition(trials, sign=sign, second_sign=second_sign)
    order = data.draw(st.permutations(trials))
    found = standings(order, max_epochs=FULL, sign=sign, second_sign=second_sign)
    assert [(one.number, one.score) for one in found.ranked()] == ranked
    assert (None if found.best is None else found.best.number) == (ranked[0][0] if ranked else None)
    assert {one.number for one in found.front()} == front


@pytest.mark.parametrize("top", [1, 2])
@pytest.mark.parametrize("second_sign", [None, -1])
@given(drawn=drawn, data=st.data())
@settings(deadline=None, max_examples=200)
def test_what_the_study_names_at_its_end_was_a_contender_from_its_end_on(top, second_sign, drawn, data):
    rule = {"max_epochs": FULL, "sign": 1, "second_sign": second_sign}
    trials = [one for one in trials_of(drawn) if one.state in ("complete", "stopped", "failed", "infeasible")]
    order = data.draw(st.permutations(trials))
    last = standings(order, **rule)
    named = {one.number for one in last.ranked()[:top]}
    named |= set() if second_sign is None else {one.number for one in last.front()}
    for count in range(1, len(order) + 1):
        ended, to_come = order[:count], {one.settings for one in order[count:]}
        kept = contenders(ended, unsettled=to_come, top=top, **rule)
        assert named & {one.number for one in ended} <= kept


def test_without_seeds_to_come_only_the_best_is_a_contender():
    trials = [run(0, 1.0), run(1, 3.0, config="b"), run(2, 2.0, config="c")]
    assert contenders(trials, unsettled=(), top=1, max_epochs=FULL, sign=1) == {1}


def test_a_configuration_with_a_seed_to_come_keeps_its_first_run_alone():
    trials = [run(0, 1.0), run(1, 1.0, seed=1), run(2, 3.0, config="b")]
    assert contenders(trials, unsettled={"a"}, top=1, max_epochs=FULL, sign=1) == {0, 2}
