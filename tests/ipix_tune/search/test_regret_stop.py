import itertools

import pytest

from analysis.stats.sensitivity import regret as rule
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.search.budget import budget_of
from ipix_tune.search.regret_stop import FIRST, RegretStop
from ipix_tune.search.trial_store import TrialStore
from tests.ipix_tune.studies import base

LOW, HIGH = (rule.Regret(expected=expected, noise=0.5, runs=0) for expected in (0.1, 2.0))


def study(**budget):
    return StudyConfig.model_validate(base() | {"budget": {"trials": 200, **budget}})


def stop(config):
    return RegretStop(config, SearchSpace(config), max_epochs=9)


@pytest.fixture
def looks(monkeypatch):
    """What each look will find, in turn, and the studies that were looked at."""
    found, seen = [], []

    def look(one):
        seen.append(one)
        return found[min(len(seen), len(found)) - 1]

    monkeypatch.setattr(rule, "regret", look)
    return found, seen


def ends_at(config, ended):
    """Of these counts of ended trials, the first that ends the search."""
    one = stop(config)
    return next((count for count in ended if one.why(count, list) is not None), None)


def test_one_look_that_finds_too_little_left_ends_nothing_and_two_in_a_row_do(looks):
    found, seen = looks
    found += [LOW, HIGH, LOW, LOW]
    assert ends_at(study(), range(1000)) is not None
    assert len(seen) == 4


def test_a_look_without_a_surrogate_breaks_the_row(looks):
    found, seen = looks
    found += [LOW, None, LOW, HIGH, HIGH]
    assert ends_at(study(), range(100)) is None
    assert len(seen) > 4


def test_it_looks_the_less_often_the_more_trials_have_ended(looks):
    found, seen = looks
    found += [HIGH]
    one, at = stop(study()), []
    for ended in range(1000):
        before = len(seen)
        one.why(ended, list)
        at += [ended] if len(seen) > before else []
    assert at[0] == FIRST
    assert len(at) < 25
    assert all(later >= 1.25 * earlier for earlier, later in itertools.pairwise(at))


def test_the_surrogate_is_shown_all_trials_but_those_that_failed(looks):
    found, seen = looks
    found += [HIGH]
    config = study(stop="regret")
    space = SearchSpace(config)
    store = TrialStore(None, config, space, total=200)
    budget = budget_of(config, space, store, max_epochs=9)
    for number in range(FIRST):
        key, _ = store.next()
        store.report(key, epoch=1, score=float(number))
        store.end(key, state="failed" if number == 3 else "stopped")
    running, _ = store.next()
    store.report(running, epoch=1, score=7.0)
    assert budget.converged() is None
    shown = {one.run_id: one for one in seen[0].trials}
    assert len(shown) == FIRST
    assert "t0003" not in shown
    assert shown[running].curve == {1: 7.0}
    assert (seen[0].max_epochs, seen[0].sign) == (9, 1)


def test_the_reason_names_the_key(looks):
    found, _ = looks
    found += [LOW]
    config = study(stop="regret")
    space = SearchSpace(config)
    store = TrialStore(None, config, space, total=200)
    budget = budget_of(config, space, store, max_epochs=9)
    for _ in range(60):
        key, _ = store.next()
        store.report(key, epoch=1, score=1.0)
        store.end(key, state="stopped")
        budget.converged()
    assert budget.converged() == (
        "budget.stop: further search can be expected to gain 0.100, and runs of one configuration differ by 0.500 "
        "between seeds (by the surrogate)"
    )


def test_without_the_key_it_never_looks(looks):
    _, seen = looks
    config = study()
    space = SearchSpace(config)
    store = TrialStore(None, config, space, total=200)
    budget = budget_of(config, space, store, max_epochs=9)
    for _ in range(FIRST + 1):
        key, _ = store.next()
        store.end(key, state="stopped")
    assert budget.converged() is None
    assert not seen
