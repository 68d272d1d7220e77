"""A study on a cluster that Ray's own autoscaler grows and shrinks, with nodes that are processes of this machine."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
import ray
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID
from ruamel.yaml import YAML

from tests.ipix_tune.running import entries, sweep, wait_for
from tests.ipix_tune.study.test_changing_cluster import Output
from tests.ipix_tune.toys import TOY, section

pytestmark = pytest.mark.slow

BUSY_S = 900
NODES = 2


class Autoscaled:
    """A head without CPUs and its autoscaler, which may add `NODES` nodes of one CPU. Ray's `AutoscalingCluster` ends
    every Ray of the machine, also those that are not its own; this one does not. It is version 1 of the autoscaler,
    which does not tell what nodes it may add, so that a study asks for no more than there is room for. Version 2 needs
    a file for such nodes that Ray's wheel does not hold."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("", 0))
            port = free.getsockname()[1]
        self.address = f"{ray.util.get_node_ip_address()}:{port}"
        place = {"type": "fake_multinode", "gcs_address": self.address, "head_node_id": FAKE_HEAD_NODE_ID}
        head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
        worker = {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": NODES}
        defaults = Path(ray.__file__).parent / "autoscaler/_private/readonly/defaults.yaml"
        config = YAML(typ="safe").load(defaults) | {
            "cluster_name": "fake",
            "max_workers": NODES,
            "provider": place | {"disable_node_updaters": True, "disable_launch_config_check": True},
            "available_node_types": {"ray.head.default": head, "worker": worker},
            "head_node_type": "ray.head.default",
            "upscaling_speed": 1,
            "idle_timeout_minutes": 0.1,
        }
        file = folder / "autoscaler.json"
        file.write_text(json.dumps(config))
        self._temporary = tempfile.mkdtemp()  # a short path, since Ray puts sockets below it
        start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"]
        start += ["--num-cpus=0", f"--autoscaling-config={file}", "--include-dashboard=false"]
        start += [f"--temp-dir={self._temporary}", "--dashboard-agent-listen-port=0"]
        self._head = subprocess.Popen(
            start,
            env={
                **os.environ,
                "RAY_FAKE_CLUSTER": "1",
                "RAY_USAGE_STATS_ENABLED": "0",
                "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            },
            stdout=(folder / "ray.log").open("wb"),
            stderr=subprocess.STDOUT,
        )
        wait_for(lambda: True if self.nodes() == 0 else None, seconds=BUSY_S, what="the head")

    def nodes(self):
        """How many nodes there are beside the head."""
        below = psutil.Process(self._head.pid).children(recursive=True)
        return sum(one.name() == "raylet" and one.status() != psutil.STATUS_ZOMBIE for one in below) - 1

    def shutdown(self):
        below = psutil.Process(self._head.pid).children(recursive=True)
        for one in [psutil.Process(self._head.pid), *below]:
            if one.is_running():
                one.kill()
        self._head.wait()
        shutil.rmtree(self._temporary, ignore_errors=True)


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    made = Autoscaled(tmp_path)
    yield made
    made.shutdown()


def commands(folder):
    named = [one.info["cmdline"] or [] for one in psutil.process_iter(["cmdline"])]
    return [words for words in named if TOY in words and any(str(folder / "studies") in word for word in words)]


def test_an_autoscaler_adds_nodes_for_a_study_from_zero_and_takes_them_away_after_it(tmp_path, cluster):
    trainer = section(epochs=20)
    trainer["command"] = [*trainer["command"], "--pause", "1"]
    data = {
        "name": "toy",
        "storage": str(tmp_path / "studies"),
        "trainer": trainer,
        "search": {"optim.lr": {"uniform": [0, 1]}},
        "sampler": {"name": "random", "seed": 3},
        "scheduler": {"name": "none"},
        "budget": {"trials": 4},
        "resources": {"cpus_per_worker": 1},
    }
    file = tmp_path / "toy.yaml"
    YAML().dump(data, file)
    assert cluster.nodes() == 0
    output = Output(sweep(file, "--address", cluster.address))
    output.wait_for("the cluster has no room for a trial yet (it has 0 CPU; one takes 1 CPU)", seconds=BUSY_S)
    at_once = 0
    while output.process.poll() is None:
        at_once = max(at_once, len(commands(tmp_path)))
        time.sleep(1)
    assert output.ended() == 0, output.text
    assert 1 <= at_once <= NODES
    assert {entry.state for entry in entries(Path(tmp_path / "studies" / "toy")).values()} == {"complete"}
    wait_for(lambda: cluster.nodes() == 0 or None, seconds=BUSY_S, what="the end of idle nodes")
