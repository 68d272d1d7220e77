import functools
import random

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipix_tune.config.dead_dimensions import check_dead_dimensions
from ipix_tune.config.dimension import every_value
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.config.validate_space import check_study
from ipix_tune.trainer.interface import SpaceError
from tests.ipix_tune.studies import base
from trainers.common.errors import ConfigError
from trainers.config import TrainConfig


def space_of(search, *, trainer=None, points=()):
    data = base() | {"search": search, "points": list(points)}
    data["trainer"] = data["trainer"] | (trainer or {})
    return SearchSpace(check_study(StudyConfig.model_validate(data), source="study", lines={}))


RANGES = {
    "interpixel.alpha": {"loguniform": [0.01, 10]},
    "interpixel.temperature": {"uniform": [1, 16]},
    "interpixel.tau": {"quniform": [0, 0.9, 0.1]},
    "views.cutmix_p": {"choice": [0, 0.5]},
    "optim.clip_norm": {"choice": [None, 1.0]},
    "interpixel.t2_scale": {"choice": [True, False]},
    "data.crop": {"int": [32, 64]},
    "schedule.steps_per_epoch": {"logint": [1, 100]},
}
CONDITIONS = {
    "method.ema_decay": {"choice": [0.99, 0.996], "only_if": {"method.teacher": "ema"}},
    "method.teacher": {"choice": ["shared", "ema"], "only_if": {"method.name": ["fixmatch", "unimatch"]}},
    "method.feature_weight": {"uniform": [0, 1], "only_if": {"method.name": "unimatch"}},
    "method.name": {"choice": ["supervised", "fixmatch", "unimatch"]},
}


def ask(space, seed):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    return trial, space.suggest(trial)


@functools.cache
def everything():
    data = base()["trainer"]["data"]
    data.pop("crop")
    return space_of(RANGES | CONDITIONS, trainer={"data": data, "method": {}})


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_whatever_optuna_suggests_gives_a_valid_training_config_with_these_values(seed):
    space = everything()
    _, values = ask(space, seed)
    config = space.to_config(values)
    assert isinstance(config, TrainConfig)
    for name, value in values.items():
        node = config
        for part in name.split("."):
            node = getattr(node, part)
        assert node == value


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_what_is_suggested_passes_as_a_point_unchanged(seed):
    space = everything()
    _, values = ask(space, seed)
    assert space.check_point(values) == values


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), corners=st.booleans())
def test_a_sample_without_optuna_passes_as_a_point(seed, corners):
    space = everything()
    values = space.sample(random.Random(seed), corners=corners)
    assert space.check_point(values) == values
    space.to_config(values)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_optuna_is_asked_for_the_active_leaves_alone_under_the_distributions_stated(seed):
    space = everything()
    trial, values = ask(space, seed)
    assert trial.params == values
    assert set(values) == set(space.active(values))
    distributions = space.fixed_distributions()
    assert trial.distributions == {name: distributions[name] for name in values}


def test_a_condition_decides_whether_a_leaf_is_set():
    space = space_of(CONDITIONS, trainer={"method": {}})
    assert set(space.active({"method.name": "supervised"})) == {"method.name"}
    assert set(space.active({"method.name": "fixmatch", "method.teacher": "shared"})) == {
        "method.name",
        "method.teacher",
    }
    assert "method.ema_decay" in space.active({"method.name": "fixmatch", "method.teacher": "ema"})


LOSS_AND_SCHEDULE = {
    "loss.labelled": {"choice": ["ce", "focal", "dice", "lovasz", "ce+dice", "focal+dice", "ce+lovasz"]},
    "loss.focal_gamma": {"uniform": [0, 4], "only_if": {"loss.labelled": ["focal", "focal+dice"]}},
    "loss.region_weight": {"uniform": [0.1, 3], "only_if": {"loss.labelled": ["ce+dice", "focal+dice", "ce+lovasz"]}},
    "loss.class_weights": {
        "choice": ["none", "frequency"],
        "only_if": {"loss.labelled": ["ce", "focal", "dice", "ce+dice", "focal+dice", "ce+lovasz"]},
    },
    "loss.frequency_power": {"uniform": [0, 1], "only_if": {"loss.class_weights": "frequency"}},
    "schedule.lr": {"choice": ["poly", "cosine", "constant"]},
    "schedule.poly_power": {"uniform": [0.5, 2], "only_if": {"schedule.lr": "poly"}},
    "schedule.lr_warmup_steps": {"int": [0, 10]},
}


