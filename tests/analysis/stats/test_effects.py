import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.stats.sensitivity.effects import active, choices, differences_along, marginal, pair_map
from analysis.stats.sensitivity.local_effects import ablation, local, robustness, tunability
from analysis.stats.sensitivity.surrogate import fit
from tests.analysis.made import MIXED, draw, study_of_function


def truth(values):
    found = 50 + 4 * np.log10(values["lr"]) + 2 * values["tau"]
    if values["teacher"] == "ema":
        found += 2 + 40 * (values["decay"] - 0.95)
    return float(found)


@pytest.fixture(scope="module")
def surrogate():
    return fit(study_of_function(truth, MIXED, 40), draws=60)


def even(space, rng, count, **fixed):
    """Configurations whose ranges are sampled evenly."""
    return [{**draw(space, rng), **fixed} for _ in range(count)]


def test_a_marginal_is_the_mean_over_all_other_parameters(surrogate):
    rng = np.random.default_rng(0)
    configs = even(MIXED, rng, 6000)
    for place in (0.1, 0.8):
        found = differences_along(surrogate, "tau", np.array([place]))[:, 0]
        expected = (surrogate.at([{**one, "tau": place} for one in configs]) - surrogate.at(configs)).mean(axis=1)
        assert found == pytest.approx(expected, abs=0.15)


def test_the_marginal_of_a_parameter_with_a_condition_is_taken_where_it_is_active(surrogate):
    rng = np.random.default_rng(0)
    space = even(MIXED, rng, 8000)
    configs = [one for one in space if one["teacher"] == "ema"]
    axis = surrogate.basis.axes[surrogate.basis.names.index("decay")]
    found = differences_along(surrogate, "decay", np.array([axis.unit(0.99)]))[:, 0]
    expected = surrogate.at([{**one, "decay": 0.99} for one in configs]).mean(axis=1) - surrogate.at(space).mean(axis=1)
    assert found == pytest.approx(expected, abs=0.15)


def test_marginal_curves_hold_the_truth(surrogate):
    found = marginal(surrogate, "tau")
    expected = 2 * found.places - 1
    assert np.mean((found.low <= expected) & (expected <= found.high)) > 0.8
    assert (found.low <= found.middle).all()
    assert (found.middle <= found.high).all()


def test_a_pair_map_averages_to_the_marginals(surrogate):
    found = pair_map(surrogate, "lr", "teacher")
    means = differences_along(surrogate, "lr", np.linspace(0, 1, 21)).mean(axis=0)
    assert found.difference.shape == found.deviation.shape == (2, 21)
    assert found.difference.mean(axis=0) == pytest.approx(means, abs=1e-9)
    assert found.trials == 40


def test_a_choice_is_compared_at_equal_others(surrogate):
    best = {"lr": 1e-2, "tau": 0.5, "teacher": "ema", "decay": 0.99}
    (found,) = choices(surrogate, best)
    assert (found.first, found.second) == ("shared", "ema")
    assert found.average[1] <= -2 <= found.average[2]
    scores = surrogate.at([{"lr": 1e-2, "tau": 0.5, "teacher": "shared"}, best])
    assert found.at_best[0] == pytest.approx(np.median(scores[:, 0] - scores[:, 1]))
    assert sum(found.trials) == 40


def test_a_change_that_switches_a_parameter_off_drops_it(surrogate):
    values = {"lr": 1e-2, "tau": 0.5, "teacher": "shared", "decay": 0.99}
    assert active(surrogate.basis, values) == {"lr": 1e-2, "tau": 0.5, "teacher": "shared"}


def test_local_importance_adds_up_to_one_and_finds_the_strongest(surrogate):
    found = local(surrogate, {"lr": 1e-2, "tau": 0.5, "teacher": "ema", "decay": 0.95})
    assert sum(one.value for one in found.values()) == pytest.approx(1)
    assert next(iter(found)) == "lr"


