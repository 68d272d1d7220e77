import threading

import pytest

from ipix_tune.storage.away import StudyStorage, make_in_study
from ipix_tune.storage.study_identity import IDENTITY
from trainers.common.errors import OutputError


@pytest.fixture
def place(tmp_path):
    """A study's folder with its trials."""
    (tmp_path / "studies/voc/trials").mkdir(parents=True)
    (tmp_path / f"studies/voc/{IDENTITY}").write_text("voc-0a1b2c")
    return tmp_path / "studies/voc"


def away_for(place, *, seconds):
    """Take the storage away, and bring it back later. A folder that was made in its place would be in the way."""
    storage, elsewhere = place.parent, place.parent.with_name("elsewhere")
    storage.rename(elsewhere)
    back = threading.Timer(seconds, lambda: elsewhere.rename(storage))
    back.start()
    return back


def test_a_trials_folder_is_made_once_the_storage_is_there_again(place):
    (place / "trials/t0000").mkdir()
    back = away_for(place, seconds=0.7)
    make_in_study(place / "trials/t0001", wait_s=30)
    back.join()
    assert {path.name for path in (place / "trials").iterdir()} == {"t0000", "t0001"}


def test_a_trials_folder_of_an_earlier_start_is_left_as_it_is(place):
    (place / "trials/t0000").mkdir()
    (place / "trials/t0000/metrics.jsonl").write_text("{}\n")
    make_in_study(place / "trials/t0000")
    assert (place / "trials/t0000/metrics.jsonl").read_text() == "{}\n"


def test_a_storage_that_stays_away_is_named_and_not_made_anew(place):
    place.parent.rename(place.parent.with_name("gone"))
    with pytest.raises(OutputError, match=r"t0001: cannot be made: No such file or directory; mend that, then resume"):
        make_in_study(place / "trials/t0001", wait_s=0.1)
    assert not place.parent.exists()


def test_an_empty_mount_point_is_not_taken_for_the_study(place):
    storage = StudyStorage(place, wait_s=0.1)
    (place / IDENTITY).rename(place.parent / "elsewhere")
    with pytest.raises(OSError, match=IDENTITY):
        storage.wait()


def test_a_study_that_is_there_again_is_waited_for_the_next_time_too(place):
    storage = StudyStorage(place, wait_s=0.1)
    (place / IDENTITY).rename(place.parent / "elsewhere")
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            storage.wait()
    (place.parent / "elsewhere").rename(place / IDENTITY)
    storage.wait()
    storage = StudyStorage(place, wait_s=30)
    back = away_for(place, seconds=0.3)
    storage.wait()
    back.join()
