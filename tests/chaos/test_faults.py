"""Every fault that the engine promises to survive, done to real processes. The table: `benchmarks.faults`."""

import contextlib
import os
import shutil
import signal
import time
from functools import partial

import psutil
import pyarrow.parquet as pq
import pytest
from ray.cluster_utils import Cluster

from tests.chaos.conftest import BUSY_S, one_by_one
from tests.chaos.watch import Watch
from tests.disks import small_disk
from tests.ipix_tune.running import (
    TINY,
    assert_same_study,
    entries,
    epochs_on_disk,
    metrics_of,
    sweep,
    tiny,
    training_workers,
    trial_processes,
    wait_for,
)
from trainers.common.yaml_file import load as load_config
from trainers.config import TrainConfig
from trainers.interface.epoch_record import MEASURED

pytestmark = pytest.mark.slow


def in_the_middle(process, place, *, trial="t0001", epoch=2):
    """Wait until a trial is half done."""
    wait_for(
        lambda: process.poll() is not None or epochs_on_disk(place, trial) >= epoch or None,
        seconds=BUSY_S,
        what=f"epoch {epoch} of {trial}",
    )
    assert process.poll() is None, process.communicate()[0]


def ended(process, *, seconds=BUSY_S):
    output, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, output
    return output


def assert_same_answer(place, reference):
    """Configs, curves bit for bit, tables from the logs, and the exported config; nothing twice in the tables. Tables
    and export are those that the study's own last driver has made from its logs."""
    assert_same_study(place, reference)
    assert runs_in_tables(place) == runs_in_tables(reference)
    assert history_in_tables(place) == history_in_tables(reference)
    ours, theirs = (load_config(folder / "best.yaml", TrainConfig) for folder in (place, reference))
    assert ours.model_dump(exclude={"provenance"}) == theirs.model_dump(exclude={"provenance"})


def runs_in_tables(place):
    rows = pq.read_table(place / "tables" / "runs.parquet").to_pylist()
    return sorted((row["trial"], row["state"], row["epochs"], row["objective"], row["config"]) for row in rows)


def history_in_tables(place):
    """Every epoch of every trial once, with all that is not a measurement of time or memory."""
    rows = pq.read_table(place / "tables" / "history.parquet").to_pylist()
    found = {(row["run_id"].rpartition("-")[2], row["epoch"]): row for row in rows}
    assert len(found) == len(rows)
    return {
        where: {name: repr(value) for name, value in row.items() if not name.startswith((*MEASURED, "time", "run_id"))}
        for where, row in found.items()
    }


def test_a_killed_trial_goes_on_by_itself(study_file, tmp_path, undisturbed, cost):
    place, process = tmp_path / "studies" / "tiny", sweep(study_file)
    in_the_middle(process, place)
    for trial in trial_processes(process.pid):
        trial.kill()
    watch = Watch(place, how="by itself, a retry")
    ended(process)
    cost("a trial's process is killed", watch.end())
    assert sum(entry.retries for entry in entries(place).values()) == 1
    assert_same_answer(place, undisturbed)
    rows = pq.read_table(place / "tables" / "runs.parquet").to_pylist()
    assert sum(row["retries"] for row in rows) == 1


def test_after_the_driver_is_killed_a_resume_goes_on(study_file, tmp_path, undisturbed, cost):
    place, process = tmp_path / "studies" / "tiny", sweep(study_file)
    in_the_middle(process, place, trial="t0003")
    process.kill()
    process.communicate()
    watch = Watch(place, how="`--resume`")
    ended(sweep(study_file, "--resume"))
    cost("the driver is killed", watch.end())
    assert_same_answer(place, undisturbed)


def test_after_everything_is_killed_at_once_a_resume_goes_on(study_file, tmp_path, undisturbed, cost):
    """As when the machine loses its power: driver, Ray and trials, in no order."""
    place, process = tmp_path / "studies" / "tiny", sweep(study_file)
    in_the_middle(process, place)
    for one in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.communicate()
    watch = Watch(place, how="`--resume`")
    ended(sweep(study_file, "--resume"))
    cost("the machine of driver and trials dies", watch.end())
    assert_same_answer(place, undisturbed)


def test_a_killed_training_worker_goes_on_by_itself(tmp_path, reference, cost):
    settings = {"resources": {"workers": 2, "cpus_per_worker": 0.5, "concurrent": 1}, "budget": {"trials": 2}}
    undisturbed = reference("two_workers", partial(one_by_one, **settings))
    place, process = tmp_path / "studies" / "tiny", sweep(one_by_one(tmp_path, **settings))
    in_the_middle(process, place, trial="t0000")
    training_workers(process.pid)[1].kill()
    watch = Watch(place, how="by itself, a retry")
    ended(process)
    cost("one of a trial's two training workers is killed", watch.end())
    assert_same_answer(place, undisturbed)


