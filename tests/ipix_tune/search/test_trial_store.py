import math
from types import SimpleNamespace

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.tune.schedulers import ASHAScheduler

from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.search.asha import Asha
from ipix_tune.search.sampler_file import SAMPLER
from ipix_tune.search.trial_store import TrialStore
from ipix_tune.storage.atomic import FolderError
from tests.ipix_tune.studies import base


def study(**changes):
    return StudyConfig.model_validate({**base(), **changes})


def trial_store(folder, config=None, total=12, **given):
    config = config or study()
    return TrialStore(folder, config, SearchSpace(config), total=total, **given)


def test_the_first_trial_is_the_first_point(tmp_path):
    key, values = trial_store(tmp_path).next()
    assert key == "t0000"
    assert values == base()["points"][0]


def test_no_more_trials_are_handed_out_than_the_budget_has(tmp_path):
    store = trial_store(tmp_path, total=3)
    assert [store.next() is not None for _ in range(4)] == [True, True, True, False]


def test_a_stopped_trial_is_told_as_pruned_with_every_score_it_reported(tmp_path):
    store = trial_store(tmp_path)
    key, _ = store.next()
    for epoch, score in ((1, 10.0), (2, 12.0), (3, 11.0)):
        store.report(key, epoch=epoch, score=score)
    store.end(key, state="stopped")
    trial = store._study.trials[0]
    assert trial.state == optuna.trial.TrialState.PRUNED
    assert trial.intermediate_values == {1: 10.0, 2: 12.0, 3: 11.0}


def test_a_complete_trial_has_its_last_score(tmp_path):
    store = trial_store(tmp_path)
    key, _ = store.next()
    store.report(key, epoch=1, score=30.0)
    store.report(key, epoch=2, score=20.0)
    store.end(key, state="complete")
    assert store._study.trials[0].value == 20.0


def test_a_failed_trial_tells_the_sampler_no_score(tmp_path):
    store = trial_store(tmp_path)
    key, _ = store.next()
    store.report(key, epoch=1, score=30.0)
    store.end(key, state="failed", error="loss strong1 is NaN at step 7")
    trial = store._study.trials[0]
    assert (trial.state, trial.value) == (optuna.trial.TrialState.FAIL, None)
    assert store.entries()[0].error == "loss strong1 is NaN at step 7"


def test_a_trial_whose_failure_was_cut_off_half_written_and_that_then_ends_well_has_no_error(tmp_path):
    store = trial_store(tmp_path)
    key, _ = store.next()
    store._open[key]._trial.set_user_attr("error", "the node was lost")
    again = trial_store(tmp_path)
    again.next()
    again.report(key, epoch=9, score=30.0)
    again.end(key, state="complete")
    assert (again.entries()[0].state, again.entries()[0].error) == ("complete", None)


def test_an_epoch_that_is_reported_twice_keeps_its_first_score(tmp_path):
    store = trial_store(tmp_path)
    key, _ = store.next()
    store.report(key, epoch=1, score=30.0)
    store.report(key, epoch=1, score=99.0)
    assert store.entries()[0].scores == {1: 30.0}


def test_a_reopened_journal_hands_out_running_trials_first_under_the_same_key_and_values(tmp_path):
    first = trial_store(tmp_path)
    handed_out = [first.next() for _ in range(4)]
    first.end(handed_out[1][0], state="failed", error="x")
    again = trial_store(tmp_path)
    assert [again.next() for _ in range(3)] == [handed_out[0], handed_out[2], handed_out[3]]


def test_a_reopened_journal_leaves_ended_trials_as_they_were(tmp_path):
    first = trial_store(tmp_path)
    key, _ = first.next()
    first.report(key, epoch=1, score=5.0)
    first.end(key, state="stopped")
    before = first.entries()
    assert trial_store(tmp_path).entries() == before


