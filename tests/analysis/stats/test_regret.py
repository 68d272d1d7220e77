import numpy as np
import pytest

from analysis.stats.sensitivity.anova_basis import Basis
from analysis.stats.sensitivity.regret import Regret, candidates, regret, say
from tests.analysis.made import END, MIXED, UNIT, draw, make_study, study_of_function

BOWL = {"a": UNIT, "b": UNIT}


def bowl(values):
    """Best, 50, at (0.8, 0.3)."""
    return 50 - 30 * ((values["a"] - 0.8) ** 2 + (values["b"] - 0.3) ** 2)


def far_away(values):
    """Configurations that stay in the half of the space without the optimum."""
    return {**values, "a": 0.4 * values["a"]}


def test_activity_at_positions_is_that_of_the_configurations_there():
    rng = np.random.default_rng(0)
    basis = Basis(MIXED)
    places, active = basis.units([draw(MIXED, rng) for _ in range(40)])
    assert (basis.active(places) == active).all()
    assert 0 < active.mean() < 1


def test_positions_are_drawn_evenly_over_ranges_and_choices():
    basis = Basis(MIXED)
    places = basis.places(np.random.default_rng(0), 4000)
    assert places.mean(axis=0) == pytest.approx([0.5] * 4, abs=0.03)
    assert set(places[:, 2]) == {0.0, 1.0}


def test_the_leading_configuration_is_the_first_candidate_and_none_leaves_the_space():
    basis = Basis(MIXED)
    leading = [draw(MIXED, np.random.default_rng(seed)) for seed in range(3)]
    features = candidates(basis, leading, np.random.default_rng(0))
    assert features[:3] == pytest.approx(basis.features(leading))
    widest = np.abs(basis.features([draw(MIXED, np.random.default_rng(seed)) for seed in range(3000)])).max(axis=0)
    assert (np.abs(features) <= 2 * widest + 1e-9).mean() > 0.999


@pytest.fixture(scope="module")
def near():
    return study_of_function(bowl, BOWL, 60)


@pytest.fixture(scope="module")
def far(near):
    """The same trials, moved to where the optimum is not."""
    configs = [far_away(one.values) for one in near.trials]
    moved = [bowl(after) - bowl(before.values) for after, before in zip(configs, near.trials, strict=True)]
    curves = [
        {epoch: score + by for epoch, score in one.curve.items()} for one, by in zip(near.trials, moved, strict=True)
    ]
    return make_study(BOWL, configs, curves)


def test_little_is_left_where_the_optimum_was_found_and_much_where_nobody_looked(near, far):
    left, gone = regret(near), regret(far)
    found = max(bowl(one.values) for one in far.complete)
    assert 50 - found > 4
    assert gone.expected > 2 > 1 > left.expected
    assert not gone.below_noise


def test_scores_of_which_less_is_better_leave_as_much(near):
    curves = [{epoch: -score for epoch, score in one.curve.items()} for one in near.trials]
    mirrored = make_study(BOWL, [one.values for one in near.trials], curves, mode="min")
    assert regret(mirrored).expected == pytest.approx(regret(near).expected, rel=0.02)


def test_without_a_trial_of_full_length_nothing_is_said(near):
    curves = [{epoch: score for epoch, score in one.curve.items() if epoch < END} for one in near.trials]
    assert regret(make_study(BOWL, [one.values for one in near.trials], curves)) is None


def test_below_noise_compares_with_what_seeds_differ_by():
    assert Regret(expected=0.3, noise=0.5, runs=0).below_noise
    assert not Regret(expected=0.5, noise=0.5, runs=8).below_noise
    assert say(Regret(expected=0.3, noise=0.5, runs=8)).endswith("differ by 0.500 between seeds (measured over 8 runs)")
