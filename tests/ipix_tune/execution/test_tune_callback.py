"""What Ray Tune tells of trials, in orders that a healthy cluster never gives."""

import errno
import types

import pytest
from ray.exceptions import ActorDiedError
from rich.console import Console

from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.execution import placement
from ipix_tune.execution.progress_table import Display, ProgressTable
from ipix_tune.execution.tune_callback import TuneCallback
from ipix_tune.search.ray_searcher import TrialStoreSearcher
from ipix_tune.search.trial_store import TrialStore
from ipix_tune.tracking.runs import Tracker
from tests.ipix_tune.studies import base


@pytest.fixture
def watched(tmp_path):
    """A watcher, its trial store and progress table, and a trial that was handed out and has not started."""
    study = StudyConfig.model_validate(base() | {"logging": {"mode": "disabled"}})
    store = TrialStore(None, study, SearchSpace(study), total=12)
    progress = ProgressTable(metric="val/miou", mode="max", total=12, max_epochs=9)
    key, values = store.next()
    watcher = TuneCallback(
        store,
        Tracker(tmp_path, study, {}),
        Display(progress, Console(quiet=True)),
        values={key: values},
        retries=2,
        on_end=lambda key: None,
        on_storage_fault=lambda reason: None,
        on_step=lambda: None,
    )
    config = {"key": key, "trainer": {}}
    trial = types.SimpleNamespace(config=config, last_result={}, get_error=lambda: ActorDiedError())
    return watcher, store, progress, trial


def test_a_trial_whose_node_vanishes_before_it_has_started_is_retried(watched):
    watcher, store, progress, trial = watched
    watcher.on_trial_recover(0, [], trial)
    assert (progress.rows["t0000"].state, progress.rows["t0000"].retries) == ("running", 1)
    watcher.on_trial_start(0, [], trial)
    assert store.entry("t0000").retries == 1


def test_a_trial_of_whose_death_tune_tells_twice_at_once_is_handed_out_again(watched):
    watcher, store, progress, trial = watched
    values = store.entry("t0000").values
    watcher.on_trial_recover(7, [], trial)
    watcher.on_trial_error(7, [], trial)
    assert progress.rows["t0000"].state == "running"
    assert store.next() == ("t0000", values)
    assert store.entry("t0000").retries == 1


def test_a_trial_whose_process_always_dies_in_the_hand_over_is_handed_out_again_as_often_as_retries_say(watched):
    watcher, store, progress, trial = watched
    for death in (7, 8, 9):
        assert store.entry("t0000").state == "running"
        watcher.on_trial_recover(death, [], trial)
        watcher.on_trial_error(death, [], trial)
        if death < 9:
            assert store.next()[0] == "t0000"
    assert (progress.rows["t0000"].state, progress.rows["t0000"].retries) == ("failed", 3)
    assert store.entries()[0].state == "failed"


def test_a_trial_that_dies_again_later_and_has_no_retry_left_fails(watched):
    watcher, store, progress, trial = watched
    watcher.on_trial_recover(7, [], trial)
    watcher.on_trial_error(8, [], trial)
    assert progress.rows["t0000"].state == "failed"
    assert store.entries()[0].state == "failed"


def test_a_trial_that_broke_a_constraint_ends_as_infeasible_with_its_figure(watched):
    watcher, store, progress, trial = watched
    why = "memory/peak_mib is 120, at most 100 is allowed"
    watcher.on_trial_start(0, [], trial)
    trial.last_result = {"epoch": 2, "objective": 50.0, "infeasible": why}
    watcher.on_trial_result(0, [], trial, trial.last_result)
    assert progress.best() is None
    watcher.on_trial_complete(0, [], trial)
    assert (progress.rows["t0000"].state, progress.rows["t0000"].error) == ("infeasible", why)
    assert [(one.state, one.error) for one in store.entries()] == [("infeasible", why)]


@pytest.fixture
def groups(monkeypatch):
    """Placement groups that hold workers, and a clock that is set by hand."""
    held, clock = {"g0", "g1"}, [0.0]
    monkeypatch.setattr(placement, "created_groups", lambda: sorted(held))
    monkeypatch.setattr(placement, "_remove", held.discard)
    monkeypatch.setattr(placement.time, "monotonic", lambda: clock[0])

    def after(seconds, watcher):
        clock[0] += seconds
        watcher.on_step_begin(0, [])
        return held

    return after


def handed_out(watcher, store, trial):
    """A second trial, not started yet."""
    key, values = store.next()
    watcher._values[key] = values
    return types.SimpleNamespace(**{**vars(trial), "config": {"key": key, "trainer": {}}})


def ended(watcher, trial, *, group):
    watcher.on_trial_start(0, [], trial)
    watcher.on_trial_result(0, [], trial, {"placement_group": group})
    watcher.on_trial_complete(0, [], trial)