def test_the_remaining_budget_survives_reopening(tmp_path):
    first = trial_store(tmp_path, total=5)
    for _ in range(3):
        first.end(first.next()[0], state="failed", error="x")
    assert trial_store(tmp_path, total=5).remaining == 2


@pytest.mark.parametrize("sampler", ["tpe", "surrogate", "random", "gp", "cmaes"])
def test_the_next_suggestion_after_reopening_is_the_one_that_would_have_come(tmp_path, sampler):
    def run(store, trials):
        found = []
        for number in range(trials):
            key, values = store.next()
            found.append(values)
            store.report(key, epoch=1, score=float(len(found) + number))
            store.end(key, state="stopped" if number % 2 else "complete")
        return found

    config = study(sampler={"name": sampler, "startup_trials": 2})
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    unbroken = run(trial_store(tmp_path / "a", config), 7)
    run(trial_store(tmp_path / "b", config), 6)
    reopened = trial_store(tmp_path / "b", config).next()[1]
    assert reopened == unbroken[6]


def test_a_trial_that_was_cut_off_while_it_was_asked_gets_the_rest_of_its_values(tmp_path):
    first = trial_store(tmp_path)
    first.next()
    trial = first._study.ask()
    alpha = trial.suggest_float("interpixel.alpha", 0.01, 10, log=True)
    again = trial_store(tmp_path)
    again.next()
    key, values = again.next()
    assert key == "t0001"
    assert values["interpixel.alpha"] == alpha
    assert {"interpixel.distance", "method.teacher", "optim.lr"} <= set(values)


def test_a_trial_taken_up_whole_leaves_no_trace_in_what_is_suggested_next(tmp_path):
    def run(store, trials):
        found = []
        for _ in range(trials):
            key, values = store.next()
            found.append(values)
            store.report(key, epoch=1, score=float(key[1:]))
            store.end(key, state="complete")
        return found

    config = study(sampler={"name": "tpe", "startup_trials": 2})
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    unbroken = run(trial_store(tmp_path / "a", config), 7)
    store = trial_store(tmp_path / "b", config)
    run(store, 5)
    store.next()
    assert run(trial_store(tmp_path / "b", config), 2) == unbroken[5:]


def test_a_driver_that_dies_before_it_saved_the_sampler_does_not_give_the_same_trial_twice(tmp_path, monkeypatch):
    config = study(points=[], sampler={"name": "random"})
    first = trial_store(tmp_path, config)
    first.next()
    monkeypatch.setattr("ipix_tune.search.sampler_file.replace_bytes", lambda path, data: None)
    last = first.next()[1]
    monkeypatch.undo()
    again = trial_store(tmp_path, config)
    assert [again.next()[1] for _ in range(2)][1] == last
    assert again.next()[1] != last


def test_points_that_a_killed_driver_did_not_write_are_still_tried_and_only_once(tmp_path):
    points = [{**base()["points"][0], "optim.lr": lr} for lr in (0.01, 0.02, 0.03)]
    trial_store(tmp_path, study(points=points[:1]))
    store = trial_store(tmp_path, study(points=points))
    assert [store.next()[1] for _ in range(3)] == points
    assert len(trial_store(tmp_path, study(points=points)).entries()) == 3


def test_the_time_that_earlier_drivers_took_is_counted(tmp_path):
    store = trial_store(tmp_path)
    store._before = 1000.0
    store.write_seconds()
    assert 1000 <= trial_store(tmp_path).seconds < 1100


def test_a_score_that_is_no_number_is_no_score(tmp_path):
    store = trial_store(tmp_path)
    key, _ = store.next()
    store.report(key, epoch=1, score=math.nan)
    store.end(key, state="complete")
    (entry,) = store.entries()
    assert (entry.state, entry.scores, entry.error) == ("failed", {}, "it reported no score")


