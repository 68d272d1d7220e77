"""Real studies on a real Ray, as small as they get."""

import json
import os
import shutil
import signal

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from analysis.columns import key_of
from analysis.page.build import build
from ipix_tune.config.load_study import load
from ipix_tune.execution.resources import ResourceError
from ipix_tune.study import run_search as studies
from tests.ipix_tune.running import (
    assert_same_study,
    entries,
    epochs_on_disk,
    long,
    metrics_of,
    run,
    sweep,
    tiny,
    wait_for,
)
from trainers.common.yaml_file import load as load_config
from trainers.config import TrainConfig
from trainers.loop.fit import fit


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study that ran to its end; tests read it and change nothing."""
    file = tiny(tmp_path_factory.mktemp("finished"))
    return run(file).folder


def test_asha_really_stops_some_trials_and_lets_some_run_to_the_end(finished):
    states = [entry.state for entry in entries(finished).values()]
    assert len(states) == 6
    assert set(states) == {"complete", "stopped"}


def test_the_journal_has_every_epoch_that_a_stopped_trial_reported(finished):
    for key, entry in entries(finished).items():
        reported = {row["epoch"]: row["val/miou"] for row in metrics_of(finished, key)}
        assert entry.scores == {epoch: reported[epoch] for epoch in entry.scores}
        if entry.state == "stopped":
            assert max(entry.scores) in (1, 2)


def test_the_tables_from_wandb_hold_what_the_trainers_wrote(finished):
    history = pq.read_table(finished / "tables" / "history.parquet").to_pylist()
    runs = {key_of(row["run_id"]): row for row in pq.read_table(finished / "tables" / "runs.parquet").to_pylist()}
    for key, entry in entries(finished).items():
        written = {row["epoch"]: row for row in metrics_of(finished, key)}
        logged = {row["epoch"]: row for row in history if key_of(row["run_id"]) == key}
        assert set(logged) == set(entry.scores)
        for epoch, row in logged.items():
            assert row["val/miou"] == written[epoch]["val/miou"]
            assert row["train/loss"] == written[epoch]["train/loss"]
        assert runs[key]["state"] == entry.state
        assert runs[key]["split_hash"] == written[1]["split_hash"]


def test_without_rays_folder_the_report_is_the_same(finished, tmp_path):
    place = tmp_path / "tiny"
    shutil.copytree(finished, place)
    before = pq.read_table(place / "tables" / "history.parquet")
    shutil.rmtree(place / "ray")
    shutil.rmtree(place / "tables")
    build(place)
    assert pq.read_table(place / "tables" / "history.parquet").equals(before)


def test_the_exported_config_trains_to_the_same_curve_as_in_the_study(finished, tmp_path):
    config = load_config(finished / "best.yaml", TrainConfig)
    key = config.provenance["trial"]
    fit(config, tmp_path / "run")
    again = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    for row, before in zip(again, metrics_of(finished, key), strict=True):
        assert {name: row[name] for name in before} == before


def test_only_the_best_trial_keeps_its_checkpoints(finished):
    kept = {path.parent.name for path in finished.glob("trials/*/checkpoints")}
    assert kept == {load_config(finished / "best.yaml", TrainConfig).provenance["trial"]}


def test_resuming_a_finished_study_changes_no_trial(finished, tmp_path):
    place = tmp_path / "studies" / "tiny"
    shutil.copytree(finished, place)
    before = entries(place)
    run(tiny(tmp_path), resume=True, report=False)
    assert entries(place) == before


@pytest.mark.slow
def test_more_trials_may_be_added_to_a_finished_study(finished, tmp_path):
    place = tmp_path / "studies" / "tiny"
    shutil.copytree(finished, place)
    before = entries(place)
    run(tiny(tmp_path, budget={"trials": 7}), resume=True, report=False)
    after = entries(place)
    assert len(after) == 7
    assert {key: after[key] for key in before} == before


def test_a_study_that_cannot_fit_the_cluster_says_so_with_the_numbers_before_it_starts(tmp_path):
    file = tiny(tmp_path, resources={"workers": 2, "cpus_per_worker": 64})
    with pytest.raises(ResourceError, match=r"2 x \(64 CPU\) = 128 CPU, and the cluster has"):
        run(file)
    assert not (tmp_path / "studies" / "tiny" / "trials").exists()


@pytest.mark.slow
def test_a_loss_that_is_not_finite_fails_its_trial_without_a_retry_and_the_study_goes_on(tmp_path):
    file = tiny(
        tmp_path,
        search={"optim.lr": {"choice": [1e30, 0.01]}},
        points=[{"optim.lr": 1e30}, {"optim.lr": 0.01}],
        budget={"trials": 2},
        scheduler={"name": "none"},
    )
    place = run(file).folder
    found = entries(place)
    assert (found["t0000"].state, found["t0000"].retries) == ("failed", 0)
    assert "is NaN or infinite at step" in found["t0000"].error
    assert found["t0001"].state == "complete"
    rows = {row["trial"]: row for row in pq.read_table(place / "tables" / "runs.parquet").to_pylist()}
    assert rows[0]["state"] == "failed"
    assert rows[0]["error"] == found["t0000"].error


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The study of `long`, as it ends when nothing happens to it."""
    return run(long(tmp_path_factory.mktemp("undisturbed")), report=False).folder