def test_workers_that_no_trial_takes_over_are_freed(watched, groups):
    watcher, _, _, trial = watched
    ended(watcher, trial, group="g0")
    assert groups(1, watcher) == {"g0", "g1"}
    assert groups(2, watcher) == {"g1"}


def test_workers_stay_while_a_trial_may_take_them_over_and_while_it_uses_them(watched, groups):
    watcher, store, _, trial = watched
    ended(watcher, trial, group="g0")
    second = handed_out(watcher, store, trial)
    assert groups(60, watcher) == {"g0", "g1"}
    watcher.on_trial_start(0, [], second)
    watcher.on_trial_result(0, [], second, {"placement_group": "g0"})
    assert groups(60, watcher) == {"g0", "g1"}
    watcher.on_trial_complete(0, [], second)
    assert groups(1, watcher) == {"g0", "g1"}
    assert groups(2, watcher) == {"g1"}


def test_workers_that_the_other_trials_did_not_need_are_freed(watched, groups):
    watcher, store, _, trial = watched
    ended(watcher, trial, group="g0")
    second = handed_out(watcher, store, trial)
    watcher.on_trial_start(0, [], second)
    watcher.on_trial_result(0, [], second, {"placement_group": "g1"})
    groups(1, watcher)
    assert groups(3, watcher) == {"g1"}


def test_workers_of_a_trial_that_died_are_freed_though_others_wait(watched, groups):
    watcher, _, _, trial = watched
    watcher.on_trial_start(0, [], trial)
    watcher.on_trial_result(0, [], trial, {"placement_group": "g0"})
    watcher.on_trial_recover(0, [], trial)
    assert groups(3, watcher) == {"g1"}


def test_a_trial_that_never_starts_fails_with_its_cause(watched):
    watcher, store, progress, trial = watched
    watcher.on_trial_error(0, [], trial)
    assert progress.rows["t0000"].state == "failed"
    (entry,) = store.entries()
    assert (entry.state, entry.error) == ("failed", "its process died: killed, or out of memory")


def test_the_journal_is_told_of_an_end_after_the_log_is_closed(watched, monkeypatch):
    watcher, store, _, trial = watched
    states = []
    monkeypatch.setattr(Tracker, "finish", lambda self, key, **how: states.append(store.entries()[0].state))
    watcher.on_trial_start(0, [], trial)
    trial.last_result = {"epoch": 3}
    watcher.on_trial_complete(0, [], trial)
    assert states == ["running"]
    assert store.entries()[0].state == "stopped"


def test_a_trial_that_may_go_on_does_not_count_as_ended_for_the_time_to_go(watched):
    watcher, _, progress, trial = watched
    watcher._thaws = True
    watcher.on_trial_start(0, [], trial)
    trial.last_result = {"epoch": 1, "objective": 50.0}
    watcher.on_trial_result(0, [], trial, trial.last_result)
    watcher.on_trial_complete(0, [], trial)
    assert progress.rows["t0000"].paused
    assert progress.finished_here == 0


@pytest.fixture
def full(watched):
    """The watcher, its store, which has no room for a trial's end, and a searcher over it; as `Runner` joins them."""
    watcher, store, progress, trial = watched
    faults = []

    def write(act):
        if not faults:
            try:
                act()
            except OSError as error:
                faults.append(str(error))
        return not faults

    def no_room(*given, **told):
        raise OSError(errno.ENOSPC, "No space left on device")

    watcher._write = write
    return watcher, store, progress, trial, no_room, write


def test_a_trial_whose_end_finds_no_room_goes_on_when_the_study_does(full, monkeypatch):
    watcher, store, progress, trial, no_room, _ = full
    monkeypatch.setattr(store, "end", no_room)
    watcher.on_trial_start(0, [], trial)
    watcher.on_trial_complete(0, [], trial)
    row = progress.rows["t0000"]
    assert (row.state, row.error) == ("interrupted", "its end could not be recorded")
    assert progress.ended() == set()
    assert [one.state for one in store.entries()] == ["running"]


def test_no_error_of_the_record_reaches_ray_tune_at_a_trials_end(full, monkeypatch):
    """Tune would take it for one of the trial, which has failed then, and print it."""
    watcher, store, progress, trial, no_room, write = full
    searcher = TrialStoreSearcher(
        store, trial_config=lambda key, values: {}, concurrent=lambda: 2, max_epochs=9, watched=True, write=write
    )
    searcher.suggest("a")
    monkeypatch.setattr(store, "report", no_room)
    searcher.on_trial_complete("a", {"epoch": 1, "objective": 50.0})
    assert write(lambda: None) is False
    watcher.on_trial_start(0, [], trial)
    watcher.on_trial_complete(0, [], trial)
    assert progress.rows["t0000"].state == "interrupted"