def test_trials_of_a_node_that_vanishes_go_on_elsewhere(tmp_path, cluster, reference, cost):
    """Two trials side by side on one node; another node joins; the first one dies."""
    settings = {
        "sampler": {"name": "random", "seed": 0},
        "scheduler": {"name": "none"},
        "budget": {"trials": 3},
        "resources": {"cpus_per_worker": 1, "concurrent": 2},
        "trainer": {**TINY["trainer"], "schedule": {"epochs": 8, "steps_per_epoch": 5}},
    }
    undisturbed = reference("side_by_side", partial(tiny, **settings))
    first = cluster.add_node(num_cpus=2)
    place = tmp_path / "studies" / "tiny"
    process = sweep(tiny(tmp_path, **settings), "--address", cluster.address)
    for trial in ("t0000", "t0001"):
        in_the_middle(process, place, trial=trial, epoch=1)
    cluster.add_node(num_cpus=2)
    cluster.remove_node(first, allow_graceful=False)
    watch = Watch(place, how="by itself, on the node that had just joined")
    ended(process)
    cost("a node vanishes with two trials on it", watch.end())
    assert_same_answer(place, undisturbed)


def test_when_the_head_dies_the_driver_ends_and_a_resume_on_a_new_cluster_goes_on(
    study_file, tmp_path, undisturbed, cost, monkeypatch
):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    place, old = (
        tmp_path / "studies" / "tiny",
        Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}),
    )
    process = sweep(study_file, "--address", old.address)
    in_the_middle(process, place)
    old.shutdown()
    watch = Watch(place, how="`--resume` on a new cluster")
    output, _ = process.communicate(timeout=BUSY_S)
    assert process.returncode != 0
    assert "--resume" in output
    new = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        ended(sweep(study_file, "--address", new.address, "--resume"))
    finally:
        new.shutdown()
    cost("the head node dies", watch.end())
    assert_same_answer(place, undisturbed)


def mount(storage, place, *, hidden):
    """Bring a storage back, which hides what was written in its place: W&B's own process may have begun to write a file
    when the storage went away."""
    if place.exists():
        place.rename(hidden)
    storage.rename(place)


def test_a_storage_that_is_away_for_ten_seconds_is_waited_for(study_file, tmp_path, undisturbed, cost):
    place, process = tmp_path / "studies" / "tiny", sweep(study_file)
    in_the_middle(process, place)
    watch = Watch(place, how="by itself")
    (tmp_path / "studies").rename(tmp_path / "away")
    time.sleep(10)
    mount(tmp_path / "away", tmp_path / "studies", hidden=tmp_path / "hidden")
    ended(process)
    cost("the storage is away for 10 s", watch.end())
    assert_same_answer(place, undisturbed)


@pytest.fixture
def disk(tmp_path):
    """A disk of 700 MB for the studies."""
    folder = tmp_path / "studies"
    folder.mkdir()
    with small_disk(folder, "700m"):
        yield folder


def fill(disk, name="filler", *, but=0):
    """Leave so many bytes of it."""
    with contextlib.suppress(OSError), (disk / name).open("wb", buffering=0) as file:
        if but:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - but)
            return
        while True:
            file.write(bytes(1 << 20))


def fill_in_the_middle(process, disk):
    """Leave not a byte in the middle of a trial. Most is taken before, once the study has seen that there is room: it
    might come to its end while so much is written."""
    in_the_middle(process, disk / "tiny", trial="t0000", epoch=1)
    fill(disk, "most", but=100 << 20)
    in_the_middle(process, disk / "tiny")
    fill(disk)


def make_room(disk):
    for name in ("most", "filler"):
        (disk / name).unlink()


def test_a_disk_that_is_full_for_a_while_is_waited_for(study_file, disk, undisturbed, cost):
    place, process = disk / "tiny", sweep(study_file)
    fill_in_the_middle(process, disk)
    watch = Watch(place, how="by itself")
    time.sleep(15)
    make_room(disk)
    ended(process)
    cost("the disk is full for 15 s", watch.end())
    assert_same_answer(place, undisturbed)


def test_a_disk_that_stays_full_ends_the_study_clearly_and_a_resume_goes_on(study_file, disk, undisturbed, cost):
    place, process = disk / "tiny", sweep(study_file)
    fill_in_the_middle(process, disk)
    watch = Watch(place, how="a clear stop after 60 to 70 s, then `--resume`")
    output, _ = process.communicate(timeout=BUSY_S)
    assert process.returncode == 1, output
    assert "the study's storage" in output
    assert "\ngo on with: " in output
    assert "Traceback" not in output, output[max(output.find("Traceback") - 500, 0) :]
    make_room(disk)
    ended(sweep(study_file, "--resume"))
    cost("the disk stays full", watch.end())
    assert_same_answer(place, undisturbed)


