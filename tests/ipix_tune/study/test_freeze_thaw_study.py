"""Freeze and thaw on a real Ray: trials that stop and go on lose nothing, also where the driver is killed."""

import os
import signal
from collections import Counter

import pytest

from analysis.ingest.tables import load as tables_of
from tests.ipix_tune.running import entries, metrics_of, run, sweep, tiny, wait_for

pytestmark = pytest.mark.slow
TRIALS, EPOCHS = 7, 4
FROZEN = {
    "scheduler": {"name": "freeze_thaw", "grace_epochs": 1, "reduction": 2},
    "sampler": {"name": "surrogate", "startup_trials": 3},
    "budget": {"trials": TRIALS},
    "resources": {"cpus_per_worker": 1, "concurrent": 1},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed study."""
    return run(tiny(tmp_path_factory.mktemp("whole"), **FROZEN)).folder


def test_a_trial_that_went_on_has_every_epoch_once_in_one_log(whole):
    history = tables_of(whole).history.select(["run_id", "epoch"]).to_pylist()
    logged = Counter((row["run_id"].rpartition("-")[2], row["epoch"]) for row in history)
    known = {(key, epoch) for key, entry in entries(whole).items() for epoch in entry.scores}
    assert set(logged) == known
    assert set(logged.values()) == {1}
    assert len(list(whole.glob("wandb/offline-run-*"))) == TRIALS


def test_some_trial_was_frozen_for_good_and_some_has_run_in_full(whole):
    assert {entry.state for entry in entries(whole).values()} == {"complete", "stopped"}
    assert (whole / "best.yaml").is_file()
    assert (whole / "report.html").is_file()


def test_freezing_changes_no_bit_of_a_curve(whole, tmp_path):
    complete = {key: one for key, one in entries(whole).items() if one.state == "complete"}
    points = [dict(one.values) for one in complete.values()]
    alone = run(
        tiny(tmp_path, **{**FROZEN, "scheduler": {"name": "none"}, "points": points, "budget": {"trials": len(points)}})
    ).folder
    for key, one in complete.items():
        other = next(name for name, entry in entries(alone).items() if entry.values == one.values)
        assert metrics_of(whole, key) == metrics_of(alone, other)
        assert len(metrics_of(whole, key)) == EPOCHS


def test_a_killed_driver_changes_no_trial(whole, tmp_path):
    file = tiny(tmp_path, **FROZEN)
    place = tmp_path / "studies" / "tiny"
    driver = sweep(file)

    def under_way():
        known = entries(place) if (place / "journal.log").exists() else {}
        return True if sum(len(one.scores) for one in known.values()) >= 6 else None

    wait_for(under_way, seconds=600, what="six epochs")
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    run(file, resume=True)
    assert entries(place) == entries(whole)