START = {"lr": 1e-4, "tau": 0.2, "teacher": "shared"}
GOAL = {"lr": 1e-1, "tau": 0.9, "teacher": "ema", "decay": 0.99}


def test_the_gain_of_a_parameter_alone_is_the_best_of_its_values_by_brute_force(surrogate):
    found = {one.name: one for one in tunability(surrogate, START)}
    assert set(found) == set(START)
    for name, places in (("lr", np.geomspace(1e-4, 1e-1, 400)), ("tau", np.linspace(0, 1, 400))):
        scores = surrogate.at([START, *({**START, name: float(value)} for value in places)])
        gains = scores[:, 1:] - scores[:, :1]
        assert found[name].gain[0] == pytest.approx(np.median(gains[:, gains.mean(axis=0).argmax()]), abs=0.2)


def test_gains_of_parameters_alone_hold_the_truth_and_come_largest_first(surrogate):
    found = tunability(surrogate, START)
    for one in found:
        change = truth({**START, "decay": 0.95, one.name: one.after}) - truth({**START, "decay": 0.95})
        assert one.gain[1] - 0.1 <= change <= one.gain[2] + 0.1, one
    assert found[0].name == "lr"
    assert [one.gain[0] for one in found] == sorted((one.gain[0] for one in found), reverse=True)


def test_a_start_that_is_best_already_gains_nothing(surrogate):
    values = [tuned.after for tuned in tunability(surrogate, {**START, "lr": 1e-4}) if tuned.name == "lr"]
    again = {one.name: one for one in tunability(surrogate, {**START, "lr": values[0]})}
    assert again["lr"].gain == pytest.approx((0, 0, 0), abs=1e-9)


def test_the_ablation_path_ends_at_the_goal_with_its_whole_gain(surrogate):
    path = ablation(surrogate, START, GOAL)
    assert {one.name: one.after for one in path} == GOAL
    scores = surrogate.at([START, GOAL])
    assert path[-1].gain[0] == pytest.approx(np.median(scores[:, 1] - scores[:, 0]))


def test_the_ablation_path_takes_the_largest_gain_first_and_a_condition_before_what_needs_it(surrogate):
    names = [one.name for one in ablation(surrogate, START, GOAL)]
    assert names[0] == "lr"
    assert names.index("teacher") < names.index("decay")


def test_the_first_step_of_the_ablation_path_is_the_best_by_brute_force(surrogate):
    gains = {}
    for name, value in GOAL.items():
        if name != "decay":
            gains[name] = surrogate.at([{**START, name: value}]).mean()
    assert ablation(surrogate, START, GOAL)[0].name == max(gains, key=gains.get)


@given(lr=st.floats(1e-4, 1e-1), tau=st.floats(0, 1), decay=st.floats(0.9, 1))
@settings(deadline=None, max_examples=25)
def test_steps_aside_stay_in_the_range_and_say_where_they_were_cut(surrogate, lr, tau, decay):
    best = {"lr": lr, "tau": tau, "teacher": "ema", "decay": decay}
    for one in robustness(surrogate, best):
        low, high = MIXED[one.name]["low"], MIXED[one.name]["high"]
        assert low * (1 - 1e-9) <= one.value <= high * (1 + 1e-9)
        if not one.cut:
            whole = (one.value / lr in (pytest.approx(2), pytest.approx(0.5))) if one.name == "lr" else (
                abs(one.value - best[one.name]) == pytest.approx(0.1 * (high - low))
            )  # fmt: skip
            assert whole


def test_a_step_aside_loses_what_the_truth_loses(surrogate):
    best = {"lr": 1e-2, "tau": 0.5, "teacher": "ema", "decay": 0.95}
    for one in robustness(surrogate, best):
        expected = truth({**best, one.name: one.value}) - truth(best)
        assert one.change[1] - 0.15 <= expected <= one.change[2] + 0.15


def test_all_pairs_have_a_map(surrogate):
    for first, second in itertools.combinations(surrogate.basis.names, 2):
        assert np.isfinite(pair_map(surrogate, first, second).difference).all()
