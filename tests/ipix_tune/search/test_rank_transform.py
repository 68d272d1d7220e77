import copy
import math

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial
from scipy import stats

from ipix_tune.search import rank_transform
from ipix_tune.search.rank_transform import (
    AS_BEFORE,
    BEST,
    SHOWN,
    RankedSampler,
    Ranking,
    expected_ends,
    rank,
    ranked,
    ranks,
    thinned_out,
)


def test_a_place_is_the_middle_rank_of_scipy():
    scores = [3.0, 1.0, 3.0, 2.0, 5.0]
    ordered = sorted(scores)
    assert [rank(one, ordered) for one in scores] == pytest.approx((stats.rankdata(scores) - 0.5) / 5)


def test_a_curve_that_ran_in_full_keeps_its_score_and_one_that_reached_no_rung_has_none():
    assert expected_ends([{1: 5.0, 3: 7.0}, {2: 9.0}, {}], [1, 3]) == [7.0, None, None]


def test_without_a_curve_that_went_on_a_lead_stays_as_it_is():
    assert expected_ends([{1: 5.0}, {1: 8.0}], [1, 3]) == [5.0, 8.0]


def test_the_line_from_rung_to_rung_is_least_squares_with_curves_that_keep_their_lead():
    rng = np.random.default_rng(0)
    x = rng.normal(50, 8, 7)
    y = 20 + 0.5 * x + rng.normal(0, 1, 7)
    stopped = [31.0, 44.0]
    spread = np.var([*x, *stopped])
    # further curves: as far from the middle as all are, on both sides, with a slope of 1
    further = np.array([-1, 1]) * math.sqrt(spread * AS_BEFORE / 2)
    line = np.polyfit([*x, *(x.mean() + further)], [*y, *(y.mean() + further)], 1)
    curves = [*({1: a, 3: b} for a, b in zip(x, y, strict=True)), *({1: one} for one in stopped)]
    assert expected_ends(curves, [1, 3])[-2:] == pytest.approx(np.polyval(line, stopped))


def test_a_trial_stopped_early_goes_through_all_lines():
    curves = [{1: 1.0, 3: 11.0, 9: 111.0}, {1: 2.0, 3: 12.0}, {1: 3.0}]
    assert expected_ends(curves, [1, 3, 9]) == pytest.approx([111.0, 112.0, 113.0])


@given(
    scores=st.lists(st.lists(st.integers(0, 100), min_size=1, max_size=3), min_size=1, max_size=20),
    a=st.floats(0.1, 10),
    b=st.floats(-50, 50),
)
def test_ends_follow_the_scale_of_the_scores(scores, a, b):
    curves = [dict(zip((1, 3, 9), one, strict=False)) for one in scores]
    moved = [{epoch: a * score + b for epoch, score in one.items()} for one in curves]
    expected = [a * end + b for end in expected_ends(curves, [1, 3, 9])]
    assert expected_ends(moved, [1, 3, 9]) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_a_poor_trial_that_ran_in_full_stands_below_a_stopped_one_that_was_ahead():
    curves = [{1: 30.0, 3: 40.0, 9: 45.0}, {1: 10.0, 3: 15.0, 9: 20.0}, {1: 25.0, 3: 34.0}, {1: 5.0}]
    found = ranks(curves, stopped=[False, False, True, True])
    assert found == pytest.approx([7 / 8, 3 / 8, 5 / 8, 1 / 8])


def own_study():
    study = optuna.create_study(direction="maximize")
    study.add_trial(create_trial(value=20.0, intermediate_values={1: 10.0, 3: 20.0}))
    study.add_trial(create_trial(state=TrialState.PRUNED, intermediate_values={1: 30.0}))
    study.add_trial(create_trial(state=TrialState.FAIL, intermediate_values={1: 90.0}))
    study.add_trial(create_trial(state=TrialState.RUNNING, intermediate_values={1: 5.0, 2: 50.0}))
    study.add_trial(create_trial(state=TrialState.RUNNING))
    return study


