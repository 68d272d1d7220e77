import re
from pathlib import Path

import pytest

from ipix_tune.config.dimension_config import Prior
from ipix_tune.config.load_study import dump, load
from tests.ipix_tune.studies import base, line_of, write
from trainers.common.errors import ConfigError


def error_of(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, overrides)
    return str(caught.value)


def test_a_valid_study_loads(tmp_path):
    study = load(write(tmp_path, base()))
    assert study.name == "small"
    assert study.search["method.ema_decay"].only_if == {"method.teacher": "ema"}


def test_a_study_survives_a_round_trip_through_its_own_yaml(tmp_path):
    data = base()
    data["search"]["optim.lr"]["prior"] = {"center": 0.01}
    study = load(write(tmp_path, data))
    again = tmp_path / "again.yaml"
    again.write_text(dump(study))
    assert load(again) == study


def test_points_and_choices_take_the_types_of_their_leaves(tmp_path):
    data = base()
    data["search"]["interpixel.temperature"] = {"choice": [1, "1e1"]}
    data["points"][0]["interpixel.temperature"] = 10
    study = load(write(tmp_path, data))
    assert [type(value) for value in study.search["interpixel.temperature"].choice] == [float, float]
    assert study.search["interpixel.temperature"].choice == (1.0, 10.0)
    assert type(study.points[0]["interpixel.alpha"]) is float


