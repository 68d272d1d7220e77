"""What W&B's files lack of what the record knows is found, and logged again."""

import json
import shutil

import numpy as np
import pytest

from analysis.ingest.held_out import held_out_of
from analysis.ingest.read_study import read_study
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.execution.complete_logs import complete, lacks
from ipix_tune.search.trial_store import TrialStore
from ipix_tune.storage import study_folder
from ipix_tune.tracking.run_facts import RunFacts
from ipix_tune.tracking.runs import Tracker
from tests.analysis.stats.test_per_image import left_by
from tests.ipix_tune.studies import base
from trainers.interface.epoch_record import METRICS
from trainers.interface.held_out_file import file_of

EPOCHS = 3
SHARED = {
    "space": {},
    "scheduler": {"max_epochs": EPOCHS, "rungs": []},
    "classes": ["a", "b"],
    "origin": {"split_hash": "abc"},
}


@pytest.fixture
def study(tmp_path):
    return StudyConfig.model_validate({**base(), "storage": str(tmp_path)})


def metrics_of(number, epoch):
    return {"val/miou": 50.0 + number + epoch, "train/loss": 1.0 / epoch}


def trained(study, *, logged=None):
    """A study of three trials: complete, stopped after an epoch, failed after two. ``logged``: the epochs of each that
    W&B's client takes, and whether the end; all unless given."""
    place, space = study_folder.prepare(study, resume=False), SearchSpace(study)
    facts = RunFacts(
        phase="search", training=space.to_config, describe=lambda values: {"search": values}, shared=SHARED
    )
    store = TrialStore(place, study, space, total=12)
    tracker = Tracker(place, study, SHARED)
    for number, (state, last) in enumerate((("complete", EPOCHS), ("stopped", 1), ("failed", 2))):
        key, values = store.next()
        taken, end = (last, True) if logged is None else logged[number]
        own = place / "trials" / key
        own.mkdir(parents=True)
        if taken or end:
            tracker.start(key, values=values, trainer=space.to_config(values).model_dump(mode="json"))
        for epoch in range(1, last + 1):
            row = {"epoch": epoch, "step": 10 * epoch, "split_hash": "abc", **metrics_of(number, epoch)}
            with (own / METRICS).open("a") as file:
                file.write(json.dumps(row) + "\n")
            if epoch <= taken:
                tracker.log(key, epoch=epoch, metrics=metrics_of(number, epoch))
            store.report(key, epoch=epoch, score=metrics_of(number, epoch)["val/miou"])
        error = "it broke" if state == "failed" else None
        if end:
            score = metrics_of(number, last)["val/miou"]
            tracker.finish(key, state=state, error=error, score=score, epochs=last)
        store.end(key, state=state, error=error)
    tracker.close()
    return place, facts, store.entries()


def seen(place):
    """What the tables say: state, error, score and curve by the trial's key."""
    tables = read_study(place).tables
    curves = {}
    for row in tables.history.to_pylist():
        curves.setdefault(row["run_id"], {})[row["epoch"]] = (row.get("val/miou"), row.get("train/loss"))
    return {
        row["run_id"].rpartition("-")[2]: (row["state"], row["error"], row["objective"], curves.get(row["run_id"], {}))
        for row in tables.runs.to_pylist()
    }


WHOLE = {
    "t0000": ("complete", None, 53.0, {1: (51.0, 1.0), 2: (52.0, 0.5), 3: (53.0, 1 / 3)}),
    "t0001": ("stopped", None, 52.0, {1: (52.0, 1.0)}),
    "t0002": ("failed", "it broke", 54.0, {1: (53.0, 1.0), 2: (54.0, 0.5)}),
}


def test_whole_logs_lack_nothing_and_are_not_touched(study):
    place, facts, entries = trained(study)
    files = sorted(place.rglob("*.wandb"))
    assert complete(place, study, facts, entries) == ([], [])
    assert sorted(place.rglob("*.wandb")) == files


@pytest.mark.parametrize(
    "logged",
    [
        pytest.param([(1, False), (1, True), (2, True)], id="a client that died after an epoch"),
        pytest.param([(3, False), (1, False), (2, False)], id="no end was logged"),
        pytest.param([(3, True), (0, False), (2, True)], id="a run is missing whole"),
        pytest.param([(0, True), (1, True), (0, True)], id="ends without epochs"),
    ],
)
def test_what_lacks_is_logged_again_as_the_trial_reported_it(study, logged):
    place, facts, entries = trained(study, logged=logged)
    assert seen(place) != WHOLE
    lacked, left = complete(place, study, facts, entries)
    assert lacked
    assert left == []
    assert seen(place) == WHOLE


def test_a_study_without_any_logs_gets_them(study):
    place, facts, entries = trained(study)
    shutil.rmtree(place / "wandb")
    lacked, left = complete(place, study, facts, entries)
    assert ([lack.words for lack in lacked], left) == (["t0000 (3 epochs)", "t0001 (1 epoch)", "t0002 (2 epochs)"], [])
    assert seen(place) == WHOLE


def test_pictures_that_the_trial_left_are_logged_again_with_their_epoch(study, tmp_path):
    place, facts, entries = trained(study)
    shutil.rmtree(place / "wandb")
    masks = np.random.default_rng(0).integers(0, 2, (3, 8, 10))
    left = left_by(tmp_path, masks, masks, epoch=EPOCHS)
    path = file_of(place / "trials" / "t0000", EPOCHS)
    path.parent.mkdir()
    path.write_bytes(left)
    complete(place, study, facts, entries)
    runs = {row["run_id"].rpartition("-")[2]: row["run_id"] for row in read_study(place).tables.runs.to_pylist()}
    found = held_out_of(place, runs["t0000"])
    assert (found.epoch, found.names) == (EPOCHS, ("0.png", "1.png", "2.png"))
    assert np.array_equal(found.picture("1.png").truth, masks[1])
    assert held_out_of(place, runs["t0001"]) is None
    assert list(place.glob("wandb/*/files/media/images/**/*.png"))
    assert seen(place) == WHOLE


def test_a_trial_whose_own_file_is_gone_too_keeps_the_score_that_the_record_has(study):
    place, facts, entries = trained(study)
    shutil.rmtree(place / "wandb")
    (place / "trials" / "t0000" / METRICS).unlink()
    complete(place, study, facts, entries)
    assert seen(place)["t0000"] == ("complete", None, 53.0, {1: (51.0, None), 2: (52.0, None), 3: (53.0, None)})


def test_a_trial_that_is_still_running_lacks_nothing(study):
    place = study_folder.prepare(study, resume=False)
    store = TrialStore(place, study, SearchSpace(study), total=12)
    key, _ = store.next()
    store.report(key, epoch=1, score=50.0)
    assert lacks(store.entries(), None) == []
