import json
import sys

import pytest
import wandb
from typer.testing import CliRunner

from ipix_tune.cli.wandb_workspace import app
from ipix_tune.config.load_study import load
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.study.plan import make_plan
from ipix_tune.tracking.runs import Tracker
from ipix_tune.tracking.workspace import save, specification, workspace
from tests.ipix_tune.studies import base, write
from tests.ipix_tune.wandb_server import serving, variables_of
from trainers.common.errors import UserError

needs_package = pytest.mark.skipif("not __import__('importlib').util.find_spec('wandb_workspaces')")


def heights(study):
    plan = make_plan(study)
    return {"rungs": plan.rungs, "max_epochs": plan.max_epochs}


def sections_of(study):
    spec = specification(workspace(study, entity="lab", group="small", **heights(study)))
    return {section["name"]: section["panels"] for section in spec["section"]["panelBankConfig"]["sections"]}


@pytest.fixture
def study():
    return StudyConfig.model_validate(base())


@needs_package
def test_the_workspace_has_the_objective_the_parameters_kl_against_cr_and_the_rungs(study):
    found = sections_of(study)
    kinds = {name: [panel["viewType"] for panel in panels] for name, panels in found.items()}
    assert kinds == {
        "Objective": ["Run History Line Plot"],
        "Parameters": ["Parallel Coordinates Plot", "Parameter Importance"],
        "KL against CR": ["Run History Line Plot", "Bar Chart"],
        "Rungs": ["Parallel Coordinates Plot", "Scatter Plot", "Scatter Plot"],
    }


@needs_package
@pytest.mark.parametrize(("seeds", "said"), [({}, "1 seed each"), ({"seed": {"choice": [0, 1, 2]}}, "3 seeds each")])
def test_the_panel_of_the_curves_counts_the_seeds_that_the_study_searches(seeds, said):
    grid = {"sampler": {"name": "grid"}, "scheduler": {"name": "none"}, "points": []}
    search = {"interpixel.distance": {"choice": ["kl", "cr"]}, **seeds}
    (panel,) = sections_of(StudyConfig.model_validate(base() | grid | {"search": search}))["Objective"]
    assert panel["config"]["chartTitle"] == f"val/miou by epoch, {said}"


@needs_package
def test_every_searched_leaf_is_a_column_where_runs_log_it(study):
    columns = sections_of(study)["Parameters"][0]["config"]["columns"]
    assert [column["accessor"] for column in columns] == [
        *(f"config:trainer.value.{name}" for name in study.search),
        "summary:val/miou",
    ]
    assert [column["accessor"] for column in columns if column.get("log")] == [
        "config:trainer.value.interpixel.alpha",
        "config:trainer.value.optim.lr",
    ]


@needs_package
def test_kl_and_cr_are_groups_and_only_where_the_distance_is_searched(study):
    for panel in sections_of(study)["KL against CR"]:
        assert panel["config"]["groupBy"] == "trainer.value.interpixel.distance"
    data = base()
    del data["search"]["interpixel.distance"], data["points"]
    assert "KL against CR" not in sections_of(StudyConfig.model_validate(data))


@needs_package
def test_every_rung_is_a_column_whose_score_the_runs_log(study, tmp_path):
    from analysis.ingest.wandb_files import read_folder

    columns = sections_of(study)["Rungs"][0]["config"]["columns"]
    facts = {"space": {}, "scheduler": {"rungs": [1, 3, 9], "max_epochs": 9}, "classes": [], "origin": {}}
    tracker = Tracker(tmp_path, study.model_copy(update={"name": "rungs-in-the-summary"}), facts)
    tracker.start("t0000", values={}, trainer={"seed": 0})
    for epoch in range(1, 10):
        tracker.log("t0000", epoch=epoch, metrics={"val/miou": float(epoch)})
    tracker.finish("t0000", state="complete", epochs=9)
    tracker.close()
    (run,), _ = read_folder(tmp_path / "wandb")
    logged = {f"summary:{name}": value for name, value in run.summary.items() if name.startswith("score/")}
    assert logged == {"summary:score/1": 1.0, "summary:score/3": 3.0, "summary:score/9": 9.0}
    assert [column["accessor"] for column in columns] == list(logged)


@needs_package
def test_without_a_scheduler_there_are_no_rungs(study):
    assert "Rungs" not in sections_of(StudyConfig.model_validate({**base(), "scheduler": {"name": "none"}}))


@needs_package
@pytest.mark.parametrize("name", ["digits", "voc", "cityscapes"])
def test_every_shipped_study_has_a_workspace_of_its_own_runs(name):
    study = load(f"search_spaces/{name}.yaml")
    spec = specification(workspace(study, entity="lab", group=name, **heights(study)))
    (runs,) = spec["section"]["runSets"]
    assert f'"{name}"' in json.dumps(runs["filters"])


@needs_package
def test_a_workspace_that_is_saved_again_replaces_the_one_before(tmp_path, study, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    with serving() as (address, asked):
        monkeypatch.setenv("WANDB_BASE_URL", address)
        wandb.teardown()
        first, second = save(tmp_path, study, **heights(study)), save(tmp_path, study, **heights(study))
        wandb.teardown()
    made, again = variables_of(asked, "upsertView")
    assert json.loads(made["spec"])["section"]["panelBankConfig"]["sections"][0]["name"] == "Objective"
    assert (made["entityName"], made["projectName"], made["displayName"]) == ("lab", "ipix-tune", "small")
    assert "id" not in made
    assert again["id"] == "Vmlldw=="
    assert again["name"] == made["name"]
    assert first == second
    assert first.startswith(f"{address}/lab/ipix-tune?nw=")


@needs_package
def test_the_specification_can_be_written_without_a_server(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    write(tmp_path, base())
    done = CliRunner().invoke(app, [str(tmp_path), "--out", str(tmp_path / "spec.json")], catch_exceptions=False)
    assert done.exit_code == 0
    assert json.loads((tmp_path / "spec.json").read_text())["section"]["panelBankConfig"]["sections"]


@needs_package
def test_with_wandb_off_it_says_so(tmp_path, study, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(UserError, match="WANDB_MODE is offline"):
        save(tmp_path, study, **heights(study))


@needs_package
def test_without_a_server_it_says_so(tmp_path, study, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    wandb.teardown()
    with pytest.raises(UserError, match="no W&B server answers"):
        save(tmp_path, study, **heights(study))
    wandb.teardown()


def test_without_the_package_it_says_what_to_install(study, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(UserError, match=r"pip install 'ipix-tune\[workspaces\]'"):
        workspace(study, entity="lab", group="small", **heights(study))


def test_what_is_no_studys_folder_is_refused_with_exit_code_2(tmp_path, capsys):
    from ipix_tune.cli.exit_codes import run

    with pytest.raises(SystemExit) as ended:
        run(app, args=[str(tmp_path)], prog_name="ipix-tune wandb-workspace")
    assert ended.value.code == 2
    assert "no study here" in capsys.readouterr().err
