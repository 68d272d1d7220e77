from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest

from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.execution.progress_table import ProgressTable, TrialRow
from ipix_tune.execution.runner import Runner
from ipix_tune.search.freeze_thaw import EXPLORED, FreezeThaw
from ipix_tune.search.schedulers import build_scheduler
from ipix_tune.search.trial_store import TrialStore
from ipix_tune.study.simulation.parametric_curves import ParametricCurves
from ipix_tune.study.simulation.simulator import Simulation
from ipix_tune.trainer.interface import SpaceError
from tests.ipix_tune.search.test_curve_surrogate import SEARCH, records, surrogate
from tests.ipix_tune.studies import base

EPOCHS = 9


def study(**changes):
    data = {
        "search": SEARCH,
        "points": [],
        "budget": {"trials": 24},
        "sampler": {"name": "surrogate", "startup_trials": 6},
        "scheduler": {"name": "freeze_thaw", "grace_epochs": 1, "reduction": 3},
    }
    return StudyConfig.model_validate(base() | data | changes)


class Counted:
    """Curves that count how often a configuration is begun."""

    search = None

    def __init__(self, config):
        self._curves = ParametricCurves(SearchSpace(config), shape="power", mode="max", epochs=EPOCHS, seed=0)

    def curve(self, values):
        return self._curves.curve(values)


@pytest.fixture(scope="module")
def outcome():
    config = study()
    return Simulation(config, Counted(config), max_epochs=EPOCHS, concurrent=3).run()


def test_all_trials_of_the_budget_begin_and_no_epoch_is_paid_for_twice(outcome):
    assert len(outcome.entries) == 24
    assert outcome.epochs == sum(max(one.scores) for one in outcome.entries)


def test_every_trial_is_frozen_at_a_rung_or_has_run_in_full(outcome):
    assert {max(one.scores) for one in outcome.entries} <= {1, 3, EPOCHS}
    assert {one.state for one in outcome.entries} == {"complete", "stopped"}


def test_where_all_trials_run_at_once_few_of_them_go_on_to_the_end():
    config = study()
    found = Simulation(config, Counted(config), max_epochs=EPOCHS, concurrent=24).run()
    assert Counter(one.state for one in found.entries)["complete"] <= 8


def test_fewer_trials_go_on_the_higher_the_rung(outcome):
    reached = [len(outcome.rungs[1]), len(outcome.rungs[3]), Counter(one.state for one in outcome.entries)["complete"]]
    assert reached[0] == 24
    assert 1 <= reached[2] < reached[1] < reached[0]


def test_a_study_does_not_end_while_a_frozen_trial_is_likely_to_become_the_best(outcome):
    assert scheduler(outcome.entries, least=6).thaw(begin=False) is None


def scheduler(known, *, least=5, seed=0, believed=False):
    model = surrogate(least=least)

    def fitted(records):
        model.fit(records)
        return model

    return FreezeThaw(
        fitted, levels=(1, 3, EPOCHS), seed=seed, records=lambda: known, may_begin=lambda: True, believed=believed
    )


def test_before_anything_is_modelled_a_trial_is_frozen_and_a_new_one_begins():
    known = records(4)
    judge = scheduler(known, least=20)
    assert judge.decide("t0000", 1, known[0].scores[1] + 1) == "CONTINUE"  # a score that the record has: decided before
    assert judge.thaw(begin=True) is None


def test_where_none_may_begin_and_none_is_complete_the_leading_trial_goes_on():
    known = records(8, reached=lambda number: (1,))
    best = max(known, key=lambda one: one.scores[1])
    assert scheduler(known, least=20).thaw(begin=False) == best.key


def test_the_same_record_gives_the_same_decision():
    known = records(40, reached=lambda number: (1, 3)[: 1 + (number % 4 == 0)])
    found = {scheduler(known).thaw(begin=True) for _ in range(3)}
    assert len(found) == 1


def test_an_outstanding_trial_goes_on_rather_than_a_new_one_beginning():
    known = records(40, reached=lambda number: (1,))
    raised = known[7].scores[1] + 60
    known[7].scores[1] = raised
    wins = [scheduler(known, seed=seed).thaw(begin=True) for seed in range(12)]
    assert wins.count(known[7].key) >= 10


@pytest.mark.parametrize(("believed", "said"), [(True, "CONTINUE"), (False, "STOP")])
def test_the_first_trial_runs_in_full_where_the_author_would_bet_on_it(believed, said):
    judge = scheduler(records(8, reached=lambda number: (1,) if number else ()), least=20, believed=believed)
    assert judge.decide("t0000", 1, 0.0) == said


def drawn_evenly(known, *numbers):
    return [replace(one, source="even") if number in numbers else one for number, one in enumerate(known)]


def judged(known, epoch, key="t0000"):
    return scheduler(known, least=1000).decide(key, epoch, 0.0)


def but_the_first(number):
    return (1,) if number else ()


@pytest.mark.parametrize(("count", "said"), [(29, "STOP"), (30, "CONTINUE")])
def test_an_evenly_drawn_trial_runs_in_full_once_half_of_it_is_the_share_of_all_epochs(count, said):
    assert EXPLORED * 30 == EPOCHS / 2
    known = records(count, reached=but_the_first)
    assert judged(drawn_evenly(known, 0), 1) == said
    assert judged(known, 1) == "STOP"


