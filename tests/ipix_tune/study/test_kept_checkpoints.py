"""`keep_checkpoints: best` on real studies over seeds: trainings, checkpoints and Ray are real, and the scores that the
trials report are set by the test, so that it is known which configuration is the best."""

from dataclasses import replace

import pytest

from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.search.trial_store import TrialStore
from ipix_tune.study import run_confirm
from ipix_tune.study.confirm_plan import ARM, SEED
from ipix_tune.study.kept_checkpoints import needed_of_confirmation
from tests.ipix_tune.running import TINY, entries, run, tiny
from tests.ipix_tune.studies import base
from trainers.common.yaml_file import load as load_config
from trainers.config import TrainConfig


def with_scores(scores):
    """What a trial runs in its actor; its scores are those of its learning rate and seed, and None fails it."""

    def in_actor(config):
        from ray import tune

        from ipix_tune.execution import trainable
        from ipix_tune.search.trial_message import TrialMessage
        from trainers.common.errors import TrainingError

        score, report = scores[config["trainer"]["optim"]["lr"], config["trainer"]["seed"]], tune.report

        def scored(row):
            told = TrialMessage.from_result(row)
            if told.score is not None:
                if score is None:
                    raise TrainingError("this trial fails")
                told = replace(told, score=score, metrics={**told.metrics, "val/miou": score})
            report(told.to_result())

        tune.report = scored
        try:
            trainable.in_actor(config)
        finally:
            tune.report = report

    return in_actor


def grid(folder, search, **changes):
    return tiny(
        folder,
        trainer={**TINY["trainer"], "schedule": {"epochs": 1, "steps_per_epoch": 1}},
        search=search,
        sampler={"name": "grid"},
        scheduler={"name": "none"},
        resources={"cpus_per_worker": 1, "concurrent": 1},
        **changes,
    )


def kept(place):
    return {path.parent.name for path in place.glob("trials/*/checkpoints")}


def exported(place):
    return load_config(place / "best.yaml", TrainConfig).provenance["trial"]


@pytest.mark.slow
def test_the_kept_checkpoint_is_the_exported_trials_and_not_the_luckiest_runs(tmp_path, monkeypatch):
    """The first configuration has the best mean; its second seed is better than its first, and the other
    configuration's first is the best of all."""
    scores = {(0.01, 0): 30.0, (0.01, 1): 32.0, (0.02, 0): 50.0, (0.02, 1): 5.0, (0.03, 0): None, (0.03, 1): 20.0}
    monkeypatch.setattr("ipix_tune.execution.trainable.in_actor", with_scores(scores))
    search = {"optim.lr": {"choice": [0.01, 0.02, 0.03]}, "seed": {"choice": [0, 1]}}
    place = run(grid(tmp_path, search)).folder
    found = {(one.values["optim.lr"], one.values["seed"]): (key, one.state) for key, one in entries(place).items()}
    assert found[0.03, 0][1] == "failed"
    assert exported(place) == found[0.01, 0][0]
    assert kept(place) == {exported(place), found[0.03, 0][0]}  # what failed may run again from its own
    assert "best so far t0000 31.00 after 1/1 epochs (mean over 2 seeds)" in (tmp_path / "console.txt").read_text()


@pytest.mark.slow
def test_where_more_seeds_of_a_finished_study_make_another_configuration_the_best_its_checkpoint_is_there(
    tmp_path, monkeypatch
):
    scores = {(0.01, 0): 50.0, (0.02, 0): 30.0, (0.01, 1): 5.0, (0.02, 1): 29.0}
    monkeypatch.setattr("ipix_tune.execution.trainable.in_actor", with_scores(scores))
    file = grid(tmp_path, {"seed": {"choice": [0, 1]}, "optim.lr": {"choice": [0.01, 0.02]}}, budget={"trials": 2})
    place = run(file).folder
    assert exported(place) == "t0000"
    assert kept(place) == {"t0000", "t0001"}
    run(file, resume=True, overrides=["budget.trials=4"])
    assert exported(place) == "t0001"
    assert kept(place) == {"t0001"}


