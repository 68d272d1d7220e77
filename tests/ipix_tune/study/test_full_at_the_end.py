"""Report and best config on a disk that is full, or away, when the search ends."""

import threading

import pytest

from ipix_tune.storage.study_identity import IDENTITY
from ipix_tune.study import run_search
from tests.disks import small_disk


@pytest.fixture
def place(tmp_path):
    """A study's folder on a disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with small_disk(folder, "256k"):
        (folder / "study").mkdir()
        (folder / "study" / IDENTITY).write_text("tiny-123456\n")
        yield folder / "study"


def soon(work):
    """Do it in a second, beside whatever waits for it."""
    thread = threading.Timer(1.0, work)
    thread.start()
    return thread


def written(place):
    (place / "report.html").write_bytes(bytes(100_000))
    return place / "report.html"


def test_a_report_waits_for_a_disk_that_is_full(place):
    filler = place.parent / "filler"
    filler.write_bytes(bytes(200_000))
    freed = soon(filler.unlink)
    assert run_search._when_it_can_be_written(lambda: written(place), place).stat().st_size == 100_000
    freed.join()


def test_a_report_waits_for_a_storage_that_is_away(place):
    away = place.with_name("away")
    place.rename(away)
    back = soon(lambda: away.rename(place))
    assert run_search._when_it_can_be_written(lambda: written(place), place).stat().st_size == 100_000
    back.join()


def test_a_disk_that_stays_full_is_given_up_with_its_error(place, monkeypatch):
    monkeypatch.setattr(run_search, "WAIT_S", 1.0)
    (place.parent / "filler").write_bytes(bytes(200_000))
    with pytest.raises(OSError, match="No space left on device"):
        run_search._when_it_can_be_written(lambda: written(place), place)


def test_any_other_error_is_told_at_once(place):
    tried = []

    def read():
        tried.append(1)
        return (place / "tables").read_bytes()

    with pytest.raises(FileNotFoundError, match="tables"):
        run_search._when_it_can_be_written(read, place)
    assert tried == [1]
