import threading

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from ipix_tune.storage.journal_file import PatientJournalFile
from tests.disks import small_disk


def study(path, **values):
    return optuna.create_study(
        storage=JournalStorage(PatientJournalFile(path, **values)), study_name="one", load_if_exists=True
    )


def scores(path):
    """Read with Optuna's own reader."""
    storage = JournalStorage(JournalFileBackend(str(path)))
    return [trial.value for trial in optuna.load_study(storage=storage, study_name="one").get_trials()]


def test_what_it_writes_is_what_optuna_reads(tmp_path):
    book = study(tmp_path / "journal.log")
    for value in (1.0, 2.0):
        book.tell(book.ask(), value)
    assert scores(tmp_path / "journal.log") == [1.0, 2.0]


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_torn_last_line_is_cut_off_and_the_study_goes_on(tmp_path, kept):
    path = tmp_path / "journal.log"
    book = study(path)
    book.tell(book.ask(), 1.0)
    whole = path.read_bytes()
    book.ask()
    torn = path.read_bytes()[len(whole) :]
    path.write_bytes(whole + torn[: int(len(torn) * kept)])
    again = study(path)
    again.tell(again.ask(), 3.0)
    assert scores(path) == [1.0, 3.0]


def test_a_folder_that_goes_away_for_a_moment_costs_the_journal_nothing(tmp_path):
    folder, away = tmp_path / "study", tmp_path / "away"
    folder.mkdir()
    book = study(folder / "journal.log", wait_s=20)
    trial = book.ask()
    folder.rename(away)
    threading.Timer(1.0, lambda: away.rename(folder)).start()
    book.tell(trial, 1.0)
    assert scores(folder / "journal.log") == [1.0]


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path, "64k"):
        yield tmp_path


def test_a_full_disk_leaves_the_journal_whole_and_it_goes_on_once_there_is_space(disk):
    path, filler = disk / "journal.log", disk / "filler"
    book = study(path, wait_s=0)
    trial = book.ask()
    before = path.read_bytes()
    filler.write_bytes(bytes(64 * 1024 - 2 * 4096))
    with pytest.raises(OSError, match="No space left"):
        trial.set_user_attr("long", "x" * 8192)
    assert path.read_bytes() == before
    filler.unlink()
    book.tell(trial, 1.0)
    assert scores(path) == [1.0]