def test_the_labelled_loss_with_its_class_weights_and_the_schedule_can_be_searched():
    space = space_of(LOSS_AND_SCHEDULE)
    drawn = [ask(space, seed)[1] for seed in range(40)]
    configs = [space.to_config(values) for values in drawn]
    assert {one.loss.labelled for one in configs} == set(LOSS_AND_SCHEDULE["loss.labelled"]["choice"])
    assert {one.schedule.lr for one in configs} == {"poly", "cosine", "constant"}
    assert set().union(*drawn) == set(LOSS_AND_SCHEDULE)


def test_a_dimension_comes_after_those_that_its_condition_names():
    names = list(space_of(CONDITIONS, trainer={"method": {}}).dimensions)
    assert names.index("method.name") < names.index("method.teacher") < names.index("method.ema_decay")


def test_a_condition_on_a_fixed_key_holds_for_the_fixed_value():
    search = {"method.ema_decay": {"choice": [0.9], "only_if": {"method.teacher": "ema"}}}
    space = space_of(search, trainer={"method": {"name": "unimatch", "teacher": "ema"}})
    assert space.active({}) == ("method.ema_decay",)


def test_true_is_not_one_in_a_condition():
    search = {
        "interpixel.t2_scale": {"choice": [True, False]},
        "interpixel.alpha": {"uniform": [0, 1], "only_if": {"interpixel.t2_scale": True}},
    }
    space = space_of(search)
    assert space.active({"interpixel.t2_scale": True}) == ("interpixel.t2_scale", "interpixel.alpha")
    assert space.active({"interpixel.t2_scale": 1}) == ("interpixel.t2_scale",)


def test_switching_the_method_leaves_out_keys_that_only_another_searched_method_has():
    space = space_of(
        {"method.name": {"choice": ["supervised", "unimatch"]}}, trainer={"method": {"feature_dropout": 0.3}}
    )
    assert space.to_config({"method.name": "unimatch"}).method.feature_dropout == 0.3
    assert not hasattr(space.to_config({"method.name": "supervised"}).method, "feature_dropout")


DISTANCES = {"interpixel.distance": {"choice": ["kl", "cr"]}, "interpixel.alpha": {"loguniform": [0.01, 10]}}


def test_the_factor_t_squared_stands_for_the_kl_alone_where_the_distance_is_searched():
    space = space_of(DISTANCES, trainer={"interpixel": {"t2_scale": True}})
    found = {
        distance: space.to_config({"interpixel.distance": distance, "interpixel.alpha": 1.0}).interpixel.t2_scale
        for distance in ("kl", "cr")
    }
    assert found == {"kl": True, "cr": False}


def test_the_factor_is_refused_where_the_correlation_is_fixed_and_where_it_is_searched_without_a_condition():
    with pytest.raises(ConfigError, match=r"only the KL falls as 1 / t\^2"):
        space_of({"optim.lr": {"uniform": [0.1, 0.2]}}, trainer={"interpixel": {"distance": "cr", "t2_scale": True}})
    factor = {"interpixel.t2_scale": {"choice": [True, False]}}
    with pytest.raises(ConfigError, match=r"only_if: \{interpixel\.distance: kl\}"):
        space_of(DISTANCES | factor)
    factor["interpixel.t2_scale"]["only_if"] = {"interpixel.distance": "kl"}
    space_of(DISTANCES | factor)


def test_switching_the_method_does_not_hide_a_misspelt_key():
    with pytest.raises(ConfigError, match="feature_droput"):
        space_of({"method.name": {"choice": ["supervised", "unimatch"]}}, trainer={"method": {"feature_droput": 0.3}})


