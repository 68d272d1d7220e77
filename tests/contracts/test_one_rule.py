"""Report, tables for papers, export, live table and confirmation name the same best configuration, whatever a study
went through: several seeds, failures, broken constraints, epochs without a score, ties, two objectives."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.figures.incumbent import incumbents
from analysis.ingest.logged_run import LoggedRun
from analysis.ingest.tables import build_tables
from analysis.stats.configuration_means import results
from analysis.stats.objective import Objective
from analysis.stats.pareto import pareto
from analysis.stats.study import from_tables
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.execution.progress_table import OVER, ProgressTable, TrialRow
from ipix_tune.search.budget import ended_since_improvement
from ipix_tune.search.trial_record import TrialRecord
from ipix_tune.study.confirm_arms import leaders
from ipix_tune.study.export import ExportError, choose
from tests.ipix_tune.studies import base

FULL = 4
SCORE, PRICE = "val/miou", "time/step_ms"
ANY = {"kind": "uniform", "low": 0, "high": 1, "step": None, "choices": None, "only_if": None}
STATES = ("complete", "complete", "stopped", "failed", "interrupted", "running", "infeasible")


def key_of(number):
    return f"t{number:04d}"


trials = st.lists(
    st.builds(
        dict,
        state=st.sampled_from(STATES),
        epochs=st.integers(1, FULL),
        unscored=st.sets(st.integers(1, FULL)),
        score=st.integers(0, 3),
        price=st.integers(0, 2),
        lr=st.sampled_from([0.1, 0.2, 0.3]),
        seed=st.integers(0, 2),
    ),
    min_size=1,
    max_size=9,
)


def curves_of(one):
    """Epochs that the trial ran, and its scores and prices by epoch."""
    epochs = FULL if one["state"] == "complete" else min(one["epochs"], FULL - 1)
    scored = [epoch for epoch in range(1, epochs + 1) if epoch not in one["unscored"]]
    return (
        epochs,
        {epoch: float(one["score"] - (epochs - epoch)) for epoch in scored},
        {epoch: float(one["price"] + epochs - epoch) for epoch in range(1, epochs + 1)},
    )


def values_of(one):
    return {"optim.lr": one["lr"], "seed": one["seed"]}


def logged(number, one, *, mode, second):
    """As the study's runs are logged."""
    epochs, scores, prices = curves_of(one)
    run = LoggedRun(run_id=f"s-{key_of(number)}", started=float(number), ended=True, summary={"state": one["state"]})
    run.config = {
        "schema_version": 1,
        "study": "s",
        "trial": {"key": key_of(number), "number": number},
        "search": values_of(one),
        "space": {"optim.lr": ANY, "seed": ANY},
        "trainer": {"seed": one["seed"]},
        "objective": {"metric": SCORE, "mode": mode, "second_objective": second},
        "scheduler": {"max_epochs": FULL, "rungs": [1, FULL]},
    }
    for epoch in range(1, epochs + 1):
        score = {SCORE: scores[epoch]} if epoch in scores else {}
        run.add_row({"epoch": epoch, PRICE: prices[epoch], "_timestamp": 100.0 * number + epoch, **score})
    return run


def recorded(number, one, *, second):
    """As the study's record has it."""
    _, scores, prices = curves_of(one)
    return TrialRecord(
        key=key_of(number),
        values=values_of(one),
        scores=scores,
        state="running" if one["state"] == "interrupted" else one["state"],
        error=None,
        retries=0,
        second_score=prices[max(scores)] if scores and second else None,
    )


def in_progress(drawn, *, mode, second):
    """As the driver sees it."""
    progress = ProgressTable(
        metric=SCORE,
        mode=mode,
        second_objective=Objective(**second) if second else None,
        total=9,
        max_epochs=FULL,
    )
    for number, one in enumerate(drawn):
        epochs, scores, prices = curves_of(one)
        row = progress.rows[key_of(number)] = TrialRow(values=values_of(one), state=one["state"])
        for epoch in range(1, epochs + 1):
            row.reported(epoch, score=scores.get(epoch), second_score=prices[epoch] if second else None)
    return progress


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("second", [None, "min", "max"])
@given(drawn=trials)
@settings(deadline=None, max_examples=70)
def test_all_that_name_a_best_configuration_name_the_same(mode, second, drawn):
    second = {"metric": PRICE, "mode": second} if second else None
    config = StudyConfig.model_validate(
        {**base(), "objective": {"metric": SCORE, "mode": mode, "second_objective": second}}
    )
    tables = build_tables([logged(number, one, mode=mode, second=second) for number, one in enumerate(drawn)])
    study, progress = from_tables(tables), in_progress(drawn, mode=mode, second=second)
    entries = [recorded(number, one, second=second) for number, one in enumerate(drawn)]

    shown, mean = study.best(), None
    assert shown is None or shown.state != "infeasible"
    try:
        exported = choose(tables)
        assert (exported.row["trial"], exported.score) == (shown.number, study.mean_score(shown))
        mean = exported.score
    except ExportError:
        assert shown is None
    assert progress.best() == (None if shown is None else (key_of(shown.number), mean))

    full = [one for one in study.ranked if one.full]
    assert [one.key for one in leaders(config, entries, top=9, max_epochs=FULL)] == [key_of(one.number) for one in full]
    assert [one.trials[0].number for one in results(study)] == [one.number for one in full]
    if second is not None and full:
        front = [key_of(point.trial.number) for point in pareto(study, noise=None).front]
        assert list(exported.front) == progress.front() == front
        assert front[0] == key_of(shown.number)

    steps = incumbents(study, sorted((one for one in study.trials if one.curve), key=lambda one: one.ended_at))
    assert (steps[-1][1] if steps else None) == (mean if full else None)

    ended = set(OVER)
    if shown is not None and shown.state in ended:
        to_come = {one.scored.settings for one in entries if one.state not in ended and one.scored is not None}
        assert key_of(shown.number) in progress.contenders(unsettled=to_come)


@given(drawn=trials)
@settings(deadline=None, max_examples=100)
def test_the_search_is_not_called_settled_at_the_trial_that_made_the_best(drawn):
    """The last trial of a study is the best configuration's only one: nothing has ended since."""
    entries = [recorded(number, one, second=None) for number, one in enumerate(drawn)]
    last = {"state": "complete", "epochs": FULL, "unscored": set(), "score": 99, "price": 0, "lr": 0.9, "seed": 0}
    entries.append(recorded(len(drawn), last, second=None))
    assert ended_since_improvement(entries, max_epochs=FULL, by=0.5, sign=1) == 0
