"""What goes wrong when all trials have ended: it is said, and nothing is called whole that is not."""

import errno

import pytest
from rich.console import Console

from ipix_tune.config.search_space import SearchSpace
from ipix_tune.execution import runner
from ipix_tune.execution.phase import Work, progress_of
from ipix_tune.execution.runner import Runner
from ipix_tune.search.trial_store import TrialStore
from tests.ipix_tune.execution.test_complete_logs import EPOCHS, study, trained  # noqa: F401
from trainers.common.errors import OutputError


@pytest.fixture
def ended(study):  # noqa: F811
    """Drives a study whose trials have all ended, to its end."""
    place, facts, entries = trained(study)
    trials = TrialStore(place, study, SearchSpace(study), total=len(entries))
    assert trials.remaining == 0
    work = Work(
        facts=facts,
        probe=facts.training(entries[0].values),
        trials=trials,
        record=("journal.log",),
        scheduler=None,
        progress=progress_of(study, entries, total=len(entries), max_epochs=EPOCHS, phase="search"),
        exhausted=lambda: None,
        converged=lambda: None,
        needed=set,
    )
    return lambda copy=None: Runner(study, work, place, copy, console=Console(quiet=True)).run()


def test_an_undisturbed_end_is_no_early_one(ended):
    outcome = ended()
    assert (outcome.cut_short, outcome.lacking, outcome.scored) == (None, (), 2)


class Unreachable:
    """A copy in object storage that fails."""

    def names(self):
        return ["journal.log"]

    def push(self, names):
        raise OutputError("s3://bucket/lab: no answer for 60 s")


def test_a_copy_that_fails_at_the_very_end_is_an_early_end_with_its_reason(ended):
    outcome = ended(Unreachable())
    assert "failed: s3://bucket/lab: no answer for 60 s. Mend that first" in outcome.cut_short


def test_a_record_whose_disk_is_full_at_the_very_end_is_one_too(ended, monkeypatch):
    def full(self):
        raise OSError(errno.ENOSPC, "No space left on device", "journal.log")

    monkeypatch.setattr(TrialStore, "write_seconds", full)
    assert "No space left on device: 'journal.log'" in ended().cut_short


def test_logs_that_cannot_be_compared_are_said_and_end_nothing(ended, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("the reader is broken")

    monkeypatch.setattr(runner, "complete", broken)
    outcome = ended()
    assert outcome.lacking == ("unknown which, since they could not be compared (the reader is broken)",)
    assert outcome.cut_short is None
