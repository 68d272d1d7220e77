"""When a study has had enough; the trial store's clock is the test's."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.search.budget import Budget, ended_since_improvement
from ipix_tune.search.ray_searcher import TrialStoreSearcher
from ipix_tune.search.trial_record import TrialRecord
from ipix_tune.search.trial_store import TrialStore
from tests.ipix_tune.studies import base


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def begun(clock, **budget):
    data = base() | {"budget": {"trials": 12} | budget, "resources": {"workers": 2, "gpus_per_worker": 1}}
    study = StudyConfig.model_validate(data)
    store = TrialStore(None, study, SearchSpace(study), total=12, clock=clock)
    limit = Budget(study.budget, study.resources, store, max_epochs=9, sign=1)
    return limit, store


def test_without_limits_nothing_is_ever_over():
    limit, store = begun(Clock())
    store.report(store.next()[0], epoch=1, score=1.0, seconds=1e9)
    assert limit.exhausted() is None
    assert limit.converged() is None


def test_hours_are_wall_time():
    clock = Clock()
    limit, _ = begun(clock, hours=2)
    clock.now = 2 * 3600
    assert limit.exhausted() is None
    clock.now += 1
    assert limit.exhausted() == "budget.hours"


def test_epochs_are_those_of_all_trials_and_one_that_is_reported_again_counts_once():
    limit, store = begun(Clock(), epochs=3)
    first, second = store.next()[0], store.next()[0]
    for key, epoch in ((first, 1), (second, 1), (second, 1)):
        store.report(key, epoch=epoch, score=1.0)
    assert limit.exhausted() is None
    store.report(first, epoch=2, score=1.0)
    assert limit.exhausted() == "budget.epochs"


def test_gpu_hours_are_training_time_times_the_gpus_of_a_trial():
    limit, store = begun(Clock(), gpu_hours=1)
    key = store.next()[0]
    store.report(key, epoch=1, score=1.0, seconds=1799)
    assert limit.exhausted() is None
    store.report(key, epoch=2, score=1.0, seconds=2)
    assert limit.exhausted() == "budget.gpu_hours"


def test_a_resumed_study_has_used_what_its_drivers_before_used(tmp_path):
    data = base() | {"budget": {"trials": 12, "epochs": 2, "gpu_hours": 1}, "resources": {"gpus_per_worker": 1}}
    study = StudyConfig.model_validate(data)
    store = TrialStore(tmp_path, study, SearchSpace(study), total=12)
    key = store.next()[0]
    store.report(key, epoch=1, score=1.0, seconds=4000)
    store.write_seconds()
    again = TrialStore(tmp_path, study, SearchSpace(study), total=12)
    assert (again.epochs, again.trained_s) == (1, 4000)


def test_gpu_hours_without_a_gpu_are_refused():
    with pytest.raises(ValueError, match=r"resources\.gpus_per_worker is 0"):
        StudyConfig.model_validate(base() | {"budget": {"trials": 1, "gpu_hours": 1}})


def test_no_new_trial_starts_once_nothing_gets_better():
    limit, store = begun(Clock(), no_improvement={"trials": 2, "by": 0.5})
    for score in (50.0, 50.4, 50.5):
        key = store.next()[0]
        store.report(key, epoch=9, score=score)
        store.end(key, state="complete")
    assert "none of the last 2 trials" in limit.converged()
    searcher = TrialStoreSearcher(
        store,
        trial_config=lambda key, values: {"key": key},
        concurrent=lambda: 1,
        converged=limit.converged,
        max_epochs=9,
    )
    assert searcher.suggest("a") == "FINISHED"


def entry(score, state="complete", **values):
    return TrialRecord(key="t0000", values=values, scores={9: score}, state=state, error=None, retries=0)


def since_improvement(entries, *, by, sign=1):
    """Trials with a number each, and with a configuration each where they name none."""
    numbered = [
        replace(one, key=f"t{number:04d}", values=one.values or {"optim.lr": number})
        for number, one in enumerate(entries)
    ]
    return ended_since_improvement(numbered, max_epochs=9, by=by, sign=sign)


@pytest.mark.parametrize(
    ("entries", "since"),
    [
        ([], 0),
        ([entry(9.0, "stopped"), entry(9.0, "failed")], 0),
        ([entry(1.0)], 0),
        ([entry(1.0), entry(1.4), entry(1.6)], 0),
        ([entry(1.0), entry(1.5), entry(9.0, "stopped")], 2),
    ],
)
def test_only_full_trials_that_are_better_by_more_than_the_margin_count(entries, since):
    assert since_improvement(entries, by=0.5) == since


@given(scores=st.lists(st.floats(-100, 100), min_size=1, max_size=20), by=st.floats(0, 5))
def test_where_less_is_better_the_mirrored_scores_say_the_same(scores, by):
    more = since_improvement([entry(score) for score in scores], by=by, sign=1)
    less = since_improvement([entry(-score) for score in scores], by=by, sign=-1)
    assert more == less


@given(scores=st.lists(st.floats(-100, 100), min_size=1, max_size=20))
def test_without_a_margin_it_is_the_distance_from_the_first_best(scores):
    expected = len(scores) - 1 - scores.index(max(scores))
    assert since_improvement([entry(score) for score in scores], by=0, sign=1) == expected


def test_a_lucky_seed_is_no_improvement_once_the_mean_of_its_configuration_is_known():
    lucky = [entry(50.0, lr=1, seed=0), entry(20.0, lr=1, seed=1)]
    assert since_improvement([*lucky, entry(40.0, lr=2, seed=0)], by=0.5) == 0
    assert since_improvement([*lucky, entry(35.2, lr=2, seed=0)], by=0.5) == 2
