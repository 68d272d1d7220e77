"""How many workers, and how much of the data is kept: chosen by cores, shared memory, data and disk."""

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple

import pytest
import torch

from trainers.data import loading as module
from trainers.data.loader import TrainLoader
from trainers.data.loading import CacheSize, auto_workers, batch_bytes, decoded_bytes, kept_images, loading
from trainers.data.open import open_data
from trainers.interface.method import Needs
from trainers.loop.fit import MetricsLog
from trainers.loop.run import Run

SEMI = Needs(unlabelled=True, strong=2)
GB = 10**9
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def room(monkeypatch, tmp_path):
    """Sets the free bytes of shared memory and of the disk."""

    def have(*, shared=10 * GB, disk=1000 * GB):
        monkeypatch.setattr(module, "SHARED_MEMORY", tmp_path)
        monkeypatch.setattr(module.shutil, "disk_usage", lambda path: Usage(0, 0, shared if path == tmp_path else disk))

    have()
    return have


def chosen(config, needs=SEMI, **how):
    return loading(config, open_data(config.data, final=False), needs, **how)


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 1), (6, 5), (64, 8)])
def test_for_a_gpu_all_cores_but_one_make_batches(cores, workers):
    assert auto_workers("cuda", cores=cores) == workers
    assert auto_workers("cpu", cores=cores) == 0


def test_training_processes_of_one_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 16)
    assert module.cores() == 16
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert module.cores() == 4


COUNTED = "from trainers.data.loading import cores; from ipix_tune.execution.cluster import usable_cpus; "


def counted(command):
    """Cores for loader workers, and CPUs of a study's own Ray."""
    program = [sys.executable, "-c", f"{COUNTED}print(cores(), usable_cpus())"]
    return subprocess.run([*command, *program], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(shutil.which("taskset") is None, reason="needs taskset")
def test_an_affinity_counts_and_not_the_machine():
    assert counted(["taskset", "-c", str(min(os.sched_getaffinity(0)))]) == ["1", "1"]


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
def test_a_containers_quota_counts_and_not_the_machine():
    """Its files as the kernel shows them in a container, of the second version of cgroups."""
    files = "mount -t tmpfs none /sys/fs/cgroup && echo 100000 100000 > /sys/fs/cgroup/cpu.max"
    if subprocess.run(["unshare", "-m", "sh", "-c", files], capture_output=True, check=False).returncode:
        pytest.skip("no mount of its own is allowed here")
    assert counted(["unshare", "-m", "sh", "-c", f'{files} && exec "$@"', "sh"]) == ["1", "1"]


def test_on_a_cpu_the_training_process_makes_its_batches(train_config, room):
    found = chosen(train_config(), device="cpu")
    assert found.workers == 0
    assert found.lines[0].startswith("batches are made by the training process (data.loader_workers: auto")


def test_a_number_of_workers_in_the_config_is_taken(train_config, room):
    assert chosen(train_config(data={"loader_workers": 3}), device="cpu").workers == 3


@pytest.mark.parametrize("asked", ["auto", 6])
@pytest.mark.parametrize(("batches", "workers"), [(0, 0), (3, 1), (5, 2), (7.5, 3)])
def test_no_more_workers_start_than_shared_memory_holds_the_batches_of(
    monkeypatch, train_config, room, asked, batches, workers
):
    monkeypatch.setattr(module, "cores", lambda: 8)
    config = train_config(data={"loader_workers": asked})
    room(shared=int(batches * batch_bytes(config, SEMI, device="cuda", world=1)))
    found = chosen(config, device="cuda")
    assert found.workers == workers
    assert "MB free, room for no more" in found.lines[0]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    "needs",
    [
        SEMI,
        Needs(unlabelled=False),
        Needs(unlabelled=True, strong=1, boxes=0),
        Needs(unlabelled=True, labelled_strong=1),
    ],
)
def test_the_size_of_a_batch_is_that_of_its_tensors(train_config, needs, device):
    config = train_config()
    maker = TrainLoader(open_data(config.data, final=False), config, needs)._maker
    maker.whole = device == "cpu"
    made = [value for part in maker.make((0, 0)).values() if isinstance(part, dict) for value in part.values()]
    size = sum(one.numel() * one.element_size() for one in made)
    assert size <= batch_bytes(config, needs, device=device, world=1) <= 2 * size


def test_all_images_are_kept_where_the_disk_has_room(train_config, room):
    room(disk=200 * GB)
    config = train_config()
    data = open_data(config.data, final=False)
    assert decoded_bytes([*data.labelled, *data.unlabelled]) == 4 * 20 * 24 * len([*data.labelled, *data.unlabelled])
    kept = kept_images(config, data)
    assert kept.size >= 8 * GB // 4096 * 4096
    assert kept.words.startswith("all decoded images kept on disk")


@pytest.mark.parametrize(("disk", "kept"), [(60, 21), (30, 8)])
def test_a_data_set_of_nineteen_gigabytes_is_kept_whole_or_as_far_as_before(
    monkeypatch, train_config, room, disk, kept
):
    monkeypatch.setattr(module, "decoded_bytes", lambda items: 19 * GB)
    room(disk=disk * GB)
    config = train_config()
    found = kept_images(config, open_data(config.data, final=False))
    assert found.size == kept * GB // 4096 * 4096
    assert ("has no more room" in found.words) == (kept == 8)


def test_a_limit_in_the_config_is_taken(train_config, room):
    for limit in (0, 2.5):
        config = train_config(data={"cache_gb": limit})
        assert kept_images(config, open_data(config.data, final=False)).size == int(limit * GB) // 4096 * 4096


@pytest.mark.slow
def test_workers_chosen_for_a_gpu_make_the_batches_of_none(train_config, room):
    config = train_config()
    data = open_data(config.data, final=False)
    made = [
        list(TrainLoader(data, train_config(data={"loader_workers": count}), SEMI).epoch(0))
        for count in (auto_workers("cuda", cores=2), 0)
    ]
    assert all(
        torch.equal(a.unlabelled.view.strong[1], b.unlabelled.view.strong[1]) for a, b in zip(*made, strict=True)
    )


def test_a_run_chooses_once_what_it_keeps_and_records_it(train_config, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "decoded_bytes", lambda items: 19 * GB)
    monkeypatch.setattr(module, "SHARED_MEMORY", tmp_path / "none")
    free = iter([200 * GB, *[20 * GB] * 100])
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: Usage(0, 0, next(free)))
    config = train_config(method="st", model={"backbone": "small", "weights": "none"}, schedule={"epochs": 2})
    run = Run(config, tmp_path / "run")
    MetricsLog(run, there=False)
    later = run._loader_of(run.stages[1].needs, None)
    assert run.kept.size == later.loading.kept.size == 21 * GB // 4096 * 4096
    recorded = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert recorded["decoded_images_bytes"] == run.kept.size
    assert recorded["loading"][0].endswith("all decoded images kept on disk, 21 GB at most (auto)")


def test_processes_of_one_run_keep_what_the_least_of_them_has_room_for():
    kept = CacheSize(size=21 * GB, words="all")
    assert kept.at_most(30 * GB) is kept
    assert kept.at_most(8 * GB) == CacheSize(
        size=8 * GB, words="up to 8 GB of decoded images kept (the least of all processes)"
    )


def test_the_size_of_decoded_images_is_found_beside_files_that_cannot_be_opened(train_config):
    config = train_config()
    items = open_data(config.data, final=False).unlabelled
    items[0].image.write_bytes(b"GIF89a" + bytes(3))
    items[1].image.unlink()
    assert decoded_bytes(items[:4]) == 4 * 20 * 24 * 4
