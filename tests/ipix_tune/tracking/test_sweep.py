import json
import os

import pytest
import wandb
from jsonschema import Draft7Validator
from ruamel.yaml import YAML

from ipix_tune.config.dimension_config import Dimension
from ipix_tune.config.load_study import load
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.tracking.runs import Tracker
from ipix_tune.tracking.sweep import FILE, parameter, registered, sweep_config
from tests.ipix_tune.studies import base
from tests.ipix_tune.wandb_server import serving, variables_of

FACTS = {"space": {}, "scheduler": {}, "classes": [], "origin": {}}


@pytest.fixture
def study(request):
    """A study with a name of its own: the client refuses a run id that its process has used before."""
    return StudyConfig.model_validate({**base(), "name": request.node.name[:60]})


@pytest.fixture
def online(monkeypatch):
    """Sets the client up against a server; back to what it was afterwards."""

    def use(address):
        monkeypatch.setenv("WANDB_BASE_URL", address)
        monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
        monkeypatch.setenv("WANDB_MODE", "online")
        wandb.teardown()

    yield use
    wandb.teardown()


def run_trials(folder, study, *keys, phase="search"):
    tracker = Tracker(folder, study, FACTS, phase=phase)
    for key in keys:
        tracker.start(key, values={}, trainer={"seed": 0})
        tracker.log(key, epoch=1, metrics={"val/miou": 1.0})
        tracker.finish(key, state="complete", epochs=1)
    tracker.close()
    return tracker


def bounds(distribution, **more):
    return {
        "type": "object",
        "properties": {"distribution": {"const": distribution}, "min": {"type": "number"}, "max": {"type": "number"}}
        | {name: {"type": "number", "exclusiveMinimum": 0} for name in more},
        "required": ["distribution", "min", "max", *more],
        "additionalProperties": False,
    }


PARAMETER = {
    "oneOf": [
        bounds("uniform"),
        bounds("log_uniform_values"),
        bounds("int_uniform"),
        bounds("q_uniform", q=1),
        bounds("q_log_uniform_values", q=1),
        {
            "type": "object",
            "properties": {"distribution": {"const": "categorical"}, "values": {"type": "array", "minItems": 1}},
            "required": ["distribution", "values"],
            "additionalProperties": False,
        },
    ]
}
"""What W&B documents of the parameters that are used here. Its own schema is in the package `sweeps`, which wants numpy
below 2; the test below reads it where that is installed."""

KINDS = [
    {"uniform": [0, 0.98]},
    {"loguniform": [0.01, 10]},
    {"quniform": [0, 1, 0.25]},
    {"int": [1, 8]},
    {"logint": [1, 64]},
    {"choice": ["kl", "cr"]},
    {"choice": [True, None, 0.5]},
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: next(iter(kind)))
def test_every_kind_of_dimension_has_a_parameter_as_wandb_documents_it(kind):
    found = parameter(Dimension.model_validate(kind))
    Draft7Validator(PARAMETER).validate(json.loads(json.dumps(found)))
    given = next(iter(kind.values()))
    assert found.get("values", [found.get("min"), found.get("max")]) == (given if "choice" in kind else given[:2])


@pytest.mark.parametrize("name", ["digits", "digits_confirm", "voc", "voc_dinov2", "cityscapes"])
def test_wandbs_own_schema_takes_every_shipped_study(name):
    schema = pytest.importorskip("sweeps.config", reason="pip install --no-deps sweeps jsonref", exc_type=ImportError)
    config = json.loads(json.dumps(sweep_config(load(f"search_spaces/{name}.yaml"))))
    assert schema.schema_violations_from_proposed_config(config) == []
    broken = {**config, "parameters": {"a": {"distribution": "uniform", "min": 0}}}
    assert schema.schema_violations_from_proposed_config(broken)


def test_parameters_are_nested_as_the_logged_config_is(study):
    def leaves(level, config, trail=()):
        for name, below in level.items():
            assert name in config, (*trail, name)
            if "parameters" in below:
                yield from leaves(below["parameters"], config[name], (*trail, name))
            else:
                yield ".".join((*trail, name))

    training = SearchSpace(study).to_config(study.points[0]).model_dump(mode="json")
    found = sweep_config(study)["parameters"]
    assert set(leaves(found, {"trainer": training})) == {f"trainer.{name}" for name in study.search}


