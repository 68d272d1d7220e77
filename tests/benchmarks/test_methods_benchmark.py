import math

import pytest

from benchmarks.helpers.methods_table import render
from benchmarks.methods import CAUSES, averages, config_of, methods
from trainers.common.config_keys import set_dotted
from trainers.config import TrainConfig


@pytest.mark.parametrize(("name", "seed", "changes"), CAUSES)
def test_a_cause_is_a_valid_training_that_differs_from_the_study_in_what_it_names(name, seed, changes):
    plain = config_of(name, 0.0).model_dump(mode="json")
    data = config_of(name, 0.0).model_dump(mode="json")
    for key, value in {"seed": seed, **changes}.items():
        set_dotted(data, key, value)
    config = TrainConfig.model_validate(data).model_dump(mode="json")
    apart = {
        (section, key)
        for section in config
        if isinstance(config[section], dict)
        for key in config[section]
        if config[section][key] != plain[section][key]
    }
    assert apart == {tuple(key.split(".")) for key in changes}


def test_the_methods_with_an_averaged_teacher_have_a_row_at_another_decay():
    assert {name for name in methods() if averages(name)} == {
        "meanteacher",
        "cutmixseg",
        "classmix",
        "u2pl",
        "ael",
        "alonso",
        "psmt",
        "unimatch_v2",
    }


def row(method, seed, miou, *, decay=None, alpha=0.0, commit="abc1234"):
    return {
        "method": method,
        "decay": decay,
        "alpha": alpha,
        "seed": seed,
        "commit": commit,
        **({"failed": miou} if isinstance(miou, str) else {"miou": miou, "steps": 500, "seconds": 9}),
    }


def cells(text, *start):
    found = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    return next(line for line in found if tuple(line[: len(start)]) == start)


def test_the_table_pairs_by_seed_and_names_commits_and_failures():
    runs = [row("supervised", seed, 70.0 + seed) for seed in range(3)]
    runs += [row("psmt", seed, 10.0, commit="def5678") for seed in range(3)]
    runs += [row("psmt", seed, score, decay=0.9) for seed, score in enumerate((71.0, 74.0, 74.0))]
    runs += [row("psmt", 0, 73.0, decay=0.9, alpha=1.0), row("psmt", 1, "loss is NaN", decay=0.9, alpha=1.0)]
    costs = [{"method": "psmt", "alpha": 0.0, "ratio": 1.2, "low": 1.1, "high": 1.3, "peak": 800.4, "gradient": 2.0}]
    text = render(runs, costs=costs)
    error = math.sqrt(sum((one - 73) ** 2 for one in (71, 74, 74)) / 2 / 3)
    assert cells(text, "supervised", "", "")[3:7] == ["3", "71.00 ± 0.58", "", ""]
    plain = cells(text, "psmt", "", "")
    assert plain[5:] == ["-61.00 ± 0.58 (n = 3)", "", "2 + 0", "1.20 (1.10 to 1.30)", "800", "def5678"]
    decayed = cells(text, "psmt", "0.9", "")
    apart = [1.0, 3.0, 2.0]
    assert decayed[4:7] == [f"73.00 ± {error:.2f}", f"+2.00 ± {1 / math.sqrt(3):.2f} (n = {len(apart)})", ""]
    assert decayed[7:] == ["", "", "", "abc1234"]
    with_loss = cells(text, "psmt", "0.9", "KL")
    assert with_loss[3:7] == ["1 of 2", "73.00", "+3.00 (n = 1)", "+2.00 (n = 1)"]
    assert "Failed: psmt, alpha 1, seed 1: loss is NaN" in text
