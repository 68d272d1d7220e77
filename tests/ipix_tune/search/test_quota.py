import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ipix_tune.search.asha import Asha, quantile
from tests.ipix_tune.search.test_trial_store import report, run_trials, trial_store


def asha(*, quota=True):
    return Asha(mode="max", max_epochs=9, grace_epochs=1, reduction=3, quota=quota)


def passed(scheduler, scores):
    """Keys that go on beyond epoch 1, reported in this order."""
    found = [report(scheduler, f"t{number:04d}", 1, score) for number, score in enumerate(scores)]
    return [number for number, decision in enumerate(found) if decision == "CONTINUE"]


RISING = [number // 2 + (1 if number % 2 else 0.9) * 0.01 * number for number in range(30)]
"""Ever better, but every other one is a little worse than the one before."""


def test_plain_asha_lets_nearly_all_of_ever_better_trials_go_on():
    assert len(passed(asha(quota=False), RISING)) > 25


def test_with_a_quota_a_third_of_trials_that_are_no_new_best_go_on_at_most():
    rng = random.Random(0)
    scores = [number / 20 + rng.gauss(0, 1) for number in range(90)]
    went = passed(asha(), scores)
    bests = [number for number in range(90) if scores[number] == max(scores[: number + 1])]
    assert len(set(went) - set(bests)) <= 30
    assert set(bests) <= set(went)
    assert len(went) < len(passed(asha(quota=False), scores))


def test_the_quota_lets_none_go_on_that_plain_asha_stops():
    rng = random.Random(1)
    scores = [rng.random() for _ in range(60)]
    assert set(passed(asha(), scores)) <= set(passed(asha(quota=False), scores))


def test_a_report_that_comes_again_is_answered_as_before_and_fills_no_place():
    scheduler = asha()
    passed(scheduler, [5.0, 1.0, 1.0])
    assert report(scheduler, "t0000", 1, 5.0) == "CONTINUE"
    assert report(scheduler, "t0003", 1, 4.0) == "CONTINUE"  # the second of four: one of them had gone on


def test_after_a_replay_the_quota_is_as_full_as_in_the_unbroken_study(tmp_path):
    rng = random.Random(2)
    store, live = trial_store(tmp_path), asha()
    run_trials(store, live, epochs=9, score=lambda number, epoch: rng.random() + epoch)
    rebuilt = asha()
    rebuilt.replay(trial_store(tmp_path).entries())
    assert rebuilt._passed == live._passed
    assert sum(map(len, live._passed.values())) > 1


@given(scores=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), reduction=st.integers(2, 9))
def test_the_cutoff_is_numpys_percentile_to_the_bit(scores, reduction):
    share = 1 - 1 / reduction
    assert quantile(sorted(scores), share) == float(np.percentile(scores, 100 * share))


def test_the_cutoff_is_that_of_the_scores_which_the_rung_holds_also_after_some_were_forgotten():
    rng, scheduler = random.Random(3), asha()
    for number in range(60):
        report(scheduler, f"t{number:04d}", 1, round(rng.random(), 1))
        if number % 4 == 3:
            scheduler.forget(f"t{rng.randrange(number):04d}")
        scores = list(scheduler.rungs[1].values())
        assert scheduler.cutoff(1) == float(np.percentile(scores, 100 * (1 - 1 / 3)))
