import json
import math

import numpy as np
import pytest

from benchmarks.anytime import Ended, Problem, Race, as_row, read_raw
from benchmarks.helpers.anytime_tables import quartiles, regrets, render
from benchmarks.helpers.recorded_digits import RecordedDigits
from benchmarks.helpers.search_problems import EPOCHS, problem, truth

REFERENCE = {"target": 80.0, "median": 40.0}


def test_the_regret_is_that_of_the_best_by_score_and_not_of_the_best_by_worth():
    row = {"ended": [[105, 60.0, 60.0], [120, 70.0, 50.0], [140, 65.0, 80.0], [160, 81.0, 82.0]]}
    assert regrets(row, REFERENCE, (104, 105, 139, 150, 160)) == [1.0, 0.5, 0.75, 0.75, 0.0]


def test_a_search_that_was_cut_off_has_no_regret_after_its_cut():
    row = {"ended": [[105, 60.0, 60.0]], "cut": True, "epochs": 130}
    found = regrets(row, REFERENCE, (104, 130, 131))
    assert found[:2] == [1.0, 0.5]
    assert math.isnan(found[2])


def test_the_table_says_no_more_of_a_search_that_was_cut_off_than_it_saw():
    key = ("power", 0)
    row = {"family": "power", "seed": 0, "ended": [[105, 60.0, 60.0]], "seconds": 1.0}
    found = {
        (*key, "reference"): {"family": "power", "seed": 0, **REFERENCE},
        (*key, "slow"): {**row, "search": "slow", "reached": None, "epochs": 300, "cut": True},
        (*key, "in full"): {**row, "search": "in full", "reached": None, "epochs": 2160},
    }
    slow, whole = (line for line in render(found, command="").splitlines() if line.startswith(("| slow", "| in full")))
    assert [cell.strip() for cell in slow.split("|")][3:11] == [
        "> 300 [> 300, > 300]",
        "1, 1 of them cut off",
        "–",
        "0.500",
        "0.500",
        "–",
        "–",
        "–",
    ]
    assert "> 2160 [> 2160, > 2160]" in whole


def test_a_race_is_won_by_what_a_user_would_take():
    race = Race(target=80.0, ended=[Ended(epochs=105, score=90.0, worth=79.0)])
    race.ended.append(Ended(epochs=110, score=89.0, worth=85.0))
    assert not race.won
    race.ended.append(Ended(epochs=120, score=91.0, worth=80.0))
    assert race.won


def test_quartiles_count_those_that_never_got_there_as_the_largest():
    assert quartiles([100.0, 200.0, math.inf]) == (150.0, 200.0, math.inf)


def test_a_race_on_a_formula_ends_where_its_best_is_worth_the_target(tmp_path):
    one = Problem("power", 3)
    race = one.race(one.study(sampler="random"), target=50.0)
    assert race.won
    assert race.ended[-1].worth >= 50.0 > max(end.worth for end in race.ended[:-1])
    assert race.epochs == race.ended[-1].epochs
    file = tmp_path / "raw.jsonl"
    file.write_text(json.dumps(as_row(one, "random", race)) + "\n" + '{"family": "cut o')
    assert read_raw(file)["power", 3, "random"]["reached"] == race.epochs


def test_a_formula_is_worth_its_end_without_the_jitter():
    curves = problem("power", 3)
    values = curves.optimum()
    ends = [problem("power", 3).curve({**values, "interpixel.tau": 0.5 + k / 1000}).scores[-1] for k in range(40)]
    truths = [truth(curves, {**values, "interpixel.tau": 0.5 + k / 1000}) for k in range(40)]
    assert np.std(np.subtract(ends, truths)) == pytest.approx(0.4, rel=0.4)
    assert np.abs(np.diff(truths)).max() < 0.1


def recorded(number, lr, scores, seed=0, method="supervised"):
    values = {"optim.lr": lr, "optim.weight_decay": 1e-4, "method.name": method}
    return {"configuration": number, "seed": seed, "values": values, "scores": scores}


@pytest.fixture
def rows():
    low, high = np.linspace(5, 20, EPOCHS), np.linspace(5, 60, EPOCHS)
    return [
        recorded(0, 0.01, list(low)),
        recorded(1, 1.0, list(high - 3), seed=0),
        recorded(1, 1.0, list(high), seed=1),
        recorded(1, 1.0, list(high + 3), seed=2),
    ]


def near(step=0.0):
    return {"optim.lr": 0.01 + step, "optim.weight_decay": 1e-4, "method.name": "supervised"}


def test_a_recorded_configuration_is_worth_the_mean_of_its_seeds(rows):
    curves = RecordedDigits(rows, seed=0)
    asked = curves.curve({"optim.lr": 1.0, "optim.weight_decay": 1e-4, "method.name": "supervised"})
    assert curves.worth(asked) == pytest.approx(60)


def test_what_lies_between_two_recorded_configurations_is_worth_something_between_them(rows):
    curves = RecordedDigits(rows, seed=0)
    assert 20 < curves.worth(curves.curve(near(0.1))) < 60


def test_two_proposals_near_one_recorded_configuration_have_luck_of_their_own(rows):
    curves = RecordedDigits(rows, seed=0)
    asked = [curves.curve(near(k / 1e4)) for k in range(30)]
    step = 3 * math.sqrt(1.5)
    luck = {round(one.scores[-1] - curves.worth(one), 6) for one in asked}
    assert luck == {round(one, 6) for one in (-step, 0, step)}


def test_a_training_that_diverged_has_the_lowest_score_from_there_on(rows):
    rows[0]["scores"] = rows[0]["scores"][:4]
    assert RecordedDigits(rows, seed=0).whole(rows[0]) == [*rows[0]["scores"], *[0.0] * 23]


def test_the_table_has_a_row_a_search_and_says_never():
    found = {("power", seed, "reference"): {**REFERENCE, "family": "power", "seed": seed} for seed in (0, 1)}
    for seed, reached in ((0, 300), (1, None)):
        row = {"family": "power", "seed": seed, "reached": reached, "seconds": 1.0, "ended": [[120, 60.0, 60.0]]}
        found["power", seed, "ASHA + TPE"] = row
    assert "| ASHA + TPE | 2 | > 2160 [> 2160, > 2160] | 1 | – | 0.500 |" in render(found, command="x")