@pytest.mark.slow
def test_a_study_with_a_confirmation_keeps_what_the_confirmation_takes(tmp_path, monkeypatch):
    scores = {(0.01, 0): 30.0, (0.02, 0): 50.0, (0.03, 0): 40.0}
    monkeypatch.setattr("ipix_tune.execution.trainable.in_actor", with_scores(scores))
    search = {"optim.lr": {"choice": [0.01, 0.02, 0.03]}}
    place = run(grid(tmp_path, search, confirm={"top": 2, "defaults": False})).folder
    assert exported(place) == "t0001"
    assert kept(place) == {"t0001", "t0002"}


def test_what_waits_in_a_grid_is_unsettled_until_its_last_seed_has_ended():
    """Values of every kind, as they wait and as they were asked for."""
    from ipix_tune.config.study_config import StudyConfig

    data = base() | {
        "search": {
            "seed": {"int": [0, 1]},
            "optim.lr": {"choice": [0.01, 1e-5]},
            "method.teacher": {"choice": ["shared", "ema"]},
            "method.ema_decay": {"choice": [0.99, 1], "only_if": {"method.teacher": "ema"}},
            "interpixel.tau": {"quniform": [0.1, 0.7, 0.2]},
        },
        "points": [],
        "sampler": {"name": "grid"},
        "scheduler": {"name": "none"},
        "budget": {"trials": 999},
    }
    study = StudyConfig.model_validate(data)
    store = TrialStore(None, study, SearchSpace(study), total=999)
    ended = {}
    while (given := store.next()) is not None:
        key, _ = given
        settings = {one.key: one for one in store.entries()}[key]
        assert len(store.unsettled()) == 24 - sum(count == 2 for count in ended.values())
        store.report(key, epoch=9, score=1.0)
        store.end(key, state="complete")
        name = {one.key: one for one in store.entries()}[key].scored.settings
        ended[name] = ended.get(name, 0) + 1
        assert (name in store.unsettled()) == (ended[name] < 2), settings
    assert set(ended.values()) == {2}


def test_of_a_confirmation_the_first_complete_seed_of_arms_that_are_no_trial_is_needed():
    from types import SimpleNamespace

    from ipix_tune.search.trial_record import TrialRecord

    def entry(number, arm, seed, state="complete"):
        return TrialRecord(
            key=f"c{number:04d}",
            values={ARM: arm, SEED: seed},
            scores={9: 1.0},
            state=state,
            error=None,
            retries=0,
        )

    arms = [SimpleNamespace(name="top 1", trial="t0003"), SimpleNamespace(name="defaults", trial=None)]
    runs = [entry(0, "top 1", 0), entry(1, "defaults", 0, "failed"), entry(2, "defaults", 2), entry(3, "defaults", 1)]
    assert needed_of_confirmation(arms, runs) == {"c0003"}


@pytest.mark.parametrize(("scheduler", "sampler", "kept"), [("freeze_thaw", "surrogate", 8), ("asha", "tpe", 5)])
def test_a_confirmation_keeps_all_that_may_go_on_where_a_search_that_was_cut_short_is_taken_up_again(
    tmp_path, scheduler, sampler, kept
):
    from types import SimpleNamespace

    data = base() | {"scheduler": {"name": scheduler}, "sampler": {"name": sampler}, "confirm": {"top": 5}}
    study = StudyConfig.model_validate(data)
    store = TrialStore(tmp_path, study, SearchSpace(study), total=12)
    for score in range(8):
        key, _ = store.next()
        store.stop(key, epoch=1)
        store.report(key, epoch=1, score=float(score))
        store.end(key, state="stopped")
    found = SimpleNamespace(arms=[])
    assert len(run_confirm._needed_of_search(study, SearchSpace(study), found, tmp_path, max_epochs=9)) == kept
