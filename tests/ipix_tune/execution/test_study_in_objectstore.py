"""A real study whose durable copy lies in a real S3 server."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys

import psutil
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.multiprocessing.spawn import ProcessExitedException

from ipix_tune.execution.trainable import _at_home, _train, trial_config
from ipix_tune.storage.object_store import Store
from ipix_tune.storage.object_sync import ObjectCopy
from ipix_tune.trainer.resources import ResourcesConfig
from tests.ipix_tune.running import TINY, entries, run, sweep, tiny, training_workers, wait_for
from tests.ipix_tune.studies import config_of
from tests.trainers.runs import rows, same_tensors, tensors


@pytest.mark.slow
def test_a_study_goes_on_from_the_object_storage_after_its_machine_is_lost(bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    storage = f"{bucket}/lab"
    file = tiny(tmp_path, storage=storage, budget={"trials": 2}, resources={"cpus_per_worker": 1, "concurrent": 1})
    first = run(file, report=False).folder
    before = entries(first)
    assert first == tmp_path / "studies" / "tiny"
    assert not (first / "trials").exists()
    shutil.rmtree(tmp_path / "studies")

    outcome = run(file, resume=True, overrides=["budget.trials=3"])
    after = entries(outcome.folder)
    assert sorted(after) == ["t0000", "t0001", "t0002"]
    assert {key: after[key] for key in before} == before
    assert (outcome.folder / "report.html").is_file()

    keys = set(Store(storage).keys("tiny"))
    assert {"study.yaml", "journal.log", "sampler.pkl", "report.html", "best.yaml", "tables/runs.parquet"} <= keys
    assert {f"trials/{key}/metrics.jsonl" for key in after} <= keys
    assert len([key for key in keys if key.endswith("last.pt")]) == 1, "only the best trial keeps its checkpoints"
    assert not [key for key in keys if key.startswith("ray/")]


def work(rank, config, folder, dies):
    """A worker of a trial: in object storage, or, where there is none, in a folder that both see."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet{dies}", rank=rank, world_size=2)

    def send(row):
        if dies and rank == 1 and row["epoch"] == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    with _at_home(config) as (local, copy):
        _train(local, send, copy if rank == 0 else None)
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_go_on_from_the_object_storage_after_one_was_killed_as_in_one_folder(bucket, tmp_path):
    trainer = config_of(schedule={"epochs": 4, "steps_per_epoch": 2}).model_dump(mode="json")
    there = {"trainer": trainer, "metric": "val/miou", "resources": ResourcesConfig(workers=2)}
    stored = trial_config("t0000", run_dir="small/trials/t0000", store=f"{bucket}/lab", **there)
    with pytest.raises(ProcessExitedException):
        mp.spawn(work, args=(stored, tmp_path, True), nprocs=2)
    copy = ObjectCopy(Store(stored["store"]), stored["run_dir"], tmp_path / "copy")
    copy.pull()
    assert len(rows(tmp_path / "copy")) in (2, 3)
    mp.spawn(work, args=(stored, tmp_path, False), nprocs=2)
    copy.pull()

    (tmp_path / "other").mkdir()
    mp.spawn(work, args=(trial_config("t0000", run_dir=tmp_path / "run", **there), tmp_path / "other", False), nprocs=2)
    assert rows(tmp_path / "copy") == rows(tmp_path / "run")
    assert same_tensors(tensors(tmp_path / "copy"), tensors(tmp_path / "run"))


@pytest.mark.slow
def test_a_trial_of_several_workers_in_object_storage_outlives_a_worker_and_its_machine(bucket, tmp_path, monkeypatch):
    """One of two workers is killed; then driver, Ray and workers, and the driver's folder is gone. The curve is the one
    that torchrun trains in a folder."""
    monkeypatch.chdir(tmp_path)
    settings = {
        "resources": {"workers": 2, "cpus_per_worker": 0.5, "concurrent": 1},
        "trainer": {**TINY["trainer"], "schedule": {"epochs": 8, "steps_per_epoch": 6}},
        "scheduler": {"name": "none"},
        "budget": {"trials": 1},
    }
    file, store = tiny(tmp_path, storage=f"{bucket}/lab", **settings), Store(f"{bucket}/lab")

    process = sweep(file)
    epoch_in(store, "t0000", 2, process)
    training_workers(process.pid)[1].kill()
    epoch_in(store, "t0000", 5, process)
    for one in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.communicate()
    assert epochs_in(store, "t0000") < 8
    shutil.rmtree(tmp_path / "studies")

    (entry,) = entries(run(file, resume=True, report=False).folder).values()
    ObjectCopy(store, "tiny/trials/t0000", tmp_path / "copy").pull()
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "trainers.train"]
    subprocess.run([*launcher, tmp_path / "copy" / "config.yaml", "--run-dir", tmp_path / "run"], check=True)
    assert rows(tmp_path / "copy") == rows(tmp_path / "run")
    assert entry.scores == {row["epoch"]: row["val/miou"] for row in rows(tmp_path / "run")}
    assert (entry.state, entry.retries) == ("complete", 1)


def epochs_in(store, key):
    name = f"tiny/trials/{key}/metrics.jsonl"
    return store.get(name).count(b"\n") if store.exists(name) else 0


def epoch_in(store, key, epoch, process):
    wait_for(
        lambda: process.poll() is not None or epochs_in(store, key) >= epoch or None,
        seconds=240,
        what=f"epoch {epoch} of {key}",
    )
    assert process.poll() is None, process.communicate()[0]
