import math

import pytest

from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.search import rank_transform as ranked_module
from ipix_tune.search import unique_sampler
from ipix_tune.search.rank_transform import ranked
from ipix_tune.search.trial_store import TrialStore
from tests.ipix_tune.studies import base

DISCRETE = {
    "method.teacher": {"choice": ["shared", "ema"]},
    "method.ema_decay": {"choice": [0.99, 0.996], "only_if": {"method.teacher": "ema"}},
    "interpixel.tau": {"quniform": [0, 0.7, 0.1]},
}
"""8 configurations with a shared teacher, 16 with an EMA."""


def asked(trials, *, sampler="tpe", search=None, folder=None, points=(), seed=0):
    config = StudyConfig.model_validate(
        {
            **base(),
            "points": list(points),
            "search": search or DISCRETE,
            "sampler": {"name": sampler, "startup_trials": 3, "seed": seed},
        }
    )
    store = TrialStore(folder, config, SearchSpace(config), total=100)
    found = []
    for _ in range(trials):
        key, values = store.next()
        found.append(tuple(sorted(values.items())))
        store.report(key, epoch=1, score=values["interpixel.tau"])
        store.end(key, state="complete")
    return found


@pytest.mark.parametrize("sampler", ["tpe", "surrogate", "random", pytest.param("gp", marks=pytest.mark.slow), "cmaes"])
def test_a_discrete_space_is_asked_through_before_anything_repeats(sampler):
    found = asked(24, sampler=sampler)
    assert len({tuple((name, str(value)[:5]) for name, value in one) for one in found}) == 24


def test_a_prior_repeats_nothing_either():
    search = {name: dict(keys) for name, keys in DISCRETE.items()}
    search["interpixel.tau"]["prior"] = {"center": 0.3, "spread": 0.05}
    assert len(set(asked(24, search=search))) == 24


def test_when_all_has_been_asked_it_repeats():
    assert len(asked(30)) == 30


def test_a_point_that_the_study_file_gave_is_not_proposed_again():
    point = {"method.teacher": "shared", "interpixel.tau": 0.3}
    found = asked(24, points=[point], sampler="random")
    assert len(set(found)) == 24


def test_what_a_former_driver_asked_is_not_asked_again(tmp_path):
    found = asked(12, folder=tmp_path, sampler="random") + asked(12, folder=tmp_path, sampler="random")
    assert len(set(found)) == 24


def test_in_a_space_too_large_to_list_a_repetition_stands_after_so_many_tries(monkeypatch):
    monkeypatch.setattr(unique_sampler, "LISTED", 5)
    monkeypatch.setattr(unique_sampler, "TRIES", 2)
    assert len(asked(60, sampler="random")) == 60


def test_random_search_in_a_discrete_space_is_even_over_what_is_left():
    search = {"interpixel.tau": {"quniform": [0, 0.7, 0.1]}}
    last = [asked(8, sampler="random", search=search, seed=seed)[-1][0][1] for seed in range(160)]
    counts = [sum(math.isclose(one, k / 10) for one in last) for k in range(8)]
    assert sum((count - 20) ** 2 / 20 for count in counts) < 24.3  # chi-squared, 7 degrees, p = 0.001


def test_the_trials_that_tpe_is_shown_are_made_once_for_all_draws_of_one_proposal(monkeypatch):
    made, drawn = [], []
    monkeypatch.setattr(ranked_module, "ranked", lambda trials: made.append(1) or ranked(trials))
    propose = unique_sampler.WholeSampler.propose
    monkeypatch.setattr(unique_sampler.WholeSampler, "propose", lambda *given: drawn.append(1) or propose(*given))
    asked(24)
    assert len(drawn) > 24
    assert len(made) <= 24


def test_what_is_proposed_does_not_depend_on_how_often_the_shown_trials_are_made(monkeypatch):
    found = asked(24)
    monkeypatch.setattr(unique_sampler, "at_this_moment", lambda study: study)
    assert asked(24) == found
