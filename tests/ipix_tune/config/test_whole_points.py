"""Points that do not give a dimension have what it was before it was searched, and that is said."""

import pytest

from ipix_tune.config.load_study import load
from tests.ipix_tune.studies import base, write
from trainers.common.errors import ConfigError
from trainers.config import OptimConfig

DECAY = "search.optim.weight_decay.loguniform"


def loaded(folder, *overrides, **sections):
    said = []
    study = load(write(folder, base() | sections), list(overrides), say=said.append)
    return study, said


def test_a_dimension_that_is_added_takes_the_default_of_the_training_config(tmp_path):
    study, said = loaded(tmp_path, f"{DECAY}=[1e-6,1e-2]")
    default = OptimConfig().weight_decay
    assert {point["optim.weight_decay"] for point in study.points} == {default}
    assert said == [f"points that do not give them have the defaults optim.weight_decay = {default}"]


def test_what_the_study_fixed_before_comes_before_the_default(tmp_path):
    trainer = base()["trainer"]
    trainer["optim"] = {**trainer.get("optim", {}), "weight_decay": 0.003}
    study, _ = loaded(tmp_path, f"{DECAY}=[1e-6,1e-2]", trainer=trainer)
    assert {point["optim.weight_decay"] for point in study.points} == {0.003}


def test_where_the_default_lies_outside_one_message_names_all_that_is_missing(tmp_path):
    points = base()["points"] * 2
    with pytest.raises(ConfigError, match="points are incomplete") as caught:
        loaded(tmp_path, f"{DECAY}=[0.01,1]", points=points)
    for number in range(len(points)):
        assert f"--set points.{number}.optim.weight_decay=0.1" in str(caught.value)


def test_what_the_message_names_is_the_whole_remedy(tmp_path):
    study, said = loaded(tmp_path, f"{DECAY}=[0.01,1]", "points.0.optim.weight_decay=0.1")
    assert study.points[0]["optim.weight_decay"] == 0.1
    assert said == []


def test_null_takes_a_value_out_of_a_point(tmp_path):
    study, said = loaded(tmp_path, "points.0.optim.lr=null")
    assert study.points[0]["optim.lr"] == OptimConfig().lr
    assert len(said) == 1


def test_a_whole_point_is_said_nothing_about(tmp_path):
    assert loaded(tmp_path)[1] == []