def test_a_grid_is_run_once_over_with_inactive_dimensions_left_out(tmp_path):
    search = {
        "method.teacher": {"choice": ["shared", "ema"]},
        "method.ema_decay": {"choice": [0.99, 0.996], "only_if": {"method.teacher": "ema"}},
    }
    store = trial_store(tmp_path, study(search=search, points=[], sampler={"name": "grid"}), total=100)
    found = []
    while (one := store.next()) is not None:
        found.append(tuple(sorted(one[1].items())))
    assert sorted(found) == sorted(
        [
            (("method.teacher", "shared"),),
            (("method.ema_decay", 0.99), ("method.teacher", "ema")),
            (("method.ema_decay", 0.996), ("method.teacher", "ema")),
        ]
    )


def test_trials_that_ended_are_listed_in_that_order_also_by_the_next_driver(tmp_path):
    store = trial_store(tmp_path)
    keys = [store.next()[0] for _ in range(4)]
    for key, state in ((keys[2], "stopped"), (keys[0], "failed"), (keys[3], "complete")):
        store.report(key, epoch=1, score=1.0)
        store.end(key, state=state, error="NaN" if state == "failed" else None)
    assert [(entry.key, entry.state) for entry in store.ended()] == [
        ("t0002", "stopped"),
        ("t0000", "failed"),
        ("t0003", "complete"),
    ]
    assert trial_store(tmp_path).ended() == store.ended()


def test_retries_are_counted_and_kept(tmp_path):
    store = trial_store(tmp_path)
    key, _ = store.next()
    assert [store.retried(key), store.retried(key)] == [1, 2]
    assert trial_store(tmp_path).entries()[0].retries == 2


def asha():
    return Asha(mode="max", max_epochs=9, grace_epochs=1, reduction=3)


class Trial:
    def __init__(self, key, trial_id):
        self.config = {"key": key}
        self.trial_id = trial_id


def report(scheduler, key, epoch, score, trial_id=None):
    return scheduler.on_trial_result(None, Trial(key, trial_id or key), {"epoch": epoch, "objective": score})


def run_trials(store, scheduler, *, epochs, score, trials=6):
    """One after the other, until ASHA stops them or they have ``epochs``; ``score`` of number and epoch."""
    for number in range(trials):
        key, _ = store.next()
        for epoch in range(1, epochs + 1):
            reached = score(number, epoch)
            store.report(key, epoch=epoch, score=reached)
            if report(scheduler, key, epoch, reached) == "STOP":
                store.end(key, state="stopped")
                break


def test_rungs_after_a_replay_equal_those_of_the_unbroken_study(tmp_path):
    store, live = trial_store(tmp_path), asha()
    run_trials(store, live, epochs=3, score=lambda number, epoch: float((number * 7) % 5 + epoch))
    rebuilt = asha()
    rebuilt.replay(trial_store(tmp_path).entries())
    assert rebuilt.rungs == live.rungs
    assert sum(map(len, live.rungs.values())) > 6


def test_a_trial_taken_up_under_a_new_tune_id_is_not_counted_twice_in_a_rung():
    scheduler = asha()
    report(scheduler, "t0000", 1, 10.0, trial_id="a")
    report(scheduler, "t0000", 1, 10.0, trial_id="b")
    report(scheduler, "t0000", 2, 11.0, trial_id="b")
    assert scheduler.rungs == {1: {"t0000": 10.0}, 3: {}, 9: {}}


def test_asha_stops_what_is_below_the_top_third_of_the_rung():
    scheduler = asha()
    scores = {f"t{number:04d}": float(number) for number in range(9)}
    decisions = {key: report(scheduler, key, 1, scores[key]) for key in sorted(scores, reverse=True)}
    kept = [key for key, decision in decisions.items() if decision == "CONTINUE"]
    assert kept == ["t0008"]


def test_when_less_is_better_asha_stops_the_larger_score():
    scheduler = Asha(mode="min", max_epochs=9, grace_epochs=1, reduction=3)
    assert report(scheduler, "t0000", 1, 1.0) == "CONTINUE"
    assert report(scheduler, "t0001", 1, 2.0) == "STOP"