def test_tpe_is_shown_every_trial_with_a_score_as_complete_with_its_place():
    shown = ranked(own_study().trials)
    assert [(one.state, one.value) for one in shown if one.state == TrialState.COMPLETE] == [
        (TrialState.COMPLETE, pytest.approx(1 / 2)),
        (TrialState.COMPLETE, pytest.approx(5 / 6)),
        (TrialState.COMPLETE, pytest.approx(1 / 6)),
    ]
    assert [one.state for one in shown[2::2]] == [TrialState.FAIL, TrialState.RUNNING]


def test_the_trials_themselves_keep_their_scores_and_states():
    study = own_study()
    ranked(study.get_trials(deepcopy=False))
    assert [one.state for one in study.trials] == [one.state for one in own_study().trials]
    assert study.trials[0].value == 20.0


def test_what_is_remembered_of_ended_trials_gives_the_ranks_that_looking_anew_gives():
    study, remembering, rng = optuna.create_study(direction="maximize"), Ranking(), np.random.default_rng(0)
    running: list[optuna.Trial] = []
    for step in range(60):
        running.append(study.ask())
        one = running[rng.integers(len(running))]
        for epoch in (1, 3, 9)[: rng.integers(4)]:
            study._storage.set_trial_intermediate_value(one._trial_id, epoch, float(rng.normal()))
        if rng.random() < 0.7:
            running.remove(one)
            state = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL][step % 3]
            study.tell(one, 1.0 if state == TrialState.COMPLETE else None, state=state)
        trials = study.get_trials(deepcopy=False)
        assert remembering.ranked(trials) == ranked(trials)


def test_a_copied_ranking_remembers_nothing():
    remembering = Ranking()
    remembering.ranked([create_trial(state=TrialState.COMPLETE, value=1.0, intermediate_values={1: 1.0})])
    assert copy.deepcopy(remembering)._ended == {}
    assert len(remembering._ended) == 1


def test_up_to_the_limit_every_trial_is_shown():
    assert len(thinned_out(np.arange(SHOWN) / SHOWN)) == 0


def test_of_more_the_best_are_shown_and_of_the_others_some_at_even_distances():
    count = 2503
    places = (np.arange(count) * 7 % count) / count
    order, left_out = np.argsort(-places), set(thinned_out(places).tolist())
    shown = [position for position, number in enumerate(order.tolist()) if number not in left_out]
    assert len(shown) == SHOWN
    assert shown[:BEST] == list(range(BEST))
    assert shown[-1] == count - 1
    gaps = np.diff(shown[BEST:])
    assert set(gaps) == {2, 3}


def test_trials_without_a_place_are_shown_whatever_their_number(monkeypatch):
    monkeypatch.setattr(rank_transform, "SHOWN", 6)
    monkeypatch.setattr(rank_transform, "BEST", 2)
    trials = [create_trial(state=TrialState.COMPLETE, value=1.0, intermediate_values={1: float(n)}) for n in range(12)]
    trials += [create_trial(state=TrialState.FAIL), create_trial(state=TrialState.RUNNING)]
    for number, one in enumerate(trials):
        one.number = number
    found = [one.number for one in ranked(trials)]
    assert len(found) == 6 + 2
    assert {11, 10, 0, 12, 13} <= set(found)


@given(st.lists(st.sets(st.sampled_from("abcde"), min_size=1), max_size=12), st.integers(0, 2))
def test_the_groups_of_dimensions_are_those_that_optuna_finds_in_all_trials(sets, running):
    study = optuna.create_study()
    for number, names in enumerate(sets):
        state = TrialState.RUNNING if number < running else TrialState.PRUNED
        ranges = {name: optuna.distributions.FloatDistribution(0, 1) for name in sorted(names)}
        study.add_trial(create_trial(state=state, params=dict.fromkeys(ranges, 0.5), distributions=ranges))

    def groups(sampler):
        sampler.infer_relative_search_space(study, study.trials[0])
        return [set(one) for one in model._search_space_group.search_spaces]

    model = optuna.samplers.TPESampler(multivariate=True, group=True)
    if sets:
        ours = groups(RankedSampler(model))
        model = optuna.samplers.TPESampler(multivariate=True, group=True)
        assert ours == groups(model)
