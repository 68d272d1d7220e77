"""What a study's copy costs, and that it is whole at every moment."""

import pytest

from ipix_tune.config.search_space import SearchSpace
from ipix_tune.search.trial_store import TrialStore
from ipix_tune.storage.object_store import Store
from ipix_tune.storage.object_sync import MOST_PARTS, SMALL, CopyKeeper, ObjectCopy
from ipix_tune.storage.optuna_storage import JOURNAL
from tests.ipix_tune.search.test_trial_store import study
from trainers.common.errors import OutputError


class Counting(Store):
    """Counts what is sent; the ``fails_at``th request to write fails for good."""

    def __init__(self, folder, *, fails_at=None):
        super().__init__(folder.as_uri(), wait_s=0)
        self.sent, self.puts, self._fails_at = 0, [], fails_at

    def put(self, key, data):
        if len(self.puts) == self._fails_at:
            raise OutputError("away")
        self.puts.append(key)
        self.sent += len(data)
        super().put(key, data)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def line(number):
    return f"line {number:09d}\n".encode() * 100


def there(store, tmp_path):
    """What another machine gets."""
    elsewhere = ObjectCopy(store, "s", tmp_path / "elsewhere")
    elsewhere.pull()
    return (tmp_path / "elsewhere" / "a.log").read_bytes()


def grown(store, place, *, times):
    """A copy whose file has grown and been copied so many times."""
    copy = ObjectCopy(store, "s", place)
    (place / "a.log").write_bytes(bytes(SMALL))
    copy.push()
    for number in range(times):
        with (place / "a.log").open("ab") as file:
            file.write(line(number))
        copy.push()
    return copy


def test_of_a_file_that_grew_only_what_is_new_is_sent(tmp_path, place):
    store = Counting(tmp_path / "lab")
    grown(store, place, times=3)
    assert store.sent == SMALL + 3 * len(line(0))
    assert there(store, tmp_path) == (place / "a.log").read_bytes()


def test_appended_parts_are_joined_before_they_are_many_or_as_large_as_the_whole(tmp_path, place):
    store = Counting(tmp_path / "lab")
    grown(store, place, times=2 * MOST_PARTS)
    assert len(store.keys("s")) <= 1 + MOST_PARTS
    assert there(store, tmp_path) == (place / "a.log").read_bytes()


@pytest.mark.parametrize("fails_at", range(1, 60, 7))
def test_wherever_the_copying_breaks_off_the_copy_is_the_file_as_it_once_was(tmp_path, place, fails_at):
    store = Counting(tmp_path / "lab", fails_at=fails_at)
    with pytest.raises(OutputError):
        grown(store, place, times=60)
    now = (place / "a.log").read_bytes()
    assert there(Counting(tmp_path / "lab"), tmp_path) == now[: -len(line(0))]


def test_parts_that_the_whole_object_holds_already_are_not_joined_twice(tmp_path, place):
    """As after a driver that died between writing the whole object and deleting its parts."""
    store = Counting(tmp_path / "lab")
    grown(store, place, times=3)
    store.put("s/a.log", (place / "a.log").read_bytes())
    assert there(store, tmp_path) == (place / "a.log").read_bytes()


def test_a_file_that_was_cut_or_changed_is_sent_whole_and_its_parts_are_gone(tmp_path, place):
    store = Counting(tmp_path / "lab")
    copy = grown(store, place, times=3)
    (place / "a.log").write_bytes(bytes(SMALL) + line(7))
    copy.push()
    assert store.keys("s") == ["a.log"]
    (place / "a.log").write_bytes(b"short")
    copy.push()
    (place / "a.log").write_bytes(b"short and longer")
    copy.push()
    assert there(store, tmp_path) == b"short and longer"


def test_whoever_fetched_the_parts_goes_on_appending(tmp_path, place):
    store = Counting(tmp_path / "lab")
    grown(store, place, times=3)
    other = ObjectCopy(store, "s", tmp_path / "other")
    other.pull()
    before = store.sent
    with (tmp_path / "other" / "a.log").open("ab") as file:
        file.write(line(9))
    other.push()
    assert store.sent - before == len(line(9))
    assert there(store, tmp_path) == (tmp_path / "other" / "a.log").read_bytes()


def test_a_study_that_is_over_leaves_its_files_as_one_object_each(tmp_path, place):
    store = Counting(tmp_path / "lab")
    grown(store, place, times=3).push(joined=True)
    assert store.keys("s") == ["a.log"]
    assert store.get("s/a.log") == (place / "a.log").read_bytes()


def searched(place, keeper, *, trials, epochs=3):
    """A journal of so many trials, copied when the driver copies it."""
    book = TrialStore(place, study(sampler={"name": "random"}), SearchSpace(study()), total=trials)
    while (given := book.next()) is not None:
        keeper.save_record()
        for epoch in range(epochs):
            book.report(given[0], epoch=epoch, score=float(epoch))
        book.end(given[0], state="stopped")
        keeper.save_end(given[0])


def test_the_journal_of_many_trials_costs_a_few_times_its_size(tmp_path, place):
    store = Counting(tmp_path / "lab")
    keeper = CopyKeeper(ObjectCopy(store, "s", place), record=(JOURNAL,), on_fault=pytest.fail)
    searched(place, keeper, trials=150)
    size = (place / JOURNAL).stat().st_size
    assert size > 2 * SMALL
    sent_small = 2 * 150 * SMALL * SMALL / size / 2  # whole while it is below SMALL: a triangle
    assert store.sent < 4 * size + sent_small
    ObjectCopy(store, "s", tmp_path / "elsewhere").pull()
    assert (tmp_path / "elsewhere" / JOURNAL).read_bytes() == (place / JOURNAL).read_bytes()


def test_a_trials_end_is_in_the_record_only_after_its_wandb_files(tmp_path, place):
    store = Counting(tmp_path / "lab")
    for name in ("journal.log", "wandb/offline-run-1-small-t0001/run.wandb", "wandb/offline-run-1-small-t0002/r.wandb"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("x")
    keeper = CopyKeeper(ObjectCopy(store, "s", place), record=("journal.log", "sampler.pkl"), on_fault=pytest.fail)
    keeper.save_end("t0001")
    assert store.puts == ["s/wandb/offline-run-1-small-t0001/run.wandb", "s/journal.log"]
    keeper.save()
    assert store.puts[2:] == ["s/wandb/offline-run-1-small-t0002/r.wandb"]