def test_a_second_driver_on_the_same_study_is_refused_and_the_first_goes_on(study_file, tmp_path, undisturbed, cost):
    place, process = tmp_path / "studies" / "tiny", sweep(study_file)
    in_the_middle(process, place)
    watch = Watch(place, how="the second driver ends with a message")
    process.send_signal(signal.SIGSTOP)  # so that the first cannot end before the second has started
    second = sweep(study_file, "--resume")
    output, _ = second.communicate(timeout=BUSY_S)
    process.send_signal(signal.SIGCONT)
    assert second.returncode == 2, output
    assert "another" in output
    ended(process)
    cost("a second driver starts on the study", watch.end())
    assert_same_answer(place, undisturbed)


def test_without_a_wandb_server_an_online_study_is_the_same(study_file, tmp_path, undisturbed, cost, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    place, process = tmp_path / "studies" / "tiny", sweep(study_file)
    in_the_middle(process, place)
    watch = Watch(place, how="logged to disk, `ipix-tune wandb-sync` later")
    output = ended(process)
    assert "ipix-tune wandb-sync" in output
    cost("no W&B server answers", watch.end())
    assert_same_answer(place, undisturbed)


def test_a_driver_that_is_killed_again_and_again_still_ends_as_the_undisturbed_study(study_file, tmp_path, undisturbed):
    place, resume = tmp_path / "studies" / "tiny", ()
    for trial in ("t0000", "t0002", "t0004"):
        process = sweep(study_file, *resume)
        in_the_middle(process, place, trial=trial, epoch=1)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        resume = ("--resume",)
    ended(sweep(study_file, *resume))
    assert_same_answer(place, undisturbed)
    assert [metrics_of(place, "t0000")[-1]["epoch"]] == [metrics_of(undisturbed, "t0000")[-1]["epoch"]]


def test_a_trial_whose_loss_is_not_finite_fails_and_the_others_are_the_same(tmp_path, reference, cost):
    """Random search, so that what the searcher learns from the failure changes nothing."""
    search = {"optim.lr": {"choice": [1e30, 0.01, 0.02]}, "interpixel.alpha": {"loguniform": [0.01, 10]}}
    settings = {"search": search, "sampler": {"name": "random", "seed": 1}, "budget": {"trials": 3}}
    settings |= {"scheduler": {"name": "none"}}
    points = [{"optim.lr": 0.01, "interpixel.alpha": 1.0}, {"optim.lr": 0.02, "interpixel.alpha": 1.0}]
    undisturbed = reference("finite", partial(one_by_one, **settings | {"points": points, "budget": {"trials": 2}}))
    bad = {"optim.lr": 1e30, "interpixel.alpha": 1.0}
    place = tmp_path / "studies" / "tiny"
    process = sweep(one_by_one(tmp_path, **settings | {"points": [points[0], bad, points[1]]}))
    in_the_middle(process, place, trial="t0000", epoch=6)
    watch = Watch(place, how="it fails with its cause, and is not tried again")
    ended(process)
    cost("a trial's loss is NaN", watch.end())
    found = entries(place)
    assert [found[key].state for key in ("t0000", "t0001", "t0002")] == ["complete", "failed", "complete"]
    assert found["t0001"].retries == 0
    for ours, theirs in (("t0000", "t0000"), ("t0002", "t0001")):
        assert metrics_of(place, ours) == metrics_of(undisturbed, theirs)


def test_side_by_side_no_result_is_lost_or_counted_twice_and_the_budget_is_kept(tmp_path, cost):
    """Two trials at a time under ASHA; one is killed, then the driver, and then everything once more."""
    settings = {"budget": {"trials": 12, "epochs": 30}, "resources": {"cpus_per_worker": 1, "concurrent": 2}}
    file, place = one_by_one(tmp_path, **settings), tmp_path / "studies" / "tiny"
    process = sweep(file)
    in_the_middle(process, place, trial="t0001")
    trial_processes(process.pid)[0].kill()
    for trial in ("t0003", "t0005"):
        in_the_middle(process, place, trial=trial, epoch=1)
        watch = Watch(place, how="`--resume`, two trials at a time")
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        process = sweep(file, "--resume")
    output, _ = process.communicate(timeout=BUSY_S)
    assert "budget.epochs is over" in output
    cost("a trial and twice the driver of an asynchronous study are killed", watch.end())
    found = entries(place)
    for key, entry in found.items():
        logged = {row["epoch"]: row["val/miou"] for row in metrics_of(place, key)} if epochs_on_disk(place, key) else {}
        assert len(logged) == epochs_on_disk(place, key)
        assert entry.scores == {epoch: logged[epoch] for epoch in entry.scores}
    used, rung = sum(len(entry.scores) for entry in found.values()), 2
    assert 30 <= used <= 30 + rung
    history = pq.read_table(place / "tables" / "history.parquet").to_pylist()
    assert sorted((row["run_id"].rpartition("-")[2], row["epoch"]) for row in history) == sorted(
        (key, epoch) for key, entry in found.items() for epoch in entry.scores
    )
