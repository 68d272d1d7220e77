"""Hard constraints: a trial that breaks one is told as such, stopped, and never the best."""

import math
import random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from analysis.stats import constraints
from ipix_tune.config.load_study import dump, from_mapping, from_text
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.execution.progress_table import ProgressTable, TrialRow
from ipix_tune.execution.stopper import Stop
from ipix_tune.execution.trainable import _train, trial_config
from ipix_tune.search.asha import Asha
from ipix_tune.search.rank_transform import ranked
from ipix_tune.search.ray_searcher import TrialStoreSearcher
from ipix_tune.search.trial_message import TrialMessage
from ipix_tune.search.trial_store import TrialStore
from ipix_tune.study.confirm_arms import leaders
from ipix_tune.study.kept_checkpoints import needed_of_search
from ipix_tune.trainer.resources import ResourcesConfig
from tests.ipix_tune.studies import base
from trainers.common.errors import ConfigError

MEMORY = {"memory/peak_mib": {"max": 100}}
LENGTH = 4


def study(**changes):
    trainer = {"function": "somewhere:fit", "epochs": LENGTH, "score": "val/dice"}
    search = {"lr": {"uniform": [0.0, 1.0]}}
    given = {"name": "bounded", "trainer": trainer, "search": search, "budget": {"trials": 30}, "constraints": MEMORY}
    return from_mapping({**given, **changes})


@pytest.mark.parametrize(
    ("bound", "value", "expected"),
    [
        ({"max": 100.0}, 110.0, 0.1),
        ({"max": 100.0}, 90.0, -0.1),
        ({"min": 50.0}, 40.0, 0.2),
        ({"min": 50.0, "max": 100.0}, 75.0, -0.25),
        ({"max": 0.0}, 2.0, 2.0),
        ({"max": 100.0}, math.inf, constraints.MOST),
    ],
)
def test_an_excess_is_a_share_of_the_bound_that_is_broken(bound, value, expected):
    assert constraints.excess(bound, value) == pytest.approx(expected)


def test_a_bound_at_the_end_counts_after_the_last_epoch_alone():
    bounds = {"val/iou/3": {"min": 20, "at_end": True}}
    assert constraints.measured(bounds, {"val/iou/3": 1.0}, last=False) == {}
    assert constraints.broken(bounds, constraints.measured(bounds, {"val/iou/3": 1.0}, last=True)) == {"val/iou/3": 1.0}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"memory/peak_mb": {"max": 1}},
            r'constraints: memory/peak_mb is not a metric.*did you mean "memory/peak_mib"',
        ),
        ({"final/last/miou": {"min": 1}}, "constraints: final/last/miou is measured on the validation list"),
        ({"memory/peak_mib": {"max": 1, "min": 2}}, "min = 2 is above max = 1: nothing is allowed"),
        ({"memory/peak_mib": {}}, "give min, max or both"),
        ({"memory/peak_mib": {"most": 1}}, "most"),
    ],
)
def test_a_constraint_that_cannot_be_kept_or_measured_is_refused_by_name(given, said):
    with pytest.raises(ConfigError, match=said):
        from_mapping({**base(), "constraints": given})


def test_a_study_with_constraints_is_the_same_when_it_is_read_again():
    whole = study()
    assert from_text(dump(whole), source="study.yaml") == whole


def heavy(config, report):
    for epoch in range(1, report.epochs + 1):
        if report(epoch, {"val/dice": 50.0 + epoch, "memory/peak_mib": config["memory"] * epoch}):
            return


def sent_by(folder, *, memory, bounds=MEMORY):
    trainer = {"function": f"{__name__}:heavy", "epochs": LENGTH, "score": "val/dice", "config": {"memory": memory}}
    sent = []
    resources = ResourcesConfig()
    asked = trial_config(
        "t0000", trainer=trainer, run_dir=folder, metric="val/dice", resources=resources, constraints=bounds
    )
    _train(asked, sent.append)
    return [TrialMessage.from_result(row) for row in sent]


def test_a_trial_ends_with_the_epoch_that_breaks_a_constraint_and_names_the_figure(tmp_path):
    told = sent_by(tmp_path, memory=60)
    assert [one.infeasible for one in told] == [None, "memory/peak_mib is 120, at most 100 is allowed"]


def test_a_trial_that_is_taken_up_after_it_broke_a_constraint_trains_no_more(tmp_path):
    assert sent_by(tmp_path, memory=60)[-1].infeasible == sent_by(tmp_path, memory=60)[-1].infeasible
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_metric_that_is_bounded_and_never_reported_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r'no epoch reported memory/peak_mb.*did you mean "memory/peak_mib"'):
        sent_by(tmp_path, memory=1, bounds={"memory/peak_mb": {"max": 100}})


def test_ray_is_told_to_stop_a_trial_that_broke_a_constraint_whatever_the_scheduler(tmp_path):
    stop = Stop(tmp_path, exhausted=lambda: None)
    assert stop("t", TrialMessage(epoch=1, infeasible="too large").to_result())
    assert not stop("t", TrialMessage(epoch=1, score=1.0).to_result())


def test_scores_of_a_trial_that_broke_a_constraint_are_no_bar_at_the_rungs():
    asha = Asha(mode="max", max_epochs=9, grace_epochs=1, reduction=3)
    asha.decide("t0000", 1, 99.0)
    trial = SimpleNamespace(config={"key": "t0000"})
    asha.on_trial_complete(None, trial, TrialMessage(epoch=2, infeasible="too large").to_result())
    assert asha.rungs[1] == {}
    assert asha.cutoff(1) == -math.inf