def test_switching_the_method_does_not_hide_a_key_of_a_method_that_is_not_searched():
    with pytest.raises(ConfigError, match="feature_dropout"):
        space_of({"method.name": {"choice": ["supervised", "fixmatch"]}}, trainer={"method": {"feature_dropout": 0.3}})


def test_making_a_config_leaves_the_study_as_it_was():
    space = space_of({"method.name": {"choice": ["supervised", "unimatch"]}}, trainer={"method": {"conf_thresh": 0.3}})
    space.to_config({"method.name": "supervised"})
    assert space.section["method"] == {"conf_thresh": 0.3}


def test_the_description_has_the_keys_that_the_analysis_reads():
    search = CONDITIONS | {"interpixel.tau": RANGES["interpixel.tau"]}
    described = space_of(search, trainer={"method": {}, "interpixel": {"alpha": 1}}).describe()
    assert described["interpixel.tau"] == {
        "kind": "quniform",
        "low": 0.0,
        "high": 0.9,
        "step": 0.1,
        "choices": None,
        "only_if": None,
    }
    assert described["method.ema_decay"] == {
        "kind": "choice",
        "low": None,
        "high": None,
        "step": None,
        "choices": [0.99, 0.996],
        "only_if": {"method.teacher": "ema"},
    }


def test_a_grid_lists_every_value_in_the_leaves_types():
    space = space_of(
        {"interpixel.tau": {"quniform": [0, 0.3, 0.1]}, "data.batch_size": {"int": [2, 4]}},
        trainer={
            "data": {key: value for key, value in base()["trainer"]["data"].items() if key != "batch_size"},
            "interpixel": {"alpha": 1},
        },
    )
    assert space.grid() == {"interpixel.tau": [0.0, 0.1, 0.2, 0.3], "data.batch_size": [2, 3, 4]}


def test_a_grid_refuses_a_continuous_dimension_by_name():
    with pytest.raises(SpaceError, match=r"interpixel\.alpha is continuous"):
        space_of({"interpixel.alpha": RANGES["interpixel.alpha"]}).grid()


MANY = {"schedule.lr_warmup_steps": {"int": [0, 10**15]}}


def test_whole_numbers_are_not_held_however_many_there_are():
    """A seed of 0 .. 2^31 took all memory."""
    space = space_of(MANY)
    for corners in (True, False):
        drawn = space.sample(random.Random(0), corners=corners)
        assert 0 <= drawn["schedule.lr_warmup_steps"] <= 10**15
    assert len(every_value(space.dimensions["schedule.lr_warmup_steps"])) == 10**15 + 1
    assert check_dead_dimensions(space) == []


@pytest.mark.parametrize(
    "search", [MANY, {name: {"quniform": [0, 0.9, 0.0005]} for name in ("optim.momentum", "optim.weight_decay")}]
)
def test_a_grid_of_more_configurations_than_anyone_runs_is_refused(search):
    with pytest.raises(SpaceError, match="more than 100000 configurations"):
        space_of(search).grid()


def test_grid_points_leave_out_inactive_dimensions_and_repeat_nothing():
    search = {name: dimension for name, dimension in CONDITIONS.items() if name != "method.feature_weight"}
    points = space_of(search, trainer={"method": {}}).grid_points()
    assert len(points) == 1 + 2 * (1 + 2)  # supervised; fixmatch and unimatch, each shared or ema with two decays
    assert len({tuple(sorted(point.items())) for point in points}) == len(points)
    space = space_of(search, trainer={"method": {}})
    assert all(space.check_point(point) == point for point in points)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({}, "lacks method.name"),
        ({"method.name": "unimatch"}, "lacks method.teacher, method.feature_weight"),
        ({"method.name": "supervised", "method.teacher": "ema"}, "method.teacher is inactive"),
        ({"method.nam": "supervised"}, '"method.name"'),
        ({"method.name": "fixmatch", "method.teacher": "ema", "method.ema_decay": 0.9}, "outside choice"),
    ],
)
def test_a_point_that_cannot_be_is_refused(point, message):
    with pytest.raises(SpaceError) as caught:
        space_of(CONDITIONS, trainer={"method": {}}).check_point(point)
    assert message in str(caught.value)