def test_one_that_runs_in_full_goes_on_at_every_rung_and_leaves_less_for_others():
    known = records(70, reached=lambda number: (1, 3) if number == 5 else (1,) if number else ())
    assert judged(drawn_evenly(known, 0), 1) == "CONTINUE"
    assert judged(drawn_evenly(known, 0, 5), 1) == "STOP"  # of 72 epochs; one and a half trials are the share of 90
    assert judged(drawn_evenly(known, 5), 3, key="t0099") == "STOP"
    known[5].scores.pop(3)
    assert judged(drawn_evenly(known, 5), 3, key="t0005") == "CONTINUE"
    frozen = [replace(one, again=True) for one in drawn_evenly(known, 5)]
    assert judged(frozen, 3, key="t0005") == "STOP"


POINT = {"optim.lr": 0.1, "interpixel.tau": 0.5, "method.teacher": "shared"}
TAU = {"uniform": [0, 1], "prior": {"center": 0.5}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"points": [POINT]}, "CONTINUE"), ({"search": {**SEARCH, "interpixel.tau": TAU}}, "CONTINUE"), ({}, "STOP")],
)
def test_a_point_and_the_center_of_a_prior_are_what_the_author_would_bet_on(changes, said):
    config = study(**changes)
    store = TrialStore(None, config, SearchSpace(config), total=5, max_epochs=EPOCHS)
    judge = build_scheduler(config, store, max_epochs=EPOCHS)
    key, _ = store.next()
    assert judge.decide(key, 1, 0.0) == said


def test_a_trial_is_not_judged_between_rungs_nor_at_its_end():
    judge = scheduler(records(20))
    assert [judge.decide("t0099", epoch, 0.0) for epoch in (2, 4, EPOCHS)] == ["CONTINUE"] * 3


def opened(folder):
    config = study()
    return TrialStore(folder, config, SearchSpace(config), total=5, max_epochs=EPOCHS)


def with_a_frozen_trial(folder):
    """A store whose scheduler has its one trial go on, which stopped after its first epoch; its key and its values."""
    store = opened(folder)
    key, values = store.next()
    store.report(key, epoch=1, score=2.0)
    store.end(key, state="stopped")
    store.thaw = lambda begin: key
    return store, key, values


def test_a_trial_that_goes_on_keeps_its_key_and_its_epochs_and_takes_nothing_of_the_budget(tmp_path):
    store, key, values = with_a_frozen_trial(tmp_path)
    assert store.next() == (key, values)
    assert store.entry(key).scores == {1: 2.0}
    assert store.remaining == 4
    assert [one.state for one in store.entries()] == ["running"]


def test_a_driver_that_dies_while_a_thawed_trial_runs_takes_it_up_again(tmp_path):
    store, key, values = with_a_frozen_trial(tmp_path)
    store.next()
    store.report(key, epoch=2, score=3.0)
    again = opened(tmp_path)
    assert again.next() == (key, values)
    assert again.entry(key).scores == {1: 2.0, 2: 3.0}


def test_the_scheduler_is_asked_by_the_store(tmp_path):
    config = study()
    store = TrialStore(tmp_path, config, SearchSpace(config), total=5, max_epochs=EPOCHS)
    assert isinstance(build_scheduler(config, store, max_epochs=EPOCHS), FreezeThaw)
    assert store.thaw is not None
    assert not store.waits
    store.next()
    assert store.waits


@pytest.mark.parametrize(("thaw", "removed"), [(None, {"t0000", "t0001"}), (lambda begin: None, set())])
def test_a_resumed_study_keeps_the_checkpoints_of_trials_that_an_earlier_driver_froze(thaw, removed):
    rows = {f"t000{number}": TrialRow(values={}, state="stopped", epoch=1) for number in range(2)}
    table = ProgressTable(metric="val/miou", mode="max", total=5, max_epochs=EPOCHS, rows=rows)
    gone, ignore = [], SimpleNamespace(remove_checkpoints=lambda of: None, save_end=lambda key: None)
    runner = Runner.__new__(Runner)
    runner._study = SimpleNamespace(keep_checkpoints="best")
    runner._work = SimpleNamespace(progress=table, trials=SimpleNamespace(thaw=thaw), needed=set)
    runner._checkpoints = SimpleNamespace(remove=lambda of: gone.extend(of))
    runner._copies, runner._logs = ignore, SimpleNamespace(ended=lambda key: None)
    runner._trial_ended("t0001")
    assert set(gone) == removed


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sampler": {"name": "tpe"}}, "set sampler.name: surrogate"),
        ({"scheduler": {"name": "freeze_thaw", "brackets": 2}}, "scheduler.brackets = 2"),
        (
            {"objective": {"second_objective": {"metric": "time/step_ms", "mode": "min"}}},
            "the surrogate has one objective",
        ),
    ],
)
def test_what_does_not_go_with_it_is_refused_with_the_way_out(changes, said):
    from ipix_tune.config.validate_scheduler import check_scheduler

    with pytest.raises(SpaceError, match=said):
        check_scheduler(study(**changes))


def test_a_command_that_cannot_go_on_is_refused():
    from ipix_tune.config.validate_scheduler import check_scheduler

    asked = study().model_copy(update={"trainer": {"command": "python train.py"}})
    with pytest.raises(SpaceError, match=r"trainer\.resume"):
        check_scheduler(asked)
