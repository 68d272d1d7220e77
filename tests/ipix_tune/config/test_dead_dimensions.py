"""Searched keys that can change nothing: found, named with the condition to add, refused where they never do."""

import pytest

from ipix_tune.config.dead_dimensions import check_dead_dimensions, dead_fixed_keys
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.trainer.interface import SpaceError
from tests.ipix_tune.studies import base, line_of, write

ALPHA = {"interpixel.alpha": {"loguniform": [0.01, 10]}}
CHOICE = {"uniform": [0.1, 0.9]}


def space_of(search, **trainer):
    data = base() | {"search": search, "points": []}
    data["trainer"] = data["trainer"] | trainer
    return SearchSpace(StudyConfig.model_validate(data))


def warnings_of(search, **trainer):
    return check_dead_dimensions(space_of(search, **trainer))


def test_a_dimension_that_is_dead_under_another_choice_is_named_with_the_condition_to_add():
    search = ALPHA | {
        "interpixel.distance": {"choice": ["kl", "cr"]},
        "interpixel.domain": {"choice": ["omega", "full"]},
    }
    assert warnings_of(search) == [
        "search.interpixel.domain has no effect where interpixel.distance is cr: add only_if: {interpixel.distance: kl}"
    ]


def test_with_that_condition_there_is_nothing_to_say():
    search = ALPHA | {
        "interpixel.distance": {"choice": ["kl", "cr"]},
        "interpixel.domain": {"choice": ["omega", "full"], "only_if": {"interpixel.distance": "kl"}},
    }
    assert warnings_of(search) == []


def test_under_some_values_of_a_number_the_others_are_listed():
    search = {"interpixel.alpha": {"choice": [0, 0.1, 1]}, "interpixel.tau": CHOICE}
    (line,) = warnings_of(search)
    assert line.endswith("where interpixel.alpha is 0: add only_if: {interpixel.alpha: [0.1, 1]}")


def test_a_range_that_begins_at_the_value_that_switches_off_is_no_dead_dimension():
    search = {"interpixel.alpha": {"uniform": [0, 1]}, "interpixel.tau": CHOICE}
    assert warnings_of(search) == []


def test_the_condition_to_add_keeps_the_one_that_is_there():
    search = {
        "method.name": {"choice": ["fixmatch", "supervised"]},
        "method.teacher": {"choice": ["shared", "ema"], "only_if": {"method.name": "fixmatch"}},
        "method.ema_decay": {"choice": [0.9, 0.99], "only_if": {"method.name": "fixmatch"}},
    }
    (line,) = warnings_of(search, method={})
    assert "add only_if: {method.name: fixmatch, method.teacher: ema}" in line


def test_where_no_condition_can_say_it_the_line_says_so():
    search = {
        "method.name": {"choice": ["fixmatch", "meanteacher"]},
        "method.teacher": {"choice": ["shared", "ema"], "only_if": {"method.name": "fixmatch"}},
        "method.ema_decay": {"choice": [0.9, 0.99]},
    }
    (line,) = warnings_of(search, method={}, interpixel={"alpha": 1})
    assert "method.teacher is shared" in line
    assert "no only_if can say so" in line


@pytest.mark.parametrize(
    ("search", "trainer", "why"),
    [
        ({"interpixel.tau": CHOICE}, {}, "interpixel.alpha is above 0 (here interpixel.alpha is 0)"),
        (
            {"interpixel.warmup_fraction": CHOICE},
            {"interpixel": {"alpha": 1, "warmup_epochs": 2}},
            "interpixel.warmup_epochs is null (here interpixel.warmup_epochs is 2)",
        ),
        ({"method.ema_decay": CHOICE}, {}, "method.teacher is ema (here method.teacher is shared)"),
        ({"views.cutmix_area_max": CHOICE}, {"views": {"cutmix_p": 0}}, "views.cutmix_p is above 0"),
        ({"views.brightness": CHOICE}, {"method": {"name": "meanteacher"}}, "meanteacher makes no use of it"),
        ({"views.cutmix_p": CHOICE}, {"method": {"name": "cps"}}, "method.cutmix is true"),
        (
            {"method.vat_eps": CHOICE},
            {"method": {"name": "cct", "vat": 0}},
            "method.vat is above 0 (here method.vat is 0)",
        ),
        (
            {"method.temperature": CHOICE},
            {"method": {"name": "u2pl", "contrast_weight": 0}},
            "method.contrast_weight is above 0",
        ),
        ({"model.stem": {"choice": ["7x7", "deep"]}}, {}, "(here model.backbone is small)"),
        ({"schedule.epoch_base": {"choice": ["labelled", "unlabelled"]}}, {"schedule": {"steps_per_epoch": 9}}, "null"),
    ],
)
def test_a_dimension_without_effect_anywhere_is_refused_with_the_reason(search, trainer, why):
    with pytest.raises(SpaceError, match="has no effect anywhere in this space") as caught:
        check_dead_dimensions(space_of(search, **trainer))
    assert why in str(caught.value)
    assert caught.value.path == ("search", next(iter(search)))


