"""The `confirm` section is refused before anything starts, with file, line and what is allowed."""

import subprocess
import sys

import pytest

from ipix_tune.config.load_study import dump, load
from tests.ipix_tune.studies import base, line_of, write
from trainers.common.errors import ConfigError


def refused(folder, confirm, **changes):
    file = write(folder, {**base(), "confirm": confirm, **changes})
    with pytest.raises(ConfigError) as caught:
        load(file)
    return file, str(caught.value)


def test_a_section_is_read_back_as_it_was_written(tmp_path):
    confirm = {"top": 3, "ablate": {"interpixel.alpha": 0}, "contrast": ["interpixel.distance"], "max_seeds": 6}
    study = load(write(tmp_path, {**base(), "confirm": confirm}))
    (tmp_path / "again.yaml").write_text(dump(study))
    assert load(tmp_path / "again.yaml") == study
    assert study.confirm.delta == 0.3


@pytest.mark.parametrize(
    ("confirm", "words"),
    [
        ({"tpo": 2}, "tpo"),
        ({"top": 0}, "top"),
        ({"delta": 0}, "delta"),
        ({"error": 0.7}, "error"),
        ({"first_seeds": 1}, "first_seeds"),
        ({"first_seeds": 6, "max_seeds": 4}, "max_seeds = 4 is below first_seeds = 6"),
        ({"prefer": "simple"}, "simplest"),
        ({"ablate": {"interpixel.alfa": 0}}, 'did you mean "interpixel.alpha"'),
        ({"ablate": [{"interpixel.alpha": 0}, {"optim.lt": 1}]}, "confirm.ablate.1: optim.lt is not a key"),
        ({"ablate": [{"interpixel.alpha": 0}, {}]}, "ablate: step 1 is empty"),
        ({"ablate": {"off": {}, "labels": {"method.name": "supervised"}}}, "ablate: step off is empty"),
        ({"ablate": {"off": {"optim.lt": 1}}}, "confirm.ablate.off: optim.lt is not a key"),
        ({"ablate": {"top 1": {"interpixel.alpha": 0}}}, "'top 1' is no name for a step"),
        ({"ablate": {"CR": {"optim.lr": 1}}, "variants": {"CR": {"optim.lr": 1}}}, "'CR' is no name for a variant"),
        ({"variants": {"CR": {"interpixel.alfa": 0}}}, 'did you mean "interpixel.alpha"'),
        ({"variants": {"CR": {"views.scale_min": 3}}}, "confirm.variants.CR"),
        ({"variants": {"CR": {}}}, "CR sets nothing"),
        ({"variants": {"top 1": {"interpixel.alpha": 0}}}, "'top 1' is no name for a variant"),
        ({"ablate": {"interpixel.alpha": -1}}, "the training config refuses interpixel.alpha = -1"),
        ({"ablate": {"schedule.epochs": 2}}, "schedule.epochs cannot be set"),
        ({"ablate": {"seed": 2}}, "the confirmation gives every run its seed"),
        ({"defaults": {"data.draw.seed": 2}}, "data.draw.seed cannot be set"),
        ({"defaults": {"optim.lrr": 2}}, 'did you mean "optim.lr"'),
        ({"contrast": ["optim.lr"]}, "optim.lr is no choice"),
        ({"contrast": ["interpixel.distanse"]}, 'did you mean "interpixel.distance"'),
        ({"top": 1, "defaults": False}, "nothing is compared"),
    ],
)
def test_what_cannot_be_confirmed_is_refused_by_name(tmp_path, confirm, words):
    _, message = refused(tmp_path, confirm)
    assert words in message


def test_an_error_names_the_line(tmp_path):
    file, message = refused(tmp_path, {"top": 2, "ablate": {"interpixel.alpha": -1}})
    number = next(i for i, line in enumerate(file.read_text().splitlines(), 1) if "interpixel.alpha: -1" in line)
    assert message.startswith(f"{file}:{number}: confirm.ablate")


def test_the_defaults_need_a_point_or_a_mapping(tmp_path):
    file, message = refused(tmp_path, {"top": 2, "defaults": True}, points=[])
    assert f"{file}:{line_of(file, 'defaults')}" in message
    assert "it has no points" in message


def test_an_ablation_that_only_some_configurations_allow_is_refused(tmp_path):
    _, message = refused(tmp_path, {"ablate": {"views.scale_min": 3}})
    assert message.count("scale_min") >= 1


def test_an_override_sets_a_key_of_the_ablation(tmp_path):
    file = write(tmp_path, {**base(), "confirm": {"top": 1}})
    study = load(file, ["confirm.ablate.interpixel.alpha=0", "confirm.max_seeds=5"])
    assert study.confirm.ablate == {"interpixel.alpha": 0.0}
    assert study.confirm.max_seeds == 5


def test_a_study_may_ask_for_as_many_seeds_as_the_race_allows():
    from analysis.stats.confirm.race_plan import MOST_SEEDS
    from ipix_tune.config.confirm_config import ConfirmConfig

    assert ConfirmConfig(max_seeds=MOST_SEEDS).max_seeds == MOST_SEEDS
    with pytest.raises(ValueError, match="max_seeds"):
        ConfirmConfig(max_seeds=MOST_SEEDS + 1)


def test_reading_a_study_file_loads_neither_ray_nor_optuna_nor_scipy():
    code = "import sys, ipix_tune.config.load_study; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"ray", "optuna", "scipy"} & set(loaded)
