import shutil

import pyarrow as pa
import pytest

from analysis.columns import HISTORY_COLUMNS, RUN_COLUMNS
from analysis.errors import LogsError
from analysis.ingest import tables
from analysis.ingest.logged_run import LoggedRun
from analysis.ingest.wandb_files import read_folder


@pytest.fixture(scope="module")
def made(study_dir):
    return tables.build_tables(read_folder(study_dir / "wandb")[0])


def test_the_tables_have_the_columns_of_the_contract(made):
    assert made.runs.column_names[: len(RUN_COLUMNS)] == list(RUN_COLUMNS)
    assert made.history.column_names[: len(HISTORY_COLUMNS)] == list(HISTORY_COLUMNS)


def test_searched_leaves_have_columns_of_their_own_type(made):
    assert made.runs.schema.field("param.interpixel.alpha").type == pa.float64()
    assert made.runs.schema.field("param.interpixel.distance").type == pa.string()


def test_an_inactive_parameter_is_null(made, trials):
    column = made.runs["param.method.ema_decay"].to_pylist()
    assert column == [trial["values"].get("method.ema_decay") for trial in trials]


def test_the_objective_is_the_last_score_and_epochs_their_number(made, trials):
    assert made.runs["objective"].to_pylist() == [trial["curve"][max(trial["curve"])] for trial in trials]
    assert made.runs["epochs"].to_pylist() == [max(trial["curve"]) for trial in trials]


def test_saved_tables_load_as_they_were(made, tmp_path):
    tables.save(made, tmp_path)
    loaded = tables.load(tmp_path)
    assert loaded.runs.equals(made.runs)
    assert loaded.history.equals(made.history)
    assert loaded.facts == made.facts


def test_tables_of_another_version_are_refused(made, tmp_path, monkeypatch):
    tables.save(made, tmp_path)
    monkeypatch.setattr(tables, "SCHEMA_VERSION", 99)
    with pytest.raises(LogsError, match="schema version 1, expected 99"):
        tables.load(tmp_path)


def test_missing_tables_say_how_to_make_them(tmp_path):
    with pytest.raises(LogsError, match="ipix-tune report"):
        tables.load(tmp_path)


def test_a_run_without_an_end_is_crashed_when_it_has_long_been_silent(killed_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ALIVE_S", 0)
    (run,), _ = read_folder(killed_dir / "wandb")
    assert tables.build_tables([run]).runs["state"].to_pylist() == ["crashed"]


def test_a_run_without_an_end_is_running_while_it_is_young(killed_dir, monkeypatch):
    monkeypatch.setattr(tables, "ALIVE_S", 1e6)  # other tests may have taken long since the folder was made
    (run,), _ = read_folder(killed_dir / "wandb")
    assert tables.build_tables([run]).runs["state"].to_pylist() == ["running"]


def test_runs_of_other_programs_are_left_out(study_dir):
    runs, _ = read_folder(study_dir / "wandb")
    foreign = LoggedRun(run_id="other", config={"lr": 1})
    assert len(tables.build_tables([*runs, foreign]).runs) == len(runs)
    with pytest.raises(LogsError, match="no run in the logs"):
        tables.build_tables([foreign])


def test_reading_does_not_need_anything_but_the_wandb_folder(study_dir, tmp_path):
    shutil.copytree(study_dir / "wandb", tmp_path / "wandb")
    assert len(read_folder(tmp_path / "wandb")[0]) == 24