def test_optuna_is_told_by_how_much_each_constraint_was_broken_or_kept(tmp_path):
    whole = study()
    store = TrialStore(tmp_path, whole, SearchSpace(whole), total=2)
    for memory, state in ((150.0, "infeasible"), (50.0, "complete")):
        key, _ = store.next()
        store.measure(key, {"memory/peak_mib": memory}, last=False)
        store.report(key, epoch=LENGTH, score=1.0)
        store.end(key, state=state, error="too large" if state == "infeasible" else None)
    broke, kept = store._study.get_trials()
    assert (broke.state, broke.constraints) == (TrialState.PRUNED, {"memory/peak_mib": pytest.approx(0.5)})
    assert (kept.state, kept.constraints) == (TrialState.COMPLETE, {"memory/peak_mib": pytest.approx(-0.5)})
    assert [one.state for one in ranked(store._study.get_trials())] == [TrialState.PRUNED, TrialState.COMPLETE]
    again = TrialStore(tmp_path, whole, SearchSpace(whole), total=2)
    assert [(one.state, one.error) for one in again.entries()] == [("infeasible", "too large"), ("complete", None)]


def test_the_sampler_keeps_away_from_where_trials_break_a_constraint(tmp_path):
    """All above 0.5 is best and too large: without the constraint TPE goes there, with it to the next best, 0.1."""
    asked = {}
    for bounds in (MEMORY, {}):
        whole = study(constraints=bounds, sampler={"seed": 1}, budget={"trials": 40})
        store = TrialStore(None, whole, SearchSpace(whole), total=40)
        for _ in range(40):
            key, values = store.next()
            memory = 150.0 if values["lr"] > 0.5 else 50.0
            store.measure(key, {"memory/peak_mib": memory}, last=False)
            store.report(key, epoch=LENGTH, score=2.0 if values["lr"] > 0.5 else 1 - abs(values["lr"] - 0.1))
            store.end(key, state="infeasible" if bounds and memory > 100 else "complete")
        late = [entry.values["lr"] for entry in store.entries()[20:]]
        asked[bool(bounds)] = sum(lr > 0.5 for lr in late)
    assert asked[True] < asked[False] / 2


def test_a_running_trial_that_has_told_of_a_broken_constraint_is_not_the_incumbent():
    board = ProgressTable(metric="val/dice", mode="max", total=2, max_epochs=LENGTH)
    for key, infeasible in (("t0000", True), ("t0001", False)):
        row = board.rows[key] = TrialRow(values={"lr": key}, infeasible=infeasible)
        row.reported(1, score=90.0 if infeasible else 10.0, second_score=None)
    assert board.best() == ("t0001", 10.0)


@given(seed=st.integers(0, 10**6), at_end=st.booleans())
@settings(deadline=None, max_examples=15)
def test_whatever_a_study_goes_through_no_trial_that_broke_a_constraint_is_the_best(seed, at_end):
    """The study's own record, searcher, scheduler and live table, with scores and memory by chance."""
    chance = random.Random(seed)
    whole = study(constraints={"memory/peak_mib": {"max": 100, "at_end": at_end}}, sampler={"name": "random"})
    store = TrialStore(None, whole, SearchSpace(whole), total=12)
    asha = Asha(mode="max", max_epochs=LENGTH, grace_epochs=1, reduction=2)
    searcher = TrialStoreSearcher(
        store, trial_config=lambda key, values: {"key": key, **values}, concurrent=lambda: 3, max_epochs=LENGTH
    )
    board = ProgressTable(metric="val/dice", mode="max", total=12, max_epochs=LENGTH)
    running, broke = {}, set()
    while True:
        while isinstance(config := searcher.suggest(f"r{len(board.rows)}"), dict):
            running[config["key"]] = (f"r{len(board.rows)}", 1)
            board.rows[config["key"]] = TrialRow(values={"lr": config["lr"]})
        if not running:
            break
        key = chance.choice(sorted(running))
        tune_id, epoch = running[key]
        metrics = {"val/dice": chance.random(), "memory/peak_mib": chance.uniform(0, 130)}
        beyond = constraints.broken(whole.bounds, constraints.measured(whole.bounds, metrics, last=epoch == LENGTH))
        infeasible = constraints.said(whole.bounds, beyond) if beyond else None
        told = TrialMessage(epoch=epoch, score=metrics["val/dice"], metrics=metrics, infeasible=infeasible)
        result, row = told.to_result(), board.rows[key]
        row.reported(epoch, score=told.score, second_score=None)
        trial = SimpleNamespace(config={"key": key}, trial_id=tune_id)
        decision = asha.on_trial_result(None, trial, result)
        if infeasible:
            broke.add(key)
            row.infeasible = True
        if infeasible or decision == "STOP" or epoch == LENGTH:
            asha.on_trial_complete(None, trial, result)
            searcher.on_trial_complete(tune_id, result)
            row.state = store.entries()[int(key[1:])].state
            del running[key]
        else:
            searcher.on_trial_result(tune_id, result)
            running[key] = (tune_id, epoch + 1)
        best = board.best()
        assert best is None or best[0] not in broke
        assert not broke & {key for scores in asha.rungs.values() for key in scores}
    assert {entry.key for entry in store.entries() if entry.state == "infeasible"} == broke
    assert not broke & {entry.key for entry in leaders(whole, store.entries(), top=9, max_epochs=LENGTH)}
    assert not broke & needed_of_search(whole, store, board)