# Each row: what is wrong, how the study is changed, text of the line at fault, what the message must say.
BAD = {
    "misspelt key of the study": (lambda d: d.update(bugdet=d.pop("budget")), "bugdet", ["bugdet", "budget"]),
    "misspelt key of the trainer": (
        lambda d: d["trainer"].update(optim={"weight_decya": 1e-4}),
        "weight_decya",
        ["weight_decya", "weight_decay"],
    ),
    "misspelt key of a dimension": (
        lambda d: d["search"].update({"optim.lr": {"loguniformm": [1, 2]}}),
        "loguniformm",
        ["loguniform"],
    ),
    "wrong type in the study": (lambda d: d["budget"].update(trials="many"), "many", ["budget.trials", "many"]),
    "wrong type in the trainer": (
        lambda d: d["trainer"].update(optim={"momentum": "fast"}),
        "fast",
        ["optim.momentum", "fast"],
    ),
    "empty range": (
        lambda d: d["search"].update({"optim.lr": {"uniform": [0.1, 0.01]}}),
        "optim.lr:",
        ["0.1", "0.01", "empty"],
    ),
    "log range through 0": (
        lambda d: d["search"].update({"optim.lr": {"loguniform": [0, 0.1]}}),
        "optim.lr:",
        ["passes through 0"],
    ),
    "two kinds": (
        lambda d: d["search"].update({"optim.lr": {"uniform": [0, 1], "choice": [1]}}),
        "optim.lr:",
        ["exactly one"],
    ),
    "a step that does not reach the end": (
        lambda d: d["search"].update({"interpixel.tau": {"quniform": [0, 0.9, 0.4]}}),
        "interpixel.tau:",
        ["0.8"],
    ),
    "a conditional on a missing key": (
        lambda d: d["search"]["method.ema_decay"].update(only_if={"method.techer": "ema"}),
        "method.techer",
        ["method.techer", "neither searched nor given", "method.teacher"],
    ),
    "a conditional on a key that is neither searched nor given": (
        lambda d: d["search"]["method.ema_decay"].update(only_if={"method.ema_buffers": "own"}),
        "method.ema_buffers",
        ["neither searched nor given in trainer", "add it"],
    ),
    "a condition that never holds": (
        lambda d: d["search"]["method.ema_decay"].update(only_if={"method.teacher": "emma"}),
        "emma",
        ["never 'emma'", '"ema"'],
    ),
    "a condition on a fixed key that does not hold": (
        lambda d: d["search"]["method.ema_decay"].update(only_if={"method.name": "fixmatch"}),
        "method.name: fixmatch",
        ["never active", "unimatch"],
    ),
    "a condition on a range": (
        lambda d: d["search"]["method.ema_decay"].update(only_if={"optim.lr": 0.1}),
        "optim.lr: 0.1",
        ["single values", "loguniform"],
    ),
    "conditions in a circle": (
        lambda d: d["search"].update(
            {
                "method.teacher": {"choice": ["shared", "ema"], "only_if": {"method.ema_decay": 0.99}},
            }
        ),
        "",
        ["circle", "method.teacher -> method.ema_decay -> method.teacher"],
    ),
    "a search key that is no training key": (
        lambda d: d["search"].update({"interpixel.temprature": {"uniform": [1, 2]}}),
        "interpixel.temprature",
        ["not a key of the training config", "interpixel.temperature"],
    ),
    "a search key without its section": (
        lambda d: d["search"].update({"temperature": {"uniform": [1, 2]}}),
        "temperature",
        ["not a key of the training config", "interpixel.temperature"],
    ),
    "a section as a search key": (lambda d: d["search"].update({"optim": {"choice": [1]}}), "optim:", ["is a section"]),
    "the fidelity as a search key": (
        lambda d: d["search"].update({"schedule.epochs": {"int": [1, 9]}}),
        "schedule.epochs",
        ["fidelity"],
    ),
    "the measure as a search key": (
        lambda d: d["search"].update({"evaluation.absent": {"choice": ["skip", "zero"]}}),
        "evaluation.absent",
        ["cannot be searched", "scored"],
    ),
    "the seed of the weights as a search key": (
        lambda d: d["search"].update({"seeds.init": {"int": [0, 9]}}),
        "seeds.init",
        ["luck"],
    ),
    "the seed as a search key": (lambda d: d["search"].update({"seed": {"int": [0, 9]}}), "seed:", ["luck"]),
    "a value in place of a section": (
        lambda d: d["trainer"].update(optim=5),
        "optim: 5",
        ["optim is a value (5), not a section"],
    ),
    "unknown method": (lambda d: d["trainer"]["method"].update(name="unimach"), "unimach", ["unimach", "unimatch"]),
    "a choice that the training config refuses": (
        lambda d: (
            d["trainer"].pop("method"),
            d["search"].pop("method.teacher"),
            d["search"].pop("method.ema_decay"),
            d.update(points=[]),
            d["search"].update({"method.name": {"choice": ["unimach"]}}),
        ),
        "method.name",
        ["method.name", "'unimach'", "unimatch"],
    ),
    "a range whose end the training config refuses": (
        lambda d: d["search"].update({"interpixel.tau": {"uniform": [0, 1.5]}}),
        "interpixel.tau",
        ["uniform [0.0, 1.5]", "refuses 1.5", "less than 1"],
    ),
    "a continuous range for a whole number": (
        lambda d: (d["trainer"]["data"].pop("crop"), d["search"].update({"data.crop": {"uniform": [32, 64]}})),
        "data.crop",
        ["whole number"],
    ),
    "ends of two ranges that exclude each other": (
        lambda d: (
            d["search"].update(
                {"views.scale_min": {"uniform": [0.3, 1.0]}, "views.scale_max": {"uniform": [0.8, 2.0]}}
            ),
            d.update(points=[]),
        ),
        "",
        ["scale_min", "above", "scale_max"],
    ),
    "a dimension that is also fixed": (
        lambda d: d["trainer"].update(optim={"lr": 0.1}),
        "optim.lr:",
        ["also fixed", "trainer.optim.lr: 0.1"],
    ),
    "a dimension of another method than the fixed one": (
        lambda d: d["trainer"].update(method={"name": "supervised"}),
        "method.teacher:",
        ["not a key of method supervised", "unimatch"],
    ),
    "a dimension of another method without only_if": (
        lambda d: (
            d["trainer"].update(method={}),
            d.update(points=[]),
            d["search"].update({"method.name": {"choice": ["unimatch", "supervised"]}}),
        ),
        "method.teacher:",
        ["not a key of method supervised", "only_if: {method.name: [unimatch]}"],
    ),
    "a point out of range": (
        lambda d: d["points"][0].update({"optim.lr": 5}),
        "optim.lr: 5",
        ["optim.lr = 5.0", "outside loguniform"],
    ),
    "a point with an unknown choice": (
        lambda d: d["points"][0].update({"interpixel.distance": "js"}),
        "js",
        ["'js'", "outside choice"],
    ),
    "an incomplete point without a default in the range": (
        lambda d: (d["points"][0].pop("optim.lr"), d["search"].update({"optim.lr": {"loguniform": [0.5, 8.0]}})),
        "points:",
        ["the points are incomplete", "--set points.0.optim.lr=2.0"],
    ),
    "a point with an inactive key": (
        lambda d: d["points"][0].update({"method.ema_decay": 0.99}),
        "method.ema_decay: 0.99",
        ["inactive", "method.teacher is 'ema'"],
    ),
    "a point with a key that is not searched": (
        lambda d: d["points"][0].update({"interpixel.tau": 0.5}),
        "interpixel.tau",
        ["not searched"],
    ),
    "no holdout": (lambda d: d["trainer"]["data"].pop("holdout"), "data:", ["holdout is missing", "images: 60"]),
    "a final evaluation in a search": (
        lambda d: d["trainer"].update(evaluation={"final": True}),
        "final",
        ["must not see the validation list"],
    ),
    "the validation set as the objective": (
        lambda d: d.update(objective={"metric": "final/miou"}),
        "final/miou",
        ["the validation list"],
    ),
    "an unknown objective": (
        lambda d: d.update(objective={"metric": "val/mIou"}),
        "val/mIou",
        ["val/mIou", '"val/miou"'],
    ),
    "grace beyond the full length": (lambda d: d.update(scheduler={"grace_epochs": 10}), "grace_epochs", ["10", "9"]),
    "rungs between evaluations": (
        lambda d: (d.update(scheduler={"grace_epochs": 3}), d["trainer"].update(evaluation={"every": 2})),
        "grace_epochs",
        ["not a multiple", "every = 2"],
    ),
    "a batch that the workers cannot divide": (
        lambda d: d.update(resources={"workers": 3}),
        "workers",
        ["batch_size = 4", "3 workers"],
    ),
    "half a GPU for two workers": (
        lambda d: d.update(resources={"workers": 2, "gpus_per_worker": 0.5}),
        "resources",
        ["0.5", "workers = 2"],
    ),
    "a grid over a continuous dimension": (
        lambda d: d.update(sampler={"name": "grid"}),
        "interpixel.alpha",
        ["continuous", "quniform"],
    ),
    "a prior outside its range": (
        lambda d: d["search"]["interpixel.alpha"].update(prior={"center": 20}),
        "center",
        ["interpixel.alpha", "prior.center = 20", "outside loguniform [0.01, 10.0]"],
    ),
    "a prior for no choice": (
        lambda d: d["search"]["interpixel.distance"].update(prior={"center": "kll"}),
        "center",
        ["'kll'", "choice ['kl', 'cr']", 'did you mean "kl"'],
    ),
    "a prior that is surer than sure": (
        lambda d: d["search"]["optim.lr"].update(prior={"center": 0.01, "spread": 0}),
        "spread",
        ["search.optim.lr.prior.spread", "greater than 0"],
    ),
    "a prior wider than its range": (
        lambda d: d["search"]["optim.lr"].update(prior={"center": 0.01, "spread": 1.5}),
        "spread",
        ["search.optim.lr.prior.spread", "less than or equal to 1"],
    ),
    "a prior without a center": (
        lambda d: d["search"]["optim.lr"].update(prior={"spread": 0.1}),
        "prior",
        ["search.optim.lr.prior.center", "missing"],
    ),
    "the same choice twice": (
        lambda d: d["search"].update({"interpixel.temperature": {"choice": [1, 1.0]}}),
        "interpixel.temperature",
        ["twice"],
    ),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_a_mistake_is_refused_with_its_line_and_what_to_do(tmp_path, case):
    change, at, wanted = BAD[case]
    data = base()
    change(data)
    path = write(tmp_path, data)
    message = error_of(path)
    assert str(path) in message
    for text in wanted:
        assert text in message, message
    if at:
        place = re.search(re.escape(str(path)) + r":(\d+)", message)
        assert place is not None, message
        assert int(place[1]) in range(line_of(path, at), line_of(path, at) + 2), message


def test_a_grid_without_early_stopping_may_repeat_seeds_and_evaluate_the_validation_set(tmp_path):
    data = base() | {"sampler": {"name": "grid"}, "scheduler": {"name": "none"}, "points": []}
    data["search"] = {"seed": {"choice": [0, 1, 2]}, "interpixel.alpha": {"choice": [0, 1]}}
    data["trainer"]["evaluation"] = {"final": True}
    assert load(write(tmp_path, data)).search["seed"].choice == (0, 1, 2)


def test_seeds_are_not_repeated_where_a_scheduler_stops_some_of_them(tmp_path):
    data = base() | {"sampler": {"name": "grid"}, "points": []}
    data["search"] = {"seed": {"choice": [0, 1, 2]}, "interpixel.alpha": {"choice": [0, 1]}}
    assert "set scheduler.name: none" in error_of(write(tmp_path, data))


SINGLE = {"seeds.init": {"choice": [0, 1]}, "seeds.order": {"choice": [0, 1]}, "data.draw.seed": {"choice": [0, 1]}}


def test_a_grid_may_cross_the_seeds_of_single_sources_of_chance(tmp_path):
    data = base() | {"sampler": {"name": "grid"}, "scheduler": {"name": "none"}, "points": [], "search": SINGLE}
    data["trainer"]["data"]["draw"] = {"labelled": 12}
    assert list(load(write(tmp_path, data)).search) == list(SINGLE)


def test_a_seed_that_draws_nothing_beside_the_seeds_of_single_sources_is_refused(tmp_path):
    data = base() | {"sampler": {"name": "grid"}, "scheduler": {"name": "none"}, "points": []}
    data["search"] = {**SINGLE, "seed": {"choice": [0, 1]}}
    data["trainer"]["data"]["draw"] = {"labelled": 12}
    assert "leave nothing for it to draw; remove it" in error_of(write(tmp_path, data))


def test_an_override_sets_a_key_of_the_training_config(tmp_path):
    study = load(write(tmp_path, base()), ["trainer.data.root=/data/VOC2012"])
    assert study.trainer["data"]["root"] == "/data/VOC2012"


def test_an_override_sets_a_number_written_as_1e_4(tmp_path):
    assert load(write(tmp_path, base()), ["trainer.optim.weight_decay=1e-3"]).trainer["optim"]["weight_decay"] == 1e-3


def test_an_override_sets_the_budget(tmp_path):
    assert load(write(tmp_path, base()), ["budget.trials=40"]).budget.trials == 40


def test_an_override_creates_a_section_that_the_file_lacks(tmp_path):
    assert load(write(tmp_path, base()), ["resources.concurrent=2"]).resources.concurrent == 2


def test_an_override_finds_a_dimension_although_its_name_has_dots(tmp_path):
    study = load(write(tmp_path, base()), ["search.interpixel.alpha.loguniform=[0.01,5]"])
    assert study.search["interpixel.alpha"].loguniform == (0.01, 5.0)


def test_an_override_of_the_kind_takes_the_place_of_the_old_kind(tmp_path):
    study = load(write(tmp_path, base()), ["search.interpixel.alpha.uniform=[0,2]"])
    assert study.search["interpixel.alpha"].kind == "uniform"


def test_an_override_adds_a_dimension_with_a_condition(tmp_path):
    overrides = [
        "search.method.ema_buffers={choice: [own, copy]}",
        "search.method.ema_buffers.only_if.method.teacher=ema",
    ]
    study = load(write(tmp_path, base()), overrides)
    assert study.search["method.ema_buffers"].only_if == {"method.teacher": "ema"}


def test_an_override_sets_a_key_of_a_prior_and_leaves_the_others(tmp_path):
    data = base()
    data["search"]["optim.lr"]["prior"] = {"center": 0.01, "spread": 0.3}
    study = load(write(tmp_path, data), ["search.optim.lr.prior.center=0.02"])
    assert study.search["optim.lr"].prior == Prior(center=0.02, spread=0.3)


def test_an_override_with_null_removes_a_prior(tmp_path):
    data = base()
    data["search"]["optim.lr"]["prior"] = {"center": 0.01}
    assert load(write(tmp_path, data), ["search.optim.lr.prior=null"]).search["optim.lr"].prior is None


def test_a_priors_center_takes_the_type_of_its_leaf(tmp_path):
    data = base()
    data["search"]["interpixel.alpha"]["prior"] = {"center": 1}
    study = load(write(tmp_path, data))
    assert type(study.search["interpixel.alpha"].prior.center) is float


def test_an_override_with_null_removes_a_dimension_also_from_the_points(tmp_path):
    study = load(write(tmp_path, base()), ["search.optim.lr=null", "trainer.optim.lr=0.2"])
    assert "optim.lr" not in study.search
    assert "optim.lr" not in study.points[0]


def test_an_override_sets_a_key_of_a_point(tmp_path):
    assert load(write(tmp_path, base()), ["points.0.optim.lr=0.02"]).points[0]["optim.lr"] == 0.02


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("budget.trials", ["dotted.key=value"]),
        ("bugdet.trials=3", ["bugdet", "budget"]),
        ("optim.lr=3", ["trainer.optim.lr"]),
        ("search.interpixel.alhpa.uniform=[0,1]", ["interpixel.alpha"]),
        ("search.interpixel.tau.uniform=[0,1.5]", ["--set search.interpixel.tau.uniform=[0,1.5]", "refuses 1.5"]),
        ("trainer.optim.momentum=fast", ["optim.momentum", "fast", "--set trainer.optim.momentum=fast"]),
        ("budget.trials=[", ["not a YAML value"]),
        ("points.7.optim.lr=1", ["no point 7", "has 1"]),
    ],
)
def test_a_wrong_override_is_refused_by_name(tmp_path, override, wanted):
    message = error_of(write(tmp_path, base()), override)
    for text in wanted:
        assert text in message, message
