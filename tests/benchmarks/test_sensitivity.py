import itertools
import json

import numpy as np
import pytest

from benchmarks.helpers.objectives import DROP, EPOCHS, SPREAD, TOP, ObjectiveCurves, beyond, objectives
from benchmarks.helpers.sensitivity_tables import render
from benchmarks.sensitivity import asha_study, optuna_shares, repetition
from benchmarks.sensitivity_collapses import row
from ipix_tune.config.dimension import from_unit

BY_NAME = {one.name: one for one in (*objectives(), *beyond())}


def places_of(dimension, rng):
    if dimension.choice is not None:
        return rng.integers(len(dimension.choice), size=40000).astype(float)
    return rng.random(40000)


def test_the_ishigami_objective_has_the_published_indices():
    """Ishigami and Homma (1990), a = 7, b = 0.1."""
    whole = 49 / 8 + 0.1 * np.pi**4 / 5 + 0.01 * np.pi**8 / 18 + 0.5
    first = [0.5 * (1 + 0.1 * np.pi**4 / 5) ** 2 / whole, 49 / 8 / whole, 0, 0]
    third = 0.01 * np.pi**8 * (1 / 18 - 1 / 50) / whole
    found = BY_NAME["ishigami"]
    assert list(found.first().values()) == pytest.approx(first, abs=1e-6)
    assert list(found.total().values()) == pytest.approx([first[0] + third, first[1], third, 0], abs=1e-6)
    assert list(found.shapley().values()) == pytest.approx([first[0] + third / 2, first[1], third / 2, 0], abs=1e-6)


def test_the_g_objective_has_the_indices_of_sobols_g_function():
    parts = {name: 1 / 3 / (1 + a) ** 2 for name, a in zip(BY_NAME["g"].search, (0.5, 1.5, 4, 9), strict=False)}
    whole = np.prod([1 + part for part in parts.values()]) - 1
    for name, part in parts.items():
        others = np.prod([1 + other for key, other in parts.items() if key != name])
        assert BY_NAME["g"].first()[name] == pytest.approx(part / whole, abs=1e-5)
        assert BY_NAME["g"].total()[name] == pytest.approx(part * others / whole, abs=1e-5)


@pytest.mark.parametrize("name", BY_NAME)
def test_the_indices_of_every_objective_are_those_of_sampling(name):
    """Jansen's estimators on 40,000 draws."""
    objective, rng = BY_NAME[name], np.random.default_rng(0)

    def drawn():
        return {
            one: rng.integers(len(dimension.choice), size=40000).astype(float)
            if dimension.choice
            else rng.random(40000)
            for one, dimension in objective.search.items()
        }

    first, second = drawn(), drawn()
    y, other = objective.raw(first) + np.zeros(40000), objective.raw(second) + np.zeros(40000)
    assert y.std() == pytest.approx(objective.deviation, rel=0.05)
    for one in objective.search:
        moved = objective.raw({**second, one: first[one]}) + np.zeros(40000)
        assert 1 - np.mean((y - moved) ** 2) / 2 / y.var() == pytest.approx(objective.first()[one], abs=0.03)
        assert np.mean((other - moved) ** 2) / 2 / y.var() == pytest.approx(objective.total()[one], abs=0.03)


@pytest.mark.parametrize("name", BY_NAME)
def test_the_marginals_of_every_objective_are_means_over_the_rest(name):
    objective, rng = BY_NAME[name], np.random.default_rng(1)
    for one, dimension in objective.search.items():
        if dimension.choice is not None:
            continue
        places = {other: places_of(it, rng) for other, it in objective.search.items()}
        for parent, value in (dimension.only_if or {}).items():
            places[parent] = np.full(40000, objective.place(parent, value))
        places[one] = np.full(40000, 0.3)
        expected = objective.scaled(float(np.mean(objective.raw(places))))
        assert objective.marginal(one, np.array([0.3]))[0] == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize("name", BY_NAME)
def test_the_dead_parameter_changes_the_way_at_most_and_never_the_end(name):
    objective = BY_NAME[name]
    values = {
        one: dimension.choice[-1] if dimension.choice else from_unit(dimension, 0.4)
        for one, dimension in objective.search.items()
    }
    scores = [
        objective.score({**values, objective.dead: from_unit(objective.search[objective.dead], place)})
        for place in (0.1, 0.9)
    ]
    assert scores[0] == pytest.approx(scores[1])
    assert abs(scores[0] - TOP) < 6 * SPREAD


def test_a_curve_ends_at_the_objective_on_average():
    objective = BY_NAME["g"]
    values = {one: from_unit(dimension, 0.3) for one, dimension in objective.search.items()}
    ends = [ObjectiveCurves(objective=objective, seed=seed).curve(values).scores for seed in range(400)]
    assert len(ends[0]) == EPOCHS
    assert np.mean([one[-1] for one in ends]) == pytest.approx(objective.score(values), abs=0.08)
    assert np.std([one[-1] for one in ends]) == pytest.approx(0.5, abs=0.06)


def test_the_trials_are_those_of_tpe_and_asha():
    study = asha_study(BY_NAME["g"], trials=30, seed=0)
    lengths = {trial.epochs for trial in study.trials}
    assert len(study.trials) == 30
    assert lengths <= {3, 9, 27}
    assert {3, 27} <= lengths
    assert all(trial.state == ("complete" if trial.epochs == 27 else "stopped") for trial in study.trials)


def test_the_stated_share_of_runs_collapses_by_the_stated_drop_to_the_end():
    space = [{**dict.fromkeys(("first", "second", "third", "dead"), 0.5), "first": i / 400} for i in range(400)]
    with_them, without = (ObjectiveCurves(objective=BY_NAME["ishigami"], seed=0, collapses=share) for share in (0.1, 0))
    drops = np.array([np.subtract(without.curve(values).scores, with_them.curve(values).scores) for values in space])
    lost = drops[:, -1] > 0
    assert lost.mean() == pytest.approx(0.1, abs=0.04)
    assert DROP[0] <= drops[lost, -1].min() <= drops[lost, -1].max() <= DROP[1]
    assert (np.diff(drops, axis=1) >= -1e-9).all()


def test_random_trials_all_run_in_full():
    study = asha_study(BY_NAME["g"], trials=12, seed=0, searched=False)
    assert {(one.state, one.epochs) for one in study.trials} == {("complete", EPOCHS)}


def test_the_row_of_collapses_counts_usable_studies_and_lost_runs():
    study = asha_study(BY_NAME["steep"], trials=30, seed=0, searched=False)
    assert row(BY_NAME["steep"], [study, study]).startswith("| steep | 2 of 2 | ")


def test_optunas_shares_add_up_to_one():
    study = asha_study(BY_NAME["g"], trials=30, seed=0)
    assert sum(optuna_shares(BY_NAME["g"], study.trials).values()) == pytest.approx(1)


def test_the_tables_count_what_was_covered_and_what_was_not():
    row = json.loads(json.dumps(repetition(BY_NAME["conditional"], trials=30, seed=0)))
    truth = BY_NAME["conditional"].first()
    row["first"] = dict.fromkeys(truth, (0.5, 0.4, 0.6))
    inside = sum(0.4 <= one <= 0.6 for one in truth.values())
    text = render([row, row], command="x")
    assert f"{inside / len(truth):.0%}" in text.replace(" %", "%")
    for word, name in itertools.product(("conditional",), ("30", "Optuna", "dead")):
        assert word in text
        assert name in text
