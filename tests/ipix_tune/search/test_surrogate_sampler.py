import pytest
from optuna.samplers import BaseSampler
from scipy import stats

from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.search.surrogate_sampler import TPE_SHARE, SurrogateSampler
from ipix_tune.search.trial_store import TrialStore
from ipix_tune.search.unique_sampler import WholeSampler
from tests.ipix_tune.studies import base

PROPOSED = {"optim.lr": 0.125}


class Tpe(BaseSampler):
    """Proposes one configuration and keeps what it was shown."""

    def __init__(self):
        self.shown = []

    def __deepcopy__(self, memo):
        return self  # a trial that goes on leaves the study with a copy of its sampler

    def infer_relative_search_space(self, study, trial):
        return {}

    def sample_relative(self, study, trial, search_space):
        self.shown.append(study.get_trials(deepcopy=False))
        return PROPOSED

    def sample_independent(self, study, trial, param_name, param_distribution):
        raise AssertionError


def sampled(tpe, *, freeze=False, least=8):
    """A store with eight trials, of which one went on after it had been frozen."""
    search = {"optim.lr": {"uniform": [0, 1]}}
    config = StudyConfig.model_validate({**base(), "search": search, "points": [], "budget": {"trials": 500}})
    space = SearchSpace(config)
    sampler = SurrogateSampler(space, tpe, levels=(1,), sign=1, least=least, seed=0)
    store = TrialStore(None, config, space, total=500, sampler=WholeSampler(space, sampler, seed=0))
    for _ in range(8):
        key, values = store.next()
        store.report(key, epoch=1, score=-abs(values["optim.lr"] - 0.5))
        store.end(key, state="stopped")
    if freeze:
        store.thaw = lambda begin: "t0003"
        store.next()
        store.report("t0003", epoch=2, score=0.0)
        store.end("t0003", state="stopped")
        store.thaw = None
    return store


def test_a_third_of_what_the_model_proposes_is_of_tpe():
    store = sampled(Tpe())
    found = []
    for _ in range(150):
        key, values = store.next()
        found.append(values == PROPOSED)
        store.end(key, state="failed")
    assert stats.binomtest(sum(found), len(found), TPE_SHARE).pvalue > 0.01


@pytest.mark.parametrize("freeze", [False, True])
def test_tpe_is_shown_a_trial_that_was_frozen_and_went_on_once(freeze):
    tpe = Tpe()
    store = sampled(tpe, freeze=freeze)
    while not tpe.shown:
        store.end(store.next()[0], state="failed")
    scores = [trial.intermediate_values for trial in tpe.shown[0] if trial.intermediate_values]
    assert len(scores) == 8
    assert sorted(map(len, scores)) == ([1] * 7 + [2] if freeze else [1] * 8)


def test_before_there_are_enough_trials_tpe_is_not_asked():
    tpe = Tpe()
    store = sampled(tpe, least=9)
    for _ in range(20):
        store.end(store.next()[0], state="failed")
    assert tpe.shown == []
