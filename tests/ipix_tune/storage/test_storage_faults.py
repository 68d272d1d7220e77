"""A record whose disk is full, or whose database cannot be had: waited for, then named, and the study goes on later."""

import contextlib
import errno
import shutil
import sqlite3
import threading

import pytest
from ray.tune.error import TuneError

from ipix_tune.storage import optuna_storage
from ipix_tune.storage.optuna_storage import RecordError
from ipix_tune.storage.storage_faults import storage_fault
from tests.disks import small_disk
from tests.ipix_tune.running import TINY, assert_same_study, epochs_on_disk, long, run, wait_for
from tests.ipix_tune.storage.test_optuna_storage import trial_store


def raised(error):
    """As Tune raises what a searcher or a callback raised."""
    try:
        raise error
    except Exception:
        try:
            raise TuneError("a traceback")
        except TuneError as outer:
            return outer


@pytest.mark.parametrize(
    ("number", "name", "is_one"),
    [
        (errno.ENOSPC, None, True),
        (errno.EDQUOT, None, True),
        (errno.EROFS, "studies/voc/journal.log", True),
        (errno.EACCES, "/etc/passwd", False),
        (errno.ECONNREFUSED, None, False),
    ],
)
def test_a_fault_of_the_storage_is_known_beneath_tunes_own_error(tmp_path, number, name, is_one):
    named = [] if name is None else [str(tmp_path / name)]
    error = OSError(number, "it failed", *named)
    for one in (error, raised(error)):
        assert (storage_fault(one, tmp_path / "studies/voc") == str(error)) is is_one


def test_an_error_of_another_kind_is_no_fault_of_the_storage(tmp_path):
    assert storage_fault(raised(ValueError("no space left")), tmp_path) is None


def test_an_error_that_was_raised_in_place_of_a_handled_one_is_no_fault_of_the_storage(tmp_path):
    def handled():
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise ValueError("something else") from None

    with pytest.raises(ValueError, match="something else") as caught:
        handled()
    assert storage_fault(caught.value, tmp_path) is None


def test_a_database_that_stays_locked_is_named_with_its_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(optuna_storage, "WAIT_S", 0.3)
    url = f"sqlite:///{tmp_path}/studies.db"
    store = trial_store(tmp_path, url)
    key, _ = store.next()
    with contextlib.closing(sqlite3.connect(tmp_path / "studies.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(RecordError, match=r"record: sqlite:///.*studies\.db: .*database is locked"):
            store.report(key, epoch=1, score=1.0)
    store.report(key, epoch=1, score=1.0)
    assert trial_store(tmp_path, url).entries()[0].scores == {1: 1.0}


def test_a_database_whose_disk_is_full_for_a_moment_costs_the_record_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(optuna_storage, "WAIT_S", 20)
    with small_disk(tmp_path, "2m"):
        url = f"sqlite:///{tmp_path}/studies.db"
        store = trial_store(tmp_path, url)
        key, _ = store.next()
        fill(tmp_path)
        threading.Timer(1.0, (tmp_path / "filler").unlink).start()
        for epoch in range(1, 40):
            store.report(key, epoch=epoch, score=float(epoch))
        assert len(trial_store(tmp_path, url).entries()[0].scores) == 39


def fill(disk):
    """Leave not a byte."""
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run(longer(tmp_path_factory.mktemp("undisturbed")), report=False).folder


def longer(folder, **changes):
    """Enough short trials that the record grows by more than a page, which it may hold already when the disk fills."""
    trainer = {**TINY["trainer"], "schedule": {"epochs": 3, "steps_per_epoch": 2}}
    return long(folder, budget={"trials": 5}, trainer=trainer, **changes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["a journal file", "a database"])
def test_where_only_the_records_disk_is_full_the_study_says_so_and_a_resume_goes_on(
    tmp_path, monkeypatch, undisturbed, kind
):
    """As with a record on another disk than the study's, or a quota."""
    monkeypatch.setattr(optuna_storage, "WAIT_S", 2)
    disk, place = tmp_path / "disk", tmp_path / "studies" / "tiny"
    disk.mkdir()
    with small_disk(disk, "2m"):
        changes = {"record": f"sqlite:///{disk}/studies.db"} if kind == "a database" else {}
        file = longer(tmp_path, **changes)
        if kind == "a journal file":
            monkeypatch.setattr(optuna_storage, "JOURNAL", "elsewhere/journal.log")
            monkeypatch.setattr("ipix_tune.storage.study_folder.prepare", linking(disk))
        filler = threading.Thread(target=fill_in_the_middle, args=(place, disk))
        filler.start()
        outcome = run(file, report=False)
        filler.join()
        assert outcome.cut_short is not None
        assert ("journal.log" if kind == "a journal file" else "studies.db") in outcome.cut_short
        assert "full" in outcome.cut_short or "No space left" in outcome.cut_short
        (disk / "filler").unlink()
        assert run(file, resume=True, report=False).cut_short is None
        if kind == "a journal file":  # read as the undisturbed study's is
            shutil.copy(disk / "journal.log", place / "journal.log")
            monkeypatch.setattr(optuna_storage, "JOURNAL", "journal.log")
        assert_same_study(place, undisturbed)


def linking(disk):
    """As `folder.prepare`, with a folder of the study on another disk."""
    from ipix_tune.storage import study_folder as folder

    prepare = folder.prepare

    def prepared(*args, **options):
        place = prepare(*args, **options)
        if not (place / "elsewhere").exists():
            (place / "elsewhere").symlink_to(disk)
        return place

    return prepared


def fill_in_the_middle(place, disk):
    wait_for(lambda: epochs_on_disk(place, "t0000") >= 1 or None, seconds=400, what="an epoch of the first trial")
    fill(disk)