def test_the_goal_is_the_objectives(study):
    assert sweep_config(study)["metric"] == {"name": "val/miou", "goal": "maximize"}
    data = {**base(), "objective": {"metric": "val/loss", "mode": "min"}}
    assert sweep_config(StudyConfig.model_validate(data))["metric"] == {"name": "val/loss", "goal": "minimize"}


def test_a_study_registers_one_sweep_and_all_its_runs_join_it(tmp_path, study, online):
    with serving() as (address, asked):
        online(address)
        tracker = run_trials(tmp_path, study, "t0000", "t0001")
        assert (tracker.failures, tracker.unsent) == (0, False)
        (made,) = variables_of(asked, "upsertSweep")
        assert YAML(typ="safe").load(made["config"]) == json.loads(json.dumps(sweep_config(study)))
        joined = {(run["name"], run["sweep"]) for run in variables_of(asked, "upsertBucket") if run.get("sweep")}
        assert joined == {(f"{study.name}-t0000", "sw33p"), (f"{study.name}-t0001", "sw33p")}
        wandb.teardown()


def test_a_resumed_study_goes_on_in_its_sweep(tmp_path, study, online):
    with serving() as (address, asked):
        online(address)
        run_trials(tmp_path, study, "t0000")
        run_trials(tmp_path, study, "t0001")
        assert len(variables_of(asked, "upsertSweep")) == 1
        assert json.loads((tmp_path / FILE).read_text())["id"] == "sw33p"
        assert f"{study.name}-t0001" in {
            run["name"] for run in variables_of(asked, "upsertBucket") if run.get("sweep") == "sw33p"
        }
        wandb.teardown()


def test_a_study_that_goes_on_in_another_project_has_another_sweep_there(tmp_path, study, online):
    other = study.model_copy(update={"logging": study.logging.model_copy(update={"project": "elsewhere"})})
    with serving() as (address, asked):
        online(address)
        run_trials(tmp_path, study, "t0000")
        run_trials(tmp_path, other, "t0001")
        assert [made["projectName"] for made in variables_of(asked, "upsertSweep")] == ["ipix-tune", "elsewhere"]
        wandb.teardown()


def test_runs_of_the_confirmation_join_no_sweep(tmp_path, study, online):
    with serving() as (address, asked):
        online(address)
        run_trials(tmp_path, study, "t0000", phase="confirm")
        assert not variables_of(asked, "upsertSweep")
        assert variables_of(asked, "upsertBucket")
        assert not any(run.get("sweep") for run in variables_of(asked, "upsertBucket"))
        wandb.teardown()


def test_a_server_that_makes_no_sweep_still_takes_the_runs(tmp_path, study, online, caplog):
    with serving(refuse=["upsertSweep"]) as (address, asked):
        online(address)
        tracker = run_trials(tmp_path, study, "t0000", "t0001")
        assert (tracker.failures, tracker.unsent) == (0, False)
        assert {run["name"] for run in variables_of(asked, "upsertBucket")} == {
            f"{study.name}-t0000",
            f"{study.name}-t0001",
        }
        assert sum("makes no sweep" in record.message for record in caplog.records) == 1
        assert not (tmp_path / FILE).exists()
        wandb.teardown()


def test_a_server_that_does_not_answer_is_not_waited_for(tmp_path, study, online):
    with serving(hang=["upsertSweep"]) as (address, _):
        online(address)
        with pytest.raises(TimeoutError):
            registered(tmp_path, study, timeout_s=3)
        assert not (tmp_path / FILE).exists()


def test_registering_leaves_the_environment_as_it_was(tmp_path, study, online):
    with serving() as (address, _):
        online(address)
        run_trials(tmp_path, study, "t0000")
        assert "WANDB_PROJECT" not in os.environ
        assert "WANDB_ENTITY" not in os.environ
        wandb.teardown()