def test_a_dimension_that_lives_in_one_corner_is_not_refused():
    methods = ["supervised", "meanteacher", "cct", "gct", "cps", "ucc", "st", "fixmatch"]
    search = {
        "method.name": {"choice": methods},
        "method.teacher": {"choice": ["shared", "ema"], "only_if": {"method.name": "fixmatch"}},
        "interpixel.alpha": {"choice": [0, 1]},
        "interpixel.target": {"choice": ["mixed", "per_region"]},
        "views.cutmix_p": {"choice": [0, 0.5]},
    }
    lines = warnings_of(search, method={})
    (target,) = [line for line in lines if line.startswith("search.interpixel.target")]
    assert "add only_if: {method.name: fixmatch, interpixel.alpha: 1, views.cutmix_p: 0.5}" in target


def test_loading_a_study_refuses_a_dead_dimension_with_file_and_line(tmp_path):
    from ipix_tune.config.load_study import load
    from trainers.common.errors import ConfigError

    data = base()
    data["search"] = {"optim.lr": {"loguniform": [0.01, 0.1]}, "interpixel.tau": {"uniform": [0, 0.9]}}
    data["points"] = []
    path = write(tmp_path, data)
    with pytest.raises(ConfigError, match="has no effect anywhere") as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}:{line_of(path, 'interpixel.tau')}:")


def test_validate_names_dead_dimensions_and_fixed_keys_without_effect(tmp_path):
    from ipix_tune.cli.validate import check_file

    data = base()
    data["search"]["interpixel.domain"] = {"choice": ["omega", "full"]}
    data["points"][0]["interpixel.domain"] = "omega"
    data["trainer"]["interpixel"] = {"warmup_fraction": 0.1, "warmup_epochs": 1}
    warnings = [line for line in check_file(write(tmp_path, data), []) if line.startswith("warning: ")]
    assert len(warnings) == 2
    assert "add only_if: {interpixel.distance: kl}" in warnings[0]
    assert warnings[1].startswith("warning: trainer.interpixel.warmup_fraction has no effect")


def test_validate_names_keys_without_effect_of_a_training_config(tmp_path):
    from ipix_tune.cli.validate import check_file

    trainer = base()["trainer"] | {"interpixel": {"alpha": 0, "tau": 0.3}}
    warnings = [line for line in check_file(write(tmp_path, trainer), []) if line.startswith("warning: ")]
    assert warnings == [
        "warning: interpixel.tau has no effect: it has one only if interpixel.alpha is above 0 "
        "(here interpixel.alpha is 0)"
    ]


def test_a_fixed_key_that_lives_somewhere_in_the_space_is_not_named():
    search = {"interpixel.alpha": {"choice": [0, 1]}}
    space = space_of(search, interpixel={"tau": 0.3})
    assert dead_fixed_keys(space, ["interpixel.tau"]) == []


def test_the_dry_run_prints_the_warnings():
    from rich.console import Console

    from ipix_tune.study.plan import make_plan, render

    space = space_of(ALPHA)
    console = Console(width=120)
    plan = make_plan(StudyConfig.model_validate(base() | {"search": ALPHA, "points": []}))
    with console.capture() as capture:
        console.print(render(plan, warnings=["search.a has no effect where b is c"]))
    assert "search.a has no effect where b is c" in capture.get()
    assert check_dead_dimensions(space) == []