def test_a_score_that_is_no_number_takes_no_place_in_a_rung():
    scheduler = asha()
    assert report(scheduler, "t0000", 1, math.nan) == "CONTINUE"
    assert scheduler.rungs[1] == {}


def test_running_trials_that_were_let_go_on_are_let_go_on_after_a_replay(tmp_path):
    store, live = trial_store(tmp_path), asha()
    scores = {store.next()[0]: score for score in (10.0, 20.0, 5.0, 40.0)}
    before = {}
    for key, score in scores.items():
        before[key] = report(live, key, 1, score)
        if before[key] == "STOP":
            store.stop(key, epoch=1)
        store.report(key, epoch=1, score=score)
    assert list(before.values()) == ["CONTINUE", "CONTINUE", "STOP", "CONTINUE"]
    rebuilt = asha()
    rebuilt.replay(trial_store(tmp_path).entries())
    assert {key: report(rebuilt, key, 1, score) for key, score in scores.items()} == before
    assert rebuilt.rungs == live.rungs


@given(
    reports=st.lists(st.tuples(st.integers(0, 5), st.sampled_from([1, 2, 3, 4, 7]), st.integers(0, 20)), max_size=40),
    mode=st.sampled_from(["max", "min"]),
    reduction=st.integers(2, 4),
    grace=st.integers(1, 3),
)
def test_without_a_quota_decisions_are_those_of_rays_own_asha(reports, mode, reduction, grace):
    ours = Asha(mode=mode, max_epochs=8, grace_epochs=grace, reduction=reduction)
    rays = ASHAScheduler(
        time_attr="epoch",
        metric="objective",
        mode=mode,
        max_t=8,
        grace_period=grace,
        reduction_factor=reduction,
        stop_last_trials=False,
    )
    trials = [SimpleNamespace(trial_id=f"t000{number}", config={"key": f"t000{number}"}) for number in range(6)]
    for trial in trials:
        rays.on_trial_add(None, trial)
    for number, epoch, score in reports:
        result = {"epoch": epoch, "objective": float(score)}
        assert ours.on_trial_result(None, trials[number], result) == rays.on_trial_result(None, trials[number], result)


def test_a_trial_at_its_last_epoch_is_not_stopped_but_ends():
    scheduler = asha()
    assert report(scheduler, "t0000", 9, -math.inf) == "CONTINUE"


@pytest.mark.parametrize("half_asked", [True, False])
@pytest.mark.parametrize("kept", [0, 2])
def test_a_study_whose_sampler_file_is_lost_or_old_gives_no_trial_twice(tmp_path, half_asked, kept):
    config = study(points=[], sampler={"name": "random"})
    first, files = trial_store(tmp_path, config), {}
    drawn = []
    for number in range(1, 5):
        drawn.append(first.next()[1])
        files[number] = (tmp_path / SAMPLER).read_bytes()
    if half_asked:
        first._study.ask()
    (tmp_path / SAMPLER).unlink()
    if kept:
        (tmp_path / SAMPLER).write_bytes(files[kept])
    again = trial_store(tmp_path, config)
    handed_out = [again.next()[1] for _ in range(8)]
    assert handed_out[:4] == drawn
    assert len({values["optim.lr"] for values in handed_out}) == 8


