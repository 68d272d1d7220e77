"""A trial's log that lacks something is written again while the study goes on."""

import errno
import itertools

import pytest

from ipix_tune.execution import log_keeper
from ipix_tune.execution.complete_logs import complete
from ipix_tune.execution.log_keeper import LogKeeper
from ipix_tune.storage.study_folder import load_study
from ipix_tune.tracking.runs import Tracker
from tests.ipix_tune.execution.test_complete_logs import WHOLE, seen, study, trained  # noqa: F401
from tests.ipix_tune.running import long, run


class Watched:
    """A keeper with a clock that the test sets, the entries of its study and what it said."""

    def __init__(self, study, logged=None):  # noqa: F811
        self.place, facts, entries = trained(study, logged=logged)
        self.seconds, self.said = 0.0, []
        by_key = {entry.key: entry for entry in entries}
        self.keeper = LogKeeper(
            self.place, study, facts, by_key.get, copy=None, say=self.said.append, clock=lambda: self.seconds
        )
        for key in by_key:
            self.keeper.ended(key)
        self.files = len(list(self.place.rglob("*.wandb")))

    def after(self, seconds):
        self.seconds += seconds
        self.keeper.look()

    def new_files(self):
        return len(list(self.place.rglob("*.wandb"))) - self.files


def test_whole_logs_are_looked_at_once_and_nothing_is_written(study):  # noqa: F811
    watched = Watched(study)
    watched.after(5)
    watched.after(100)
    assert watched.keeper._due == {}
    assert (watched.new_files(), watched.said) == (0, [])


def test_what_lacks_is_written_by_another_process_once_the_client_has_had_its_time(study):  # noqa: F811
    watched = Watched(study, logged=[(3, True), (1, True), (1, False)])
    watched.after(10)
    assert watched.keeper._writer is None
    watched.after(15)
    _, writer = watched.keeper._writer
    writer.wait(300)
    watched.keeper.close()
    assert watched.said == ["W&B's file lacked t0002 (1 epoch), and was completed"]
    assert seen(watched.place) == WHOLE


def test_a_client_that_was_only_slow_is_given_its_time(study):  # noqa: F811
    watched = Watched(study, logged=[(3, True), (1, True), (1, False)])
    watched.after(10)
    log_again_by_hand(watched)
    watched.after(15)
    assert watched.keeper._writer is None
    assert watched.said == []


def log_again_by_hand(watched):
    """The client's own process writes late."""
    keeper = watched.keeper
    entries = [keeper._entry(key) for key in ("t0000", "t0001", "t0002")]
    assert complete(watched.place, load_study(watched.place, []), keeper._facts, entries)[1] == []


def test_what_cannot_be_written_is_tried_again_later_and_then_left_to_the_studys_end(study, monkeypatch):  # noqa: F811
    def full(self, lack):
        tries.append(self._clock())
        raise OSError(errno.ENOSPC, "No space left on device")

    watched = Watched(study, logged=[(3, True), (1, True), (1, False)])
    tries = []
    monkeypatch.setattr(LogKeeper, "_started", full)
    for _ in range(200):
        watched.after(1)
    assert len(tries) == log_keeper.TRIES
    assert all(later - before >= log_keeper.AGAIN_S for before, later in itertools.pairwise(tries))
    assert watched.keeper._due == {}
    assert watched.said == []


@pytest.mark.slow
def test_a_trial_whose_log_lost_epochs_is_completed_while_the_study_goes_on(tmp_path, monkeypatch):
    """The first trial's epochs after the second reach no file, as where the disk was full for a moment."""
    log = Tracker.log

    def lossy(self, key, *, epoch, metrics):
        if key != "t0000" or epoch <= 2:
            log(self, key, epoch=epoch, metrics=metrics)

    started, begun = LogKeeper._started, []

    def noted(self, lack):
        begun.append((lack, (tmp_path / "console.txt").read_text()))
        return started(self, lack)

    monkeypatch.setattr(Tracker, "log", lossy)
    monkeypatch.setattr(LogKeeper, "_started", noted)
    monkeypatch.setattr(log_keeper, "WRITTEN_S", 1.0)
    place = run(long(tmp_path, budget={"trials": 4})).folder
    assert [lack.words for lack, _ in begun] == ["t0000 (4 epochs)"]
    assert not any("t0003 complete" in said for _, said in begun)
    assert "W&B's file lacked t0000 (4 epochs), and was completed" in (tmp_path / "console.txt").read_text()
    assert {key: sorted(curve) for key, (*_, curve) in seen(place).items()} == {
        f"t{number:04d}": [1, 2, 3, 4, 5, 6] for number in range(4)
    }
