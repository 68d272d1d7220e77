import os
import shutil
from types import SimpleNamespace

import pytest

from analysis.ingest import read_study as reading
from analysis.ingest import source_index, tables
from analysis.ingest.read_study import read_study
from analysis.ingest.tables import build_tables, load
from analysis.ingest.wandb_files import read_folder
from tests.analysis.ingest.test_online_logs import Server, as_served


@pytest.fixture
def place(study_dir, tmp_path):
    """A study of six runs of the synthetic one, three epochs or nine."""
    folder = tmp_path / "synthetic"
    for number in range(6):
        source = next(study_dir.glob(f"wandb/*-t{number:04d}"))
        shutil.copytree(source, folder / "wandb" / source.name)
    return folder


def add(place, study_dir, number):
    source = next(study_dir.glob(f"wandb/*-t{number:04d}"))
    shutil.copytree(source, place / "wandb" / source.name)


def file_of(place, number):
    return next(place.glob(f"wandb/*/run-*-t{number:04d}.wandb"))


def same(one, other):
    return one.runs.equals(other.runs) and one.history.equals(other.history) and one.facts == other.facts


def afresh(place):
    return build_tables(read_folder(place / "wandb")[0])


def test_the_first_report_reads_every_run_and_gives_the_tables_of_the_logs(place):
    found = read_study(place)
    assert (found.read, found.known) == (6, 0)
    assert same(found.tables, afresh(place))


def test_the_second_report_of_the_same_study_reads_nothing(place):
    first, second = read_study(place), read_study(place)
    assert (second.read, second.known) == (0, 6)
    assert same(first.tables, second.tables)


def test_of_a_study_that_grew_only_the_new_run_is_read(place, study_dir):
    read_study(place)
    add(place, study_dir, 8)
    found = read_study(place)
    assert (found.read, found.known) == (1, 6)
    assert same(found.tables, afresh(place))
    assert same(load(place), found.tables)


def test_a_run_that_was_still_being_written_is_read_further(place):
    file = file_of(place, 5)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    before = read_study(place)
    file.write_bytes(whole)
    after = read_study(place)
    assert after.read == 1
    assert len(after.tables.history) > len(before.tables.history)
    assert same(after.tables, afresh(place))
    assert after.problems == []


def test_a_file_of_the_same_size_but_another_time_is_read_again(place):
    read_study(place)
    os.utime(file_of(place, 2), ns=(0, 1))
    assert read_study(place).read == 1


def test_a_run_whose_files_are_gone_is_in_no_table(place):
    read_study(place)
    shutil.rmtree(file_of(place, 4).parent)
    found = read_study(place)
    assert (found.read, found.known) == (0, 5)
    assert same(found.tables, afresh(place))
    assert same(load(place), found.tables)


def test_a_run_that_was_running_is_looked_at_again_though_its_file_is_as_it_was(killed_dir, tmp_path, monkeypatch):
    place = tmp_path / "synthetic"
    shutil.copytree(killed_dir, place)
    assert read_study(place).tables.runs["state"].to_pylist() == ["running"]
    monkeypatch.setattr(tables, "ALIVE_S", 0)
    assert read_study(place).tables.runs["state"].to_pylist() == ["crashed"]


def test_an_index_of_another_form_is_not_used(place, monkeypatch):
    read_study(place)
    monkeypatch.setattr(source_index, "INDEX_VERSION", 99)
    assert read_study(place).read == 6


def test_an_index_beside_a_history_that_it_was_not_made_with_is_not_used(place):
    read_study(place)
    os.utime(place / "tables" / "history.parquet", ns=(0, 1))
    assert read_study(place).read == 6


@pytest.mark.parametrize("name", ["sources.parquet", "history.parquet"])
def test_a_broken_table_is_made_again(place, name):
    first = read_study(place)
    (place / "tables" / name).write_bytes(b"no table")
    found = read_study(place)
    assert found.read == 6
    assert same(found.tables, first.tables)


def test_what_was_wrong_with_a_file_is_said_again_by_the_next_report(place):
    file = file_of(place, 2)
    file.write_bytes(file.read_bytes()[:-40])
    assert read_study(place).problems == read_study(place).problems != []


def test_several_processes_give_the_same_tables(place, monkeypatch):
    monkeypatch.setattr(reading, "MANY_BYTES", 0)
    monkeypatch.setattr(reading, "PORTION", 2)
    assert same(read_study(place, processes=2).tables, afresh(place))


def test_a_run_in_files_of_two_names_is_one_run(place):
    shutil.copytree(file_of(place, 3).parent, place / "wandb" / "copy")
    (place / "wandb" / "copy" / file_of(place, 3).name).rename(place / "wandb" / "copy" / "run-renamed.wandb")
    found = read_study(place)
    assert len(found.tables.runs) == 6
    assert found.tables.history.equals(afresh(place).history)


def served(place, numbers, **changes):
    runs = {int(run.run_id[-4:]): run for run in read_folder(place / "wandb")[0]}
    return [SimpleNamespace(**vars(as_served(runs[number])) | changes) for number in numbers]


def test_a_study_that_is_partly_on_the_server_has_every_run_once(place):
    whole = afresh(place)
    server = Server(served(place, [0, 1, 2, 3]))
    for number in (0, 1):
        shutil.rmtree(file_of(place, number).parent)
    found = read_study(place, online="me/project", api=server)
    assert found.tables.runs["trial"].to_pylist() == [0, 1, 2, 3, 4, 5]
    assert found.tables.history.equals(whole.history)


def test_epochs_that_only_one_of_file_and_server_has_are_all_there(place):
    runs = served(place, [5])
    rows = list(runs[0].scan_history())
    runs[0].scan_history = lambda: iter(rows[:4])
    file = file_of(place, 5)
    whole = file.read_bytes()
    file.write_bytes(whole[: 2 * len(whole) // 3])
    in_file = len(read_folder(place / "wandb")[0][5].history)
    found = read_study(place, online="me/project", api=Server(runs)).tables.history
    assert found["run_id"].to_pylist().count("synthetic-t0005") == max(4, in_file)


def test_a_run_on_the_server_is_fetched_again_only_when_its_heartbeat_moved(place):
    runs = served(place, [0, 1], heartbeat_at="2026-11-21T10:00:00", history_line_count=9)
    read_study(place, online="me/project", api=Server(runs))
    assert read_study(place, online="me/project", api=Server(runs)).read == 0
    runs[1].heartbeat_at = "2026-11-21T11:00:00"
    assert read_study(place, online="me/project", api=Server(runs)).read == 1
