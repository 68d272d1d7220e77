"""The report and the export choose the same trial, though neither may import the other."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.logs.run import LoggedRun
from analysis.stats.study import from_tables
from analysis.tables import build_tables
from ipix_tune.export import ExportError, choose

SPACE = {"optim.lr": {"kind": "uniform", "low": 0, "high": 1, "step": None, "choices": None, "only_if": None}}
STATES = ("complete", "stopped", "interrupted", "crashed")


def logged(number, *, state, epochs, score, lr, seed, mode):
    run = LoggedRun(run_id=f"s-t{number:04d}", started=float(number), ended=True, summary={"state": state})
    run.config = {
        "schema_version": 1,
        "study": "s",
        "trial": {"key": f"t{number:04d}", "number": number},
        "search": {"optim.lr": lr},
        "space": SPACE,
        "trainer": {"seed": seed},
        "objective": {"metric": "val/miou", "mode": mode},
        "scheduler": {"max_epochs": 4, "rungs": [1, 4]},
    }
    for epoch in range(1, epochs + 1):
        run.add_row({"epoch": epoch, "val/miou": score - (epochs - epoch)})
    return run


trials = st.lists(
    st.tuples(
        st.sampled_from(STATES),
        st.integers(1, 4),
        st.integers(0, 20),
        st.sampled_from([0.1, 0.2, 0.3]),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("mode", ["max", "min"])
@given(drawn=trials)
@settings(deadline=None, max_examples=80)
def test_the_report_and_the_export_choose_the_same_trial(mode, drawn):
    runs = [
        logged(
            number,
            state=state,
            epochs=4 if state == "complete" else min(epochs, 3),
            score=float(score),
            lr=lr,
            seed=seed,
            mode=mode,
        )
        for number, (state, epochs, score, lr, seed) in enumerate(drawn)
    ]
    tables = build_tables(runs)
    shown = from_tables(tables).best()
    try:
        exported = choose(tables.runs.to_pylist()).row["trial"]
    except ExportError:
        exported = None
    assert exported == (None if shown is None else shown.number)
