import numpy as np
import pytest
from scipy.stats import halfnorm, multivariate_normal, norm

from analysis.stats.sensitivity.collapsed_runs import CHANCE, DROPS, JITTER, begins
from analysis.stats.sensitivity.cross_validation import check
from analysis.stats.sensitivity.sobol import indices
from analysis.stats.sensitivity.stopped_early import stopped_early
from analysis.stats.sensitivity.surrogate import fit
from analysis.wording.sensitivity import say_collapsed
from tests.analysis.made import END, UNIT, make_study, study_of_function

SPACE = {"a": UNIT, "b": UNIT, "dead": UNIT}
TRIALS = 50


def signal(values):
    return 50 + 4 * values["a"] + 2 * values["b"]


def collapsed_in(study, numbers, *, since=0, drop=8.0):
    """The study in which these trials lose ``drop`` points from the epoch ``since`` on."""
    curves = [
        {epoch: score - drop * (one.number in numbers and epoch >= since) for epoch, score in one.curve.items()}
        for one in study.trials
    ]
    return make_study(study.space, [one.values for one in study.trials], curves, rungs=study.rungs)


def numbers_of(surrogate):
    return {surrogate.trials[at].number for at in surrogate.collapsed}


@pytest.fixture(scope="module")
def clean():
    return study_of_function(signal, SPACE, TRIALS, noise=0.4, halving=False)


@pytest.fixture(scope="module")
def lost(clean):
    return fit(collapsed_in(clean, {3, 11, 20, 34, 41}))


def test_the_runs_that_collapsed_are_found_and_no_others(lost):
    assert numbers_of(lost) == {3, 11, 20, 34, 41}


def test_a_surrogate_is_as_usable_with_a_tenth_of_the_runs_collapsed_as_without(clean, lost):
    with_them, without = check(lost), check(fit(clean))
    assert with_them.usable
    assert with_them.skill[0] == pytest.approx(without.skill[0], abs=0.1)


def test_importance_is_that_of_the_runs_that_did_not_collapse(clean, lost):
    ours, true = indices(lost), indices(fit(clean))
    for name in SPACE:
        assert ours.total[name].value == pytest.approx(true.total[name].value, abs=0.08)


def test_what_a_run_scored_before_it_collapsed_counts(clean):
    found = fit(collapsed_in(clean, {5}, since=9))
    (at,) = found.collapsed
    assert found.trials[at].number == 5
    assert found.out.sum() == sum(epoch >= 9 for epoch in clean.trials[5].curve)


def test_normal_noise_has_hardly_any_collapsed_runs():
    studies = [study_of_function(lambda values: 50.0, SPACE, TRIALS, noise=1.0, seed=seed) for seed in range(4)]
    assert sum(len(fit(one).collapsed) for one in studies) <= 0.02 * 4 * TRIALS


def test_a_region_in_which_all_runs_are_bad_has_not_collapsed():
    """At its edge, where the score falls off steeply, single runs may be taken for collapsed ones."""
    found = fit(study_of_function(lambda values: 50 - 10 * (values["a"] > 0.75), SPACE, TRIALS, noise=0.4))
    bad = sum(one.values["a"] > 0.75 for one in found.trials)
    assert bad > 8
    assert len(found.collapsed) <= bad / 4


def test_a_run_that_is_far_better_than_expected_has_not_collapsed(clean):
    assert fit(collapsed_in(clean, {7}, drop=-8.0)).collapsed == ()


def test_of_noise_with_collapsed_runs_nothing_can_be_said():
    flat = study_of_function(lambda values: 50.0, SPACE, TRIALS, noise=0.4, halving=False)
    assert not check(fit(collapsed_in(flat, {3, 11, 20, 34, 41}))).usable


def test_a_stopped_run_that_had_collapsed_was_not_stopped_too_early():
    study = study_of_function(signal, SPACE, TRIALS, noise=0.4)
    stopped = [one.number for one in study.trials if END not in one.curve][:2]
    assert not {one.number for one in stopped_early(fit(collapsed_in(study, stopped)))} & {*stopped}


def test_the_reading_counts_and_names_them(lost):
    assert "5 of 50 trials collapsed" in say_collapsed(lost)
    assert "trial 3, trial 11, trial 20" in say_collapsed(lost)


def test_the_density_of_a_collapse_is_integrated_over_the_drop():
    """Of one row: the normal density against that of the same minus a half-normal drop, by quadrature."""
    spread, unit = np.array([[0.5]]), 0.9
    deviation = np.sqrt(spread[0, 0] + (JITTER * unit) ** 2)
    drops = np.linspace(0, 60, 200_001)
    for away in np.linspace(-5, 3, 33):
        weights = halfnorm.pdf(drops, scale=DROPS * unit) * norm.pdf(away + drops, scale=deviation)
        collapsed = CHANCE * np.trapezoid(weights, drops)
        whole = (1 - CHANCE) * multivariate_normal.pdf(away, cov=spread[0, 0])
        assert np.exp(begins(np.array([away]), spread, unit)) == pytest.approx([whole, collapsed])
