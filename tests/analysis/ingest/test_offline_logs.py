import math
import shutil
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.ingest.tables import run_row
from analysis.ingest.wandb_files import SUMMARY, message_class, read_file, read_folder
from tests.analysis.conftest import log_in_another_process, log_trials, make_trials


def run_file(folder, number):
    return next(folder.glob(f"wandb/offline-run-*-t{number:04d}/run-*.wandb"))


def framed(data):
    """Where each record of a file ends, with the epoch that it logs, if it logs one: by the heads of the frames alone,
    which in these small files hold a record each."""
    at, found = 7, []
    while at < len(data):
        _, length, kind = struct.unpack_from("<IHB", data, at)
        assert kind == 1
        record = message_class().FromString(data[at + 7 : at + 7 + length])
        at += 7 + length
        items = {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
        found.append((at, record.WhichOneof("record_type"), int(items["epoch"]) if "epoch" in items else None))
    return found


def epochs_until(data, end):
    """The epochs that are logged in whole records before a place in the file, and whether a record ends there."""
    ends = framed(data)
    run = next(place for place, kind, _ in ends if kind == "run")
    whole = [epoch for place, _, epoch in ends if place <= end and epoch is not None]
    return whole, end in {place for place, *_ in ends if place >= run}


def epochs_read(run):
    return {} if run is None else {epoch: row["val/miou"] for epoch, row in run.history.items()}


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
def test_a_file_cut_anywhere_gives_all_epochs_before_the_cut_and_is_named(study_dir, tmp_path, trials, share):
    whole = run_file(study_dir, 2).read_bytes()
    end = math.floor(share * (len(whole) - 1))
    cut = tmp_path / "run-cut.wandb"
    cut.write_bytes(whole[:end])
    run, problem = read_file(cut)
    epochs, between = epochs_until(whole, end)
    assert epochs_read(run) == {epoch: trials[2]["curve"][epoch] for epoch in epochs}
    assert problem is None if between else str(cut) in problem


def test_a_file_cut_between_two_records_is_whole_as_far_as_it_goes(study_dir, tmp_path):
    whole = run_file(study_dir, 2).read_bytes()
    cut = tmp_path / "run-cut.wandb"
    for end, _, epoch in framed(whole):
        if epoch is not None:
            cut.write_bytes(whole[:end])
            run, problem = read_file(cut)
            assert (max(run.history), problem) == (epoch, None)


@given(position=st.integers(7, 10**6), bit=st.integers(0, 7))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_ends_the_file_there_and_is_named(study_dir, tmp_path, trials, position, bit):
    whole = run_file(study_dir, 2).read_bytes()
    flipped = position % (len(whole) - 7) + 7
    data = bytearray(whole)
    data[flipped] ^= 1 << bit
    bad = tmp_path / "run-bad.wandb"
    bad.write_bytes(data)
    run, problem = read_file(bad)
    assert str(bad) in problem
    epochs, _ = epochs_until(whole, flipped)
    assert epochs_read(run) == {epoch: trials[2]["curve"][epoch] for epoch in epochs}


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
