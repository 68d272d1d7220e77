import math
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.ingest.tables import run_row
from analysis.ingest.wandb_files import SUMMARY, read_file, read_folder
from tests.analysis.conftest import log_in_another_process, log_trials, make_trials


def run_file(folder, number):
    return next(folder.glob(f"wandb/offline-run-*-t{number:04d}/run-*.wandb"))


def test_every_run_and_epoch_that_was_logged_is_read_back(study_dir, trials):
    runs, problems = read_folder(study_dir / "wandb")
    assert problems == []
    assert {run.run_id: {epoch: row["val/miou"] for epoch, row in run.history.items()} for run in runs} == {
        f"synthetic-t{trial['number']:04d}": trial["curve"] for trial in trials
    }


def test_config_and_summary_come_back_as_they_were_logged(study_dir, trials):
    run, _ = read_file(run_file(study_dir, 4))
    assert run.config["search"] == trials[4]["values"]
    assert run.summary["state"] == "failed"
    assert run.summary["error"] == trials[4]["error"]
    assert (run.group, run.job_type, run.ended) == ("synthetic", "search", True)


def test_every_name_that_a_row_takes_from_the_summary_is_one_for_which_it_is_read(study_dir):
    asked = set()

    class Noting(dict):
        def get(self, name, default=None):
            asked.add(name.encode())
            return super().get(name, default)

    run, _ = read_file(run_file(study_dir, 4))
    run.summary = Noting(run.summary)
    run_row(run)
    assert {b"state", b"error"} <= asked <= set(SUMMARY)


def test_a_run_whose_process_was_killed_is_read_up_to_the_last_flushed_epoch(killed_dir):
    (run,), _ = read_folder(killed_dir / "wandb")
    assert sorted(run.history) == [1, 2, 3]
    assert not run.ended
    assert "state" not in run.summary


@given(share=st.floats(0, 1))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_cut_anywhere_gives_a_prefix_and_is_named(study_dir, tmp_path, trials, share):
    whole = run_file(study_dir, 2).read_bytes()
    cut = tmp_path / "run-cut.wandb"
    cut.write_bytes(whole[: math.floor(share * (len(whole) - 1))])
    run, problem = read_file(cut)
    read = {} if run is None else {epoch: row["val/miou"] for epoch, row in run.history.items()}
    assert list(read.items()) == list(trials[2]["curve"].items())[: len(read)]
    assert problem is None or str(cut) in problem


@given(position=st.integers(7, 10**6), bit=st.integers(0, 7))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_ends_the_file_there_and_is_named(study_dir, tmp_path, trials, position, bit):
    data = bytearray(run_file(study_dir, 2).read_bytes())
    data[position % (len(data) - 7) + 7] ^= 1 << bit
    bad = tmp_path / "run-bad.wandb"
    bad.write_bytes(data)
    run, problem = read_file(bad)
    assert str(bad) in problem
    read = {} if run is None else {epoch: row["val/miou"] for epoch, row in run.history.items()}
    assert list(read.items()) == list(trials[2]["curve"].items())[: len(read)]


@pytest.mark.parametrize("content", [b"", b":W&B\xe1\xbe\x00", b"not a log at all, but long enough"])
def test_an_empty_or_foreign_file_is_named_and_no_run(tmp_path, content):
    file = tmp_path / "run-x.wandb"
    file.write_bytes(content)
    run, problem = read_file(file)
    assert run is None
    assert str(file) in problem


def test_a_record_longer_than_a_block_is_joined(tmp_path):
    trial = {**make_trials(1)[0], "error": "x" * 100_000, "state": "failed"}
    trial["number"] = 77
    log_trials(tmp_path, [trial])
    (run,), problems = read_folder(tmp_path / "wandb")
    assert problems == []
    assert run.summary["error"] == trial["error"]


def test_parts_of_a_run_are_joined_with_the_first_row_of_an_epoch_and_the_last_state(tmp_path):
    trial = make_trials(3)[2]
    first = {**trial, "curve": {1: 10.0, 2: 11.0}, "state": "interrupted"}
    second = {**trial, "curve": {1: 99.0, 2: 99.0, 3: 12.0}, "state": "complete"}
    log_in_another_process(tmp_path / "a", [first])
    log_in_another_process(tmp_path / "b", [second])
    for part in ("a", "b"):
        for folder in (tmp_path / part / "wandb").glob("offline-run-*"):
            shutil.copytree(folder, tmp_path / "wandb" / f"{folder.name.replace('offline-', f'offline-run-{part}-')}")
    (run,), _ = read_folder(tmp_path / "wandb")
    assert {epoch: row["val/miou"] for epoch, row in run.history.items()} == {1: 10.0, 2: 11.0, 3: 12.0}
    assert run.summary["state"] == "complete"


def test_a_run_taken_up_again_and_killed_does_not_keep_the_state_of_its_first_part(tmp_path):
    trial = make_trials(3)[2]
    log_in_another_process(tmp_path, [{**trial, "curve": {1: 1.0}, "state": "interrupted"}])
    (first,), _ = read_folder(tmp_path / "wandb")
    open_part = type(first)(run_id=first.run_id, started=first.started + 1)
    assert "state" not in first.continued_by(open_part).summary