@pytest.mark.parametrize("record", ["journal", "sqlite"])
@pytest.mark.parametrize(
    "sampler", ["tpe", *(pytest.param(one, marks=pytest.mark.slow) for one in ("cmaes", "random", "gp", "surrogate"))]
)
@pytest.mark.parametrize("before", [0, 6])
def test_a_trial_that_was_asked_but_not_written_is_the_undisturbed_studys(tmp_path, record, sampler, before):
    def trials(folder, *, cut):
        url = f"sqlite:///{folder}/journal.db" if record == "sqlite" else record
        search = {"optim.lr": {"uniform": [0, 1]}, "interpixel.alpha": {"uniform": [0, 1]}}
        config = study(points=[], search=search, record=url, sampler={"name": sampler, "startup_trials": 3})
        folder.mkdir()
        store, found = trial_store(folder, config), []
        for number in range(before + 3):
            if cut and number == before:
                store._study.ask()
                store = trial_store(folder, config)
            key, values = store.next()
            found.append((key, values))
            store.report(key, epoch=9, score=-abs(values["optim.lr"] - 0.4))
            store.end(key, state="complete")
        return found

    assert trials(tmp_path / "cut", cut=True) == trials(tmp_path / "whole", cut=False)


def test_a_journal_that_is_only_looked_at_changes_no_file(tmp_path):
    store = trial_store(tmp_path)
    handed_out = [store.next()[0] for _ in range(3)]
    store.report(handed_out[0], epoch=1, score=1.0)
    store._study.ask()
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert len(trial_store(tmp_path, total=0).entries()) == 4
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("content", ["3", "[]", '{"trial": 3}', '{"trial": 3, "version": 1, "sampler": {}}'])
def test_a_sampler_of_another_version_is_refused_with_what_to_do(tmp_path, content):
    trial_store(tmp_path).next()
    (tmp_path / SAMPLER).write_text(content)
    with pytest.raises(FolderError, match=r"sampler\.json: another version of ipix-tune.*--name.*warm_start"):
        trial_store(tmp_path)


def test_the_state_of_another_sampler_is_refused_with_what_to_do(tmp_path):
    trial_store(tmp_path, study(sampler={"name": "random"})).next()
    with pytest.raises(FolderError, match=r"sampler\.json: another version"):
        trial_store(tmp_path, study(sampler={"name": "gp"}))


@pytest.mark.parametrize("content", [b"", b"torn", b"\x80\x04N."])
def test_a_torn_sampler_is_refused_with_what_to_do(tmp_path, content):
    trial_store(tmp_path).next()
    (tmp_path / SAMPLER).write_bytes(content)
    with pytest.raises(FolderError, match=r"sampler\.json: torn.*remove it"):
        trial_store(tmp_path)
    (tmp_path / SAMPLER).unlink()
    assert trial_store(tmp_path).next()


def test_a_pickled_sampler_of_an_earlier_version_is_never_loaded_and_refused_with_what_to_do(tmp_path):
    store = trial_store(tmp_path)
    drawn = store.next()[1]
    (tmp_path / SAMPLER).unlink()
    (tmp_path / "sampler.pkl").write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR.")
    with pytest.raises(FolderError, match=r"sampler\.pkl: an earlier version.*Remove it"):
        trial_store(tmp_path)
    (tmp_path / "sampler.pkl").unlink()
    assert trial_store(tmp_path).next()[1] == drawn
    assert not (tmp_path / "ran").exists()


def test_a_study_is_looked_at_whatever_version_wrote_its_sampler(tmp_path):
    trial_store(tmp_path).next()
    (tmp_path / SAMPLER).write_text("[]")
    assert len(trial_store(tmp_path, total=0).entries()) == 1


def test_a_trial_that_passed_an_epoch_for_which_a_stop_was_noted_counts_as_gone_on(tmp_path):
    store = trial_store(tmp_path)
    first, second = store.next()[0], store.next()[0]
    store.stop(first, epoch=1)
    store.report(first, epoch=1, score=10.0)
    store.report(first, epoch=2, score=11.0)
    store.stop(second, epoch=1)
    store.report(second, epoch=1, score=5.0)
    rebuilt = Asha(mode="max", max_epochs=9, grace_epochs=1, reduction=3, quota=True)
    rebuilt.replay(trial_store(tmp_path).entries())
    assert report(rebuilt, "t0002", 1, 9.5) == "STOP"