@pytest.mark.slow
def test_after_ctrl_c_a_resumed_study_ends_as_the_undisturbed_one(tmp_path, undisturbed):
    file, place = long(tmp_path), tmp_path / "studies" / "tiny"
    process = sweep(file)
    wait_for(lambda: epochs_on_disk(place, "t0001") >= 2 or None, seconds=120, what="epoch 2 of the second trial")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 130, output
    assert "--resume" in output
    assert entries(place)["t0000"].state == "complete"
    assert entries(place)["t0001"].state == "running"
    run(file, resume=True, report=False)
    assert_same_study(place, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("cleaner", ["with Ray's cleaner", "without it"])
def test_stopped_trials_of_several_workers_leave_no_placement_group(tmp_path, cleaner):
    """More trials are stopped than there are CPUs, each since its learning rate, which is the score here, is below the
    first one's. Without the dashboard Ray's cleaner frees nothing: ours must do."""
    from ipix_tune.execution import cluster, placement

    file = tiny(
        tmp_path,
        resources={"workers": 2, "cpus_per_worker": 0.5, "concurrent": 1},
        scheduler={"grace_epochs": 1, "reduction": 4},
        budget={"trials": 5},
        objective={"metric": "train/lr"},
        search={"optim.lr": {"choice": [0.01, 0.008, 0.006, 0.004, 0.002]}},
        points=[{"optim.lr": rate} for rate in (0.01, 0.008, 0.006, 0.004, 0.002)],
    )
    study = load(file)
    with cluster.connected(None, nested=cleaner == "with Ray's cleaner"):
        outcome = studies.run(study, resume=False, address=None, console=Console(quiet=True))
        assert placement.created_groups() == []
    states = [entry.state for entry in entries(outcome.folder).values()]
    assert states.count("stopped") > 2


@pytest.mark.slow
def test_a_loss_that_is_not_finite_on_several_workers_fails_its_trial_without_a_retry(tmp_path):
    file = tiny(
        tmp_path,
        resources={"workers": 2, "cpus_per_worker": 0.5},
        budget={"trials": 1},
        search={"optim.lr": {"choice": [1e30, 1e29]}},
        points=[{"optim.lr": 1e30}],
        scheduler={"name": "none"},
    )
    (entry,) = entries(run(file).folder).values()
    assert (entry.state, entry.retries) == ("failed", 0)
    assert "is NaN or infinite at step" in entry.error
    assert "no trial ended with a score" in (tmp_path / "console.txt").read_text()


@pytest.mark.slow
def test_a_study_whose_time_is_over_keeps_its_running_trials_for_a_resume(tmp_path, undisturbed):
    file, place = long(tmp_path), tmp_path / "studies" / "tiny"
    outcome = run(file, report=False, overrides=["budget.hours=0.0025"])
    assert "budget.hours is over" in outcome.cut_short
    assert any(entry.state == "running" for entry in entries(place).values())
    assert run(file, resume=True, report=False, overrides=["budget.hours=1"]).cut_short is None
    assert_same_study(place, undisturbed)
