"""A real study whose durable copy lies in a real S3 server."""

import contextlib
import shutil
import subprocess
import sys

import psutil
import pytest

from ipix_tune.mirror import Mirror
from ipix_tune.objectstore import Store
from tests.ipix_tune.running import TINY, entries, run, sweep, tiny, training_workers, wait_for
from tests.trainers.runs import rows


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
    Mirror(store, "tiny/trials/t0000", tmp_path / "copy").pull()
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
