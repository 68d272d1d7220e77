"""What a phase of a study came to, by what its record could still hand out."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from ipix_tune.execution.progress_table import ProgressTable, TrialRow
from ipix_tune.execution.runner import Runner
from ipix_tune.execution.stopper import Stop


def outcome(trials, *, over):
    """Of a search whose trials have all begun and stand still; ``over``: the key of the budget that is used up."""
    rows = {"t0000": TrialRow(values={}, state="stopped", epoch=1)}
    table = ProgressTable(metric="val/miou", mode="max", total=1, max_epochs=9, rows=rows)
    runner = Runner.__new__(Runner)
    runner._place, runner._copy, runner._needed = Path(), None, set
    runner._work = SimpleNamespace(progress=table, trials=trials, converged=lambda: None)
    runner._stop = Stop(Path(), exhausted=lambda: over)
    runner._stop.stop_all()
    return runner._outcome(())


@pytest.mark.parametrize("over", ["budget.epochs", None])
def test_a_search_whose_budget_is_over_while_a_frozen_trial_would_go_on_was_cut_short(over):
    told = outcome(SimpleNamespace(remaining=0, goes_on=True), over=over).cut_short
    assert told is None if over is None else told.startswith("budget.epochs is over")


def test_a_search_whose_budget_is_over_with_its_last_trial_was_not_cut_short():
    assert outcome(SimpleNamespace(remaining=0, goes_on=False), over="budget.epochs").cut_short is None
