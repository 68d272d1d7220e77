import numpy as np
import pytest

from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.search.curve_surrogate import CurveSurrogate
from ipix_tune.search.trial_record import TrialRecord
from tests.ipix_tune.studies import base

SEARCH = {
    "optim.lr": {"loguniform": [0.01, 1]},
    "interpixel.tau": {"uniform": [0, 1]},
    "method.teacher": {"choice": ["shared", "ema"]},
    "method.ema_decay": {"uniform": [0.9, 0.99], "only_if": {"method.teacher": "ema"}},
}
LEVELS = (1, 3, 9)
SPACE = SearchSpace(StudyConfig.model_validate(base() | {"search": SEARCH, "points": []}))


def quality(values):
    """Best, 0, at a learning rate of 0.1 and tau 0.7, with a teacher of its own."""
    away = np.log10(values["optim.lr"]) + 1, values["interpixel.tau"] - 0.7
    return -10 * (away[0] ** 2 + away[1] ** 2) - 3 * (values["method.teacher"] == "shared")


def records(count, *, scale=1.0, reached=lambda number: LEVELS[: 1 + (number % 3)]):
    drawn = np.random.default_rng(0)
    found = []
    for number in range(count):
        values = SPACE.draw(
            lambda name, dimension: (
                dimension.choice[drawn.integers(len(dimension.choice))]
                if dimension.choice
                else float(np.interp(drawn.random(), [0, 1], (dimension.loguniform or dimension.uniform)))
            )
        )
        scores = {level: scale * (quality(values) - 5 / level) for level in reached(number)}
        state = "complete" if 9 in scores else "stopped"
        found.append(
            TrialRecord(key=f"t{number:04d}", values=values, scores=scores, state=state, error=None, retries=0)
        )
    return found


def surrogate(least=5, sign=1):
    return CurveSurrogate(SPACE, levels=LEVELS, sign=sign, least=least)


def test_nothing_is_modelled_before_there_are_enough_trials():
    model = surrogate(least=10)
    assert not model.fit(records(9))
    assert model.fit(records(10))


def test_the_mode_is_sought_again_only_after_the_rows_have_grown_by_three_tenths():
    model = surrogate()
    model.fit(records(30))
    first = model.theta
    model.fit(records(34))
    assert model.theta is first
    model.fit(records(48))
    assert model.theta is not first


@pytest.fixture(scope="module")
def fitted():
    model, known = surrogate(), records(60)
    model.fit(known)
    return model, known


def test_the_best_configuration_of_a_smooth_function_is_found_from_its_early_epochs(fitted):
    model, known = fitted
    posterior = model.given(known)
    best, _ = posterior.maximum(posterior.mean, np.random.default_rng(0))
    assert quality(best) > max(quality(one.values) for one in known)
    assert best["method.teacher"] == "ema"


def test_a_maximum_is_no_lower_than_a_thousand_even_draws(fitted):
    model, known = fitted
    posterior, rng = model.given(known), np.random.default_rng(0)
    for _ in range(5):
        guess = posterior.draw(rng)
        _, value = posterior.maximum(guess, rng)
        places = model._basis.places(rng, 1000)
        assert value >= guess.function.level + (model._at(places) @ guess.function.weights).max() - 1e-9


def test_proposals_lie_in_the_space_and_have_the_dimensions_that_are_active(fitted):
    model, known = fitted
    posterior, rng = model.given(known), np.random.default_rng(3)
    for _ in range(20):
        values, _ = posterior.maximum(posterior.draw(rng), rng)
        assert SPACE.check_point(values) == values


def test_draws_lie_around_the_mean_and_differ(fitted):
    model, known = fitted
    posterior, rng = model.given(known), np.random.default_rng(0)
    drawn = np.array([list(posterior.draw(rng).ends.values()) for _ in range(200)])
    mean = np.array(list(posterior.mean.ends.values()))
    assert (drawn.std(axis=0) > 0).all()
    assert np.abs(drawn.mean(axis=0) - mean).max() < 0.3 * drawn.std(axis=0).max() + 0.05


def test_a_study_that_minimises_has_the_same_proposals_as_its_mirror_image():
    found = []
    for sign in (1, -1):
        model, known = surrogate(sign=sign), records(30, scale=float(sign))
        model.fit(known)
        posterior = model.given(known)
        found.append(posterior.maximum(posterior.mean, np.random.default_rng(0))[0])
    assert found[0] == found[1]


def test_the_unit_of_the_score_changes_no_proposal():
    found = []
    for scale in (1.0, 4096.0):  # a power of two: every operation is the same, but for the exponent
        model, known = surrogate(), records(30, scale=scale)
        model.fit(known)
        posterior = model.given(known)
        found.append(posterior.maximum(posterior.mean, np.random.default_rng(0))[0])
    assert found[0] == found[1]


def test_a_run_that_collapsed_says_no_more_than_a_bad_one():
    model, known = surrogate(), records(30)
    low = [*known[:-1], TrialRecord(**{**vars(known[-1]), "scores": {1: -1e9}})]
    lower = [*known[:-1], TrialRecord(**{**vars(known[-1]), "scores": {1: -1e12}})]
    rows = [model._gathered(one).rows.scores for one in (low, lower)]
    assert rows[0] == pytest.approx(rows[1])


def test_a_trial_that_breaks_a_constraint_counts_as_one_of_the_worst():
    model, known = surrogate(), records(30)
    best = max(range(30), key=lambda i: known[i].scores[1])
    known[best] = TrialRecord(**{**vars(known[best]), "state": "infeasible"})
    found = model._gathered(known).rows
    own = found.scores[(found.who == best) & (found.distance == 1)]
    assert own[0] <= np.quantile(found.scores[found.distance == 1], 0.1)


def test_failed_trials_and_those_before_their_first_rung_are_left_out():
    model, known = surrogate(), records(12)
    failed = TrialRecord(**{**vars(known[0]), "state": "failed"})
    early = TrialRecord(**{**vars(known[1]), "scores": {2: 1.0}})
    assert model.scored([failed, early, *known[2:]]) == known[2:]


def test_of_many_trials_the_leading_ones_stay(monkeypatch):
    from ipix_tune.search import curve_surrogate

    monkeypatch.setattr(curve_surrogate, "MOST", 20)
    monkeypatch.setattr(curve_surrogate, "LEADING", 12)
    model, known = surrogate(), records(60)
    kept = model._counted(known)
    leading = sorted(known, key=model.standing, reverse=True)[:12]
    assert len(kept) == 20
    assert {one.key for one in leading} <= {one.key for one in kept}
    assert [one.key for one in kept] == sorted(one.key for one in kept)
