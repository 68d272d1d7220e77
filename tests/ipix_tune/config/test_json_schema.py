import json
import math
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from ipix_tune.cli.schema import FILE
from ipix_tune.config.dead_dimensions import check_dead_dimensions
from ipix_tune.config.json_schema import schema_text, study_schema
from ipix_tune.config.load_study import load
from ipix_tune.config.search_space import SearchSpace
from tests.ipix_tune.studies import base
from trainers.common.config_keys import get_dotted
from trainers.methods.registry import BUILDERS

SPACES = Path(__file__).parents[3] / "search_spaces"
STUDIES = sorted(SPACES.glob("*.yaml"))
ABLATIONS = sorted((SPACES / "ablations").glob("*.yaml"))

COMMON = {
    "interpixel.alpha": 1 / 16,  # alpha = 1 at t = 4, as alpha / t^2
    "interpixel.temperature": 4,
    "interpixel.tau": 0.8,
    "interpixel.distance": "kl",
}
UNIMATCH = COMMON | {"interpixel.domain": "omega", "method.teacher": "shared"}
PAPER = {
    "digits": COMMON,
    "digits_confirm": COMMON,
    "methods": {"interpixel.alpha": 1 / 16, "method.name": "unimatch", "method.conf_thresh": 0.95},
    "voc": UNIMATCH | {"interpixel.warmup_fraction": 5 / 80, "method.conf_thresh": 0.95, "optim.lr": 0.0005},
    "voc_dinov2": COMMON
    | {
        "interpixel.domain": "omega",
        "interpixel.warmup_fraction": 5 / 80,
        "method.name": "unimatch_v2",
        "method.conf_thresh": 0.95,
        "method.ema_decay": 0.996,
        "model.name": "dinov2_dpt",
        "optim.lr": 5e-6,
        "optim.head_lr_multiplier": 40,
        "optim.weight_decay": 0.01,
        "data.crop": 518,
        "schedule.epochs": 60,
    },
    "cityscapes": UNIMATCH | {"interpixel.warmup_fraction": 30 / 240, "method.conf_thresh": 0, "optim.lr": 0.0025},
}


def errors(data):
    validator = jsonschema.Draft202012Validator(study_schema())
    return [error.message for error in validator.iter_errors(data)]


def test_the_schema_on_disk_is_the_one_that_the_models_give():
    assert FILE.read_text() == schema_text(), "run: ipix-tune schema"


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(json.loads(schema_text()))


def test_the_schema_accepts_a_study_whose_trainer_section_is_partial():
    data = base()
    del data["trainer"]["data"]["crop"]
    assert errors(data) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(bugdet={"trials": 1}),
        lambda d: d.pop("budget"),
        lambda d: d["trainer"].update(optm={}),
        lambda d: d["trainer"].update(optim={"lrr": 1}),
        lambda d: d["trainer"].update(optim={"momentum": 1.5}),
        lambda d: d["search"].update({"optim.lrr": {"uniform": [0, 1]}}),
        lambda d: d["search"].update({"optim.lr": {"uniform": [0, 1], "choice": [1]}}),
        lambda d: d["search"].update({"optim.lr": {}}),
        lambda d: d["points"][0].update({"optim.lrr": 1}),
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(change):
    data = base()
    change(data)
    assert errors(data) != []


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_shipped_study_agrees_with_the_schema_that_it_names(path):
    first = path.read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=study.schema.json"
    assert errors(YAML(typ="safe").load(path)) == []


SEEDS = SPACES / "digits_seeds.yaml"
"""It asks about seeds and not about parameters, so it begins with no point."""


def test_the_study_of_seeds_is_a_grid_whose_trials_are_all_combinations():
    study = load(SEEDS)
    assert set(study.search) == {"method.name", "data.draw.seed", "seeds.init", "seeds.order"}
    assert len(SearchSpace(study).grid_points()) == study.budget.trials


@pytest.mark.parametrize("path", [path for path in STUDIES if path != SEEDS], ids=lambda path: path.stem)
def test_a_shipped_study_is_valid_and_starts_with_the_papers_defaults(path):
    study = load(path)
    config = SearchSpace(study).to_config(study.points[0]).model_dump(mode="json")
    assert {name: get_dotted(config, name) for name in PAPER[path.stem]} == PAPER[path.stem]
    assert study.trainer["interpixel"]["t2_scale"] is True


@pytest.mark.parametrize("path", [*STUDIES, *ABLATIONS], ids=lambda path: path.stem)
def test_a_shipped_study_searches_no_key_that_can_change_nothing(path):
    assert check_dead_dimensions(SearchSpace(load(path))) == []


@pytest.mark.parametrize("name", ["voc", "voc_dinov2", "cityscapes"])
def test_the_shipped_studies_second_point_is_the_papers_correlation_without_the_factor(name):
    study = load(SPACES / f"{name}.yaml")
    config = SearchSpace(study).to_config(study.points[1]).interpixel
    assert (config.distance, config.alpha, config.t2_scale) == ("cr", 1, False)


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda path: path.stem)
def test_an_ablation_is_a_valid_grid_of_values_and_three_seeds(path):
    assert path.read_text().splitlines()[0] == "# yaml-language-server: $schema=../study.schema.json"
    assert errors(YAML(typ="safe").load(path)) == []
    study = load(path)
    assert study.search["seed"].choice == (0, 1, 2)
    assert study.budget.trials == math.prod(len(one.choice) for one in study.search.values())


def test_the_methods_study_tries_every_method_once():
    study = load(SPACES / "methods.yaml")
    methods = study.search["method.name"].choice
    assert sorted(point["method.name"] for point in study.points) == sorted(methods)
    assert set(methods) == set(BUILDERS)


@pytest.mark.parametrize("name", ["voc", "cityscapes"])
def test_a_shipped_study_fixes_the_papers_settings(name):
    trainer = load(SPACES / f"{name}.yaml").trainer
    paper = {"voc": (321, 4, 80, 10), "cityscapes": (801, 4, 240, 1)}[name]
    data, schedule, optim = trainer["data"], trainer["schedule"], trainer["optim"]
    assert (data["crop"], data["batch_size"], schedule["epochs"], optim["head_lr_multiplier"]) == paper
    assert (trainer["model"]["upsample"], trainer["method"]["name"]) == ("nearest", "unimatch")
