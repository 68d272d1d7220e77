"""What Ray Tune tells of trials, in orders that a healthy cluster never gives."""

import types

import pytest
from ray.exceptions import ActorDiedError
from rich.console import Console

from ipix_tune.config import StudyConfig
from ipix_tune.journal import Journal
from ipix_tune.live import Board, Display
from ipix_tune.space import SearchSpace
from ipix_tune.tracking import Tracker
from ipix_tune.watch import Watcher
from tests.ipix_tune.studies import base


@pytest.fixture
def watched(tmp_path):
    """A watcher, its journal and board, and a trial that was handed out and has not started."""
    study = StudyConfig.model_validate(base() | {"logging": {"mode": "disabled"}})
    journal = Journal(None, study, SearchSpace(study), total=12)
    board = Board(metric="val/miou", mode="max", total=12, max_epochs=9)
    key, values = journal.next()
    watcher = Watcher(
        journal,
        Tracker(tmp_path, study, {}),
        Display(board, Console(quiet=True)),
        values={key: values},
        on_end=lambda key: None,
        on_storage_fault=lambda reason: None,
        on_step=lambda: None,
    )
    config = {"key": key, "trainer": {}}
    trial = types.SimpleNamespace(config=config, last_result={}, get_error=lambda: ActorDiedError())
    return watcher, journal, board, trial


def test_a_trial_whose_node_vanishes_before_it_has_started_is_retried(watched):
    watcher, journal, board, trial = watched
    watcher.on_trial_recover(0, [], trial)
    assert (board.rows["t0000"].state, board.rows["t0000"].retries) == ("running", 1)
    watcher.on_trial_start(0, [], trial)
    assert journal.entry("t0000").retries == 1


def test_a_trial_that_never_starts_fails_with_its_cause(watched):
    watcher, journal, board, trial = watched
    watcher.on_trial_error(0, [], trial)
    assert board.rows["t0000"].state == "failed"
    (entry,) = journal.entries()
    assert (entry.state, entry.error) == ("failed", "its process died: killed, or out of memory")
