"""A study whose driver dies after any one record: taken up again it comes to the answer of the undisturbed one."""

import pytest
from ray.tune.schedulers import TrialScheduler

from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.search.ray_searcher import TrialStoreSearcher
from ipix_tune.search.sampler_file import SAMPLER
from ipix_tune.search.schedulers import build_scheduler
from ipix_tune.search.trial_message import TrialMessage
from ipix_tune.search.trial_store import TrialStore
from ipix_tune.storage.optuna_storage import JOURNAL
from tests.ipix_tune.search.test_trial_store import Trial
from tests.ipix_tune.studies import base

TRIALS, EPOCHS = 6, 4


def study(sampler, quota, points=()):
    scheduler = "freeze_thaw" if sampler == "surrogate" else "asha"
    rates = {"choice": [0.1, 0.3, 0.8]} if sampler == "grid" else {"uniform": [0, 1]}
    decays = {"choice": [0.9]} if sampler == "grid" else {"uniform": [0.9, 0.99]}
    changes = {
        "search": {
            "optim.lr": rates,
            "method.teacher": {"choice": ["shared", "ema"]},
            "method.ema_decay": {**decays, "only_if": {"method.teacher": "ema"}},
        },
        "points": list(points),
        "budget": {"trials": TRIALS},
        "sampler": {"name": sampler, "startup_trials": 3},
        "scheduler": {"name": scheduler, "grace_epochs": 1, "reduction": 2, "quota": quota},
    }
    return StudyConfig.model_validate(base() | changes)


def run(folder, config):
    """One trial at a time, as Tune goes about it; a trial that is taken up reports all its epochs again. Returns the
    sampler's file as it was written when a trial was asked for or judged, by the number of records that stood then."""
    space, samplers = SearchSpace(config), {}
    store = TrialStore(folder, config, space, total=TRIALS, max_epochs=EPOCHS)
    scheduler = build_scheduler(config, store, max_epochs=EPOCHS)
    handed_out = {}
    searcher = TrialStoreSearcher(
        store,
        trial_config=lambda key, values: handed_out.update({key: values}) or {"key": key},
        concurrent=lambda: 1,
        max_epochs=EPOCHS,
    )
    while isinstance(found := searcher.suggest("trial"), dict):
        key = found["key"]
        samplers[len((folder / JOURNAL).read_text().splitlines())] = (folder / SAMPLER).read_bytes()
        for epoch in range(1, EPOCHS + 1):
            score = epoch - (handed_out[key]["optim.lr"] - 0.3) ** 2 * (5 - epoch)
            result = TrialMessage(epoch=epoch, score=score).to_result()
            decision = scheduler.on_trial_result(None, Trial(key, "trial"), result)
            samplers[len((folder / JOURNAL).read_text().splitlines())] = (folder / SAMPLER).read_bytes()
            if decision == TrialScheduler.STOP or epoch == EPOCHS:
                searcher.on_trial_complete("trial", result)
                break
            searcher.on_trial_result("trial", result)
    return samplers


def answer(folder, config):
    entries = TrialStore(folder, config, SearchSpace(config), total=TRIALS).entries()
    return [(entry.key, entry.values, entry.scores, entry.state) for entry in entries]


def cuts(records, samplers):
    """What the folder may hold when the driver dies: the first so many records, and the sampler's file as it was before
    or after the last of them."""
    for number in range(1, len(records) + 1):
        for known in {number, number - 1} if number in samplers else {number}:
            files = [state for count, state in samplers.items() if count <= known]
            yield records[:number], files[-1] if files else None


POINTS = [
    {"optim.lr": 0.25, "method.teacher": "shared"},
    {"optim.lr": 0.6, "method.teacher": "ema", "method.ema_decay": 0.95},
]


@pytest.mark.parametrize(
    ("sampler", "quota", "points"),
    [
        ("tpe", True, ()),
        pytest.param("tpe", False, POINTS, marks=pytest.mark.slow),
        pytest.param("random", True, POINTS, marks=pytest.mark.slow),
        ("grid", False, ()),
        pytest.param("surrogate", False, POINTS, marks=pytest.mark.slow),
    ],
)
def test_a_driver_that_dies_after_any_record_changes_no_trial(tmp_path, sampler, quota, points):
    config, whole = study(sampler, quota, points), tmp_path / "whole"
    whole.mkdir()
    samplers = run(whole, config)
    expected = answer(whole, config)
    assert {state for *_, state in expected} == {"complete", "stopped"}
    records = (whole / JOURNAL).read_text().splitlines(keepends=True)
    for number, (kept, file) in enumerate(cuts(records, samplers)):
        place = tmp_path / str(number)
        place.mkdir()
        (place / JOURNAL).write_text("".join(kept))
        if file is not None:
            (place / SAMPLER).write_bytes(file)
        run(place, config)
        assert answer(place, config) == expected, f"cut after {kept[-1]}"
