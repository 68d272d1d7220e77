"""A study from Python: what a notebook does."""

import csv
import html
import io
import math
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from matplotlib.figure import Figure
from rich.console import Console

import ipix_tune
from ipix_tune.execution.phase import Outcome
from tests.ipix_tune.studies import base, write
from trainers.common.errors import ConfigError, UserError
from trainers.common.yaml_file import load
from trainers.config import TrainConfig

ROOT = Path(__file__).parents[3]


def data(tmp_path, **changes):
    return {**base(), "storage": str(tmp_path / "studies"), "scheduler": {"name": "none"}, **changes}


def score_of(trial):
    return 50 + 10 * math.log10(trial.config.optim.lr) + trial.config.interpixel.alpha


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A study whose trials a loop of somebody's own has scored, and that loop's scores by key."""
    place, scores = tmp_path_factory.mktemp("own"), {}
    with ipix_tune.Study(data(place, budget={"trials": 6})) as study:
        while (trial := study.ask()) is not None:
            scores[trial.key] = score_of(trial)
            study.tell(trial, scores[trial.key])
    return study, scores


def test_importing_the_package_loads_none_of_its_libraries():
    code = "import ipix_tune, sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "ray", "optuna", "wandb", "pydantic"} & set(loaded)


def test_every_public_name_is_there_with_a_docstring():
    for name in ipix_tune.__all__:
        assert getattr(ipix_tune, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'Studdy'"):
        ipix_tune.Studdy  # noqa: B018


def test_a_study_is_the_same_from_a_file_and_from_a_mapping(tmp_path):
    file = write(tmp_path, base())
    assert ipix_tune.Study(file).config == ipix_tune.Study(base()).config


def test_overrides_are_laid_over_it_and_checked():
    assert ipix_tune.Study(base(), {"budget.trials": 3}).config.budget.trials == 3
    with pytest.raises(ConfigError, match='did you mean "trials"'):
        ipix_tune.Study(base(), {"budget.trails": 3})


@pytest.mark.usefixtures("estimated_once")
def test_the_plan_is_text(tmp_path):
    text = ipix_tune.Study(data(tmp_path)).plan()
    assert "trials" in text
    assert "12 labelled" in text


def test_every_trial_of_the_budget_is_asked_once_and_its_score_is_in_the_tables(searched):
    study, scores = searched
    runs = study.results().runs.to_pylist()
    assert {f"t{row['trial']:04d}": row["objective"] for row in runs} == pytest.approx(scores)
    assert {row["state"] for row in runs} == {"complete"}


def test_the_best_config_is_that_of_the_best_score(searched):
    study, scores = searched
    found = study.results()
    assert isinstance(found.best_config, TrainConfig)
    best = max(scores, key=scores.get)
    assert found.answer.best.number == int(best[1:])
    assert found.verdicts == ()


def test_tables_are_arrow_and_pandas_and_figures_are_matplotlibs(searched):
    found = searched[0].results()
    assert isinstance(found.history, pa.Table)
    assert len(found.to_pandas()) == 6
    figures = found.figures()
    assert {"incumbent", "learning curves", "parameters"} <= figures.keys()
    assert all(isinstance(figure, Figure) for figure in figures.values())


def test_a_notebook_shows_the_answer_and_the_best_configurations(searched):
    page = searched[0].results()._repr_html_()
    assert "Provisional winner" in page
    assert page.count("<tr>") == 7


def test_a_confirmed_study_shows_its_verdicts_and_their_figure():
    found = ipix_tune.open_study(ROOT / "docs" / "example-report")
    with (ROOT / "docs" / "example-report" / "tables" / "verdicts.csv").open(encoding="utf-8") as file:
        listed = [(row["first"], row["second"], row["verdict"]) for row in csv.DictReader(file)]
    assert [(one.arm, one.other, one.kind) for one in found.verdicts] == listed
    assert all(html.escape(one.words) in found._repr_html_() for one in found.verdicts)
    assert isinstance(found.figures()["confirmation"], Figure)


def test_the_exported_file_has_the_best_config(searched, tmp_path):
    found = searched[0].results()
    written = found.export(tmp_path / "best.yaml")
    but = {"provenance", "evaluation"}  # the final training is scored on the validation list, and says where it is from
    assert load(written, TrainConfig).model_dump(exclude=but) == found.best_config.model_dump(exclude=but)
    with pytest.raises(UserError, match="--force"):
        found.export(written)


@pytest.mark.slow
def test_the_report_is_made_where_it_is_asked_for(searched, tmp_path):
    page = searched[0].results().report(tmp_path / "page")
    assert page == tmp_path / "page" / "report.html"
    assert "Provisional winner" in page.read_text(encoding="utf-8")


def test_run_and_confirm_hand_over_to_the_functions_of_the_command_line(searched, tmp_path, monkeypatch):
    study, given = ipix_tune.Study(data(tmp_path)), []
    done = Outcome(
        folder=searched[0].folder,
        headline="",
        by_user=False,
        cut_short=None,
        converged=None,
        scored=6,
        needed=frozenset(),
    )

    def taken(name):
        def call(config, *, resume, address, console):
            given.append((name, config, resume, address, console.file))
            return done

        return call

    shown = Console(file=io.StringIO())
    monkeypatch.setattr("ipix_tune.study.run_search.run", taken("search"))
    monkeypatch.setattr("ipix_tune.study.run_confirm.confirm", taken("confirmation"))
    monkeypatch.setattr("ipix_tune.study.run_search.finish", lambda config, outcome, *, console: outcome is done)
    assert len(study.run(resume=True, address="auto", console=shown).to_pandas()) == 6
    assert len(study.confirm(console=shown).to_pandas()) == 6
    assert given == [
        ("search", study.config, True, "auto", shown.file),
        ("confirmation", study.config, False, None, shown.file),
    ]


def test_a_study_that_was_closed_goes_on_where_it_was(tmp_path):
    with ipix_tune.Study(data(tmp_path, budget={"trials": 3})) as study:
        first = study.ask()
        assert first.report(1, 40.0)
    with ipix_tune.Study(data(tmp_path, budget={"trials": 3})) as study:
        again = study.ask()
        assert (again.key, again.values) == (first.key, first.values)
        study.tell(again, 60.0)
        others = [study.ask(), study.ask()]
        assert study.ask() is None
        for trial in others:
            study.tell(trial, error="the machine was needed")
    rows = {row["trial"]: row for row in study.results().runs.to_pylist()}
    assert [rows[number]["state"] for number in range(3)] == ["complete", "failed", "failed"]
    assert rows[1]["error"] == "the machine was needed"


def test_early_stopping_is_that_of_the_study(tmp_path):
    asha = {"name": "asha", "grace_epochs": 1, "reduction": 3}
    with ipix_tune.Study(data(tmp_path, budget={"trials": 4}, scheduler=asha)) as study:
        goes_on = []
        for score in (50.0, 40.0, 60.0, 30.0):
            trial = study.ask()
            goes_on.append(trial.report(1, score))
            study.tell(trial)
    assert goes_on == [True, False, True, False]


def test_the_second_objective_is_one_of_the_metrics_that_are_reported(tmp_path):
    two = {"metric": "val/miou", "second_objective": {"metric": "time/step_ms", "mode": "min"}}
    with ipix_tune.Study(data(tmp_path, budget={"trials": 1}, objective=two)) as study:
        trial = study.ask()
        trial.report(9, 60.0, **{"time/step_ms": 30.0})
        study.tell(trial)
    (row,) = study.results().runs.to_pylist()
    assert (row["state"], row["objective"]) == ("complete", 60.0)


def test_what_cannot_be_told_is_refused_by_name(tmp_path):
    with ipix_tune.Study(data(tmp_path, budget={"trials": 2})) as study:
        trial = study.ask()
        with pytest.raises(ValueError, match="t0000: give its score"):
            study.tell(trial)
        with pytest.raises(ValueError, match="epoch 99: allowed are 1 to 9"):
            trial.report(99, 1.0)
        study.tell(trial, 1.0)
        with pytest.raises(ValueError, match="t0000 is not open"):
            study.tell(trial, 2.0)
    with pytest.raises(ValueError, match="without ask"):
        study.tell(trial, 2.0)


def test_object_storage_is_refused_by_ask_and_not_left_out_in_silence():
    study = ipix_tune.Study(base(), {"storage": "s3://bucket/studies"})
    with pytest.raises(UserError, match=r"storage: s3://bucket/studies: ask and tell writes into a folder"):
        study.ask()


def test_a_study_whose_begin_failed_lets_go_of_its_folder(tmp_path, monkeypatch):
    study = ipix_tune.Study(data(tmp_path, budget={"trials": 1}))
    with monkeypatch.context() as broken:
        broken.setattr("ipix_tune.study.logged_facts.facts_of_search", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            study.ask()
    assert study.ask() is not None
    study.close()


def test_a_folder_that_is_no_study_is_named(tmp_path):
    with pytest.raises(UserError, match="there is no study folder"):
        ipix_tune.open_study(tmp_path / "voc")
