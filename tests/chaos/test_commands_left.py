"""A command as trainer on a real Ray cluster: whatever of the cluster dies, no process of the command is left."""

import sys
import time
from pathlib import Path

import psutil
import pytest
from ruamel.yaml import YAML

from tests.ipix_tune.running import entries, epochs_on_disk, metrics_of, sweep, wait_for
from tests.ipix_tune.toys import TOY, gone, section, wait_until

pytestmark = pytest.mark.slow

TORCHRUN_TOY = Path(__file__).parents[1] / "ipix_tune" / "torchrun_toy.py"
BUSY_S = 900
"""Longest wait for what a study does in a minute where nothing else runs on the machine."""


def written(folder, trainer, **more):
    data = {
        "name": "toy",
        "storage": str(folder / "studies"),
        "trainer": trainer,
        "search": {"optim.lr": {"uniform": [0, 1]}},
        "points": [{"optim.lr": 0.1}],
        "sampler": {"name": "random", "seed": 3},
        "scheduler": {"name": "none"},
        "budget": {"trials": 1},
        "retries": 3,
        **more,
    }
    file = folder / "toy.yaml"
    YAML().dump(data, file)
    return file


def torchrun():
    """The trainer: torchrun with one process on every node."""
    places = ["--nnodes", "{nnodes}", "--node-rank", "{node_rank}"]
    places += ["--master-addr", "{master_addr}", "--master-port", "{master_port}"]
    script = [str(TORCHRUN_TOY), "--epochs", "{epochs}", "--lr", "{optim.lr}", "--out", "{run_dir}", "--pause", "1"]
    return {
        "command": [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "1", *places, *script],
        "config": {"optim": {"lr": 0.1}},
        "epochs": 4,
        "metrics": {"jsonl": "{run_dir}/metrics.jsonl"},
        "score": "val/dice",
        "stop_s": 5,
    }


def processes(folder):
    """Those of a study's commands, on all of its nodes: their supervisors leave their parent, so that they are no
    children of the driver."""
    found = []
    for one in psutil.process_iter(["cmdline"]):
        words = one.info["cmdline"] or []
        named = any(word.startswith(str(folder / "studies")) for word in words)
        if named and any(word in (TOY, str(TORCHRUN_TOY)) for word in words):
            found.append(one)
    return found


def actors(cluster, name):
    """Processes of Ray's actors of this name, on the nodes of this cluster."""
    raylets = [info.process.pid for node in cluster.list_all_nodes() for info in node.all_processes["raylet"]]
    children = [
        one for pid in raylets if psutil.pid_exists(pid) for one in psutil.Process(pid).children(recursive=True)
    ]
    return [one for one in children if " ".join(one.cmdline()).startswith("ray::") and name in " ".join(one.cmdline())]


class Watched:
    """A study of one trial, and what is left of it after each of its faults."""

    def __init__(self, folder, file, address):
        self._folder, self._command = folder, (file, "--address", address)
        self.place, self.started = folder / "studies" / "toy", 0
        self.process = sweep(*self._command)

    def running(self, count):
        """The processes of the command, once there are so many of them and an epoch more is written."""
        return wait_for(lambda: self._now(count), seconds=BUSY_S, what=f"{count} processes of the command")

    def _now(self, count):
        if self.process.poll() is not None:
            raise AssertionError(self.process.communicate()[0])
        time.sleep(1)  # beside what it watches, on few cores
        if not (self.place / "trials" / "t0000" / "run" / "metrics.jsonl").exists():
            return None
        found = processes(self._folder)
        return found if len(found) == count else None

    def resume(self):
        self.process = sweep(*self._command, "--resume")

    def ended(self):
        output, _ = self.process.communicate(timeout=BUSY_S)
        assert self.process.returncode == 0, output
        assert processes(self._folder) == []
        return entries(self.place)["t0000"]


def left_none(found):
    """Whether all of them end in time."""
    return wait_until(lambda: all(gone(one.pid) for one in found), 120)


@pytest.mark.parametrize("fault", ["actor", "node"])
def test_a_command_of_one_node_leaves_nothing_when_its_actor_or_its_node_dies(tmp_path, cluster, fault):
    trainer = section(epochs=12)
    trainer["command"] = [*trainer["command"], "--pause", "0.5"]
    node = cluster.add_node(num_cpus=1)
    study = Watched(tmp_path, written(tmp_path, trainer), cluster.address)
    found = study.running(1)
    if fault == "actor":
        for actor in actors(cluster, "in_actor") or actors(cluster, "ImplicitFunc"):
            actor.kill()
    else:
        cluster.remove_node(node, allow_graceful=False)
    assert left_none(found)
    if fault == "node":
        cluster.add_node(num_cpus=1)
    entry = study.ended()
    assert entry.state == "complete"
    assert entry.retries == 1
    assert epochs_on_disk(study.place, "t0000") == 12


@pytest.mark.parametrize("fault", ["worker", "node", "driver"])
def test_torchrun_on_two_nodes_leaves_nothing_when_worker_node_or_driver_dies(tmp_path, cluster, fault):
    nodes = [cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)]
    file = written(tmp_path, torchrun(), resources={"workers": 2, "cpus_per_worker": 1})
    study = Watched(tmp_path, file, cluster.address)
    found = study.running(4)  # torchrun and its one process, on either node
    if fault == "worker":
        actors(cluster, "RayTrainWorker")[0].kill()
    elif fault == "node":
        cluster.remove_node(nodes[1], allow_graceful=False)
    else:
        study.process.kill()
        study.process.communicate()
    assert left_none(found)
    if fault == "node":
        cluster.add_node(num_cpus=1)
    elif fault == "driver":
        study.resume()
    entry = study.ended()
    assert entry.state == "complete"
    assert {row["ranks"] for row in metrics_of(study.place, "t0000")} == {2}
    assert (study.place / "trials" / "t0000" / "output-1.log").exists()
