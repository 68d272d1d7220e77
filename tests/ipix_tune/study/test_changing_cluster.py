"""Real studies on a real Ray cluster whose nodes come and go, and which others use."""

import os
import subprocess
import sys
import threading
import time

import pyarrow.parquet as pq
import pytest

from tests.ipix_tune.running import TINY, entries, epochs_on_disk, sweep, tiny, trial_processes

pytestmark = pytest.mark.slow


def study(folder, *, trials, epochs=10, **resources):
    trainer = {**TINY["trainer"], "schedule": {"epochs": epochs, "steps_per_epoch": 8}}
    return tiny(
        folder,
        trainer=trainer,
        scheduler={"name": "none"},
        sampler={"name": "random", "seed": 0},
        budget={"trials": trials},
        resources={"cpus_per_worker": 1, **resources},
    )


class Output:
    """What a study prints, as far as it has."""

    def __init__(self, process):
        self.process, self.text = process, ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.text += line

    def wait_for(self, part, *, seconds=240):
        self.until(lambda: part in self.text, seconds=seconds)

    def until(self, condition, *, seconds=240):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None and not condition():
            time.sleep(0.05)
        self._reader.join(timeout=0.2)
        assert condition(), self.text

    def ended(self, *, seconds=400):
        code = self.process.wait(timeout=seconds)
        self._reader.join()
        return code


def test_a_cluster_of_no_workers_is_waited_for_and_nodes_that_join_later_are_used(tmp_path, cluster):
    place = tmp_path / "studies" / "tiny"
    output = Output(sweep(study(tmp_path, trials=4), "--address", cluster.address))
    output.wait_for("the cluster has no room for a trial yet (it has 0 CPU; one takes 1 CPU)")
    cluster.add_node(num_cpus=1)
    output.until(lambda: epochs_on_disk(place, "t0000") >= 1)
    assert len(trial_processes(os.getpid())) == 1  # on the nodes, which this process started
    cluster.add_node(num_cpus=1)
    output.until(lambda: len(trial_processes(os.getpid())) == 2)
    assert output.ended() == 0, output.text
    assert {entry.state for entry in entries(place).values()} == {"complete"}
    assert len(pq.read_table(place / "tables" / "runs.parquet")) == 4


def test_a_cluster_whose_workers_never_come_ends_with_the_reason(tmp_path, cluster):
    file = study(tmp_path, trials=1, wait_for_nodes_s=3)
    output = Output(sweep(file, "--address", cluster.address))
    assert output.ended() == 2
    assert "and the cluster has 0 CPU" in output.text
    assert "None that is large enough came in 3 s" in output.text
    assert "Traceback" not in output.text
    assert not (tmp_path / "studies").exists() or not list((tmp_path / "studies").glob("*/study.yaml"))


BUSY = """
import sys, ray
ray.init(address=sys.argv[1], logging_level="ERROR")
@ray.remote(num_cpus=1)
class Holder:
    def there(self):
        return True
holder = Holder.remote()
ray.get(holder.there.remote())
print("holds", flush=True)
sys.stdin.readline()
"""


def test_a_busy_cluster_is_said_and_waited_for(tmp_path, cluster):
    cluster.add_node(num_cpus=1)
    other = subprocess.Popen(
        [sys.executable, "-c", BUSY, cluster.address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert other.stdout.readline() == "holds\n"
    output = Output(sweep(study(tmp_path, trials=1, epochs=2), "--address", cluster.address))
    output.wait_for("1 trial waits for 1 CPU, used by others: of 1 CPU others use 1 CPU, this study 0 CPU")
    other.communicate("go on\n")
    assert output.ended() == 0, output.text


def test_a_cluster_whose_nodes_leave_ends_the_study_and_a_resume_goes_on(tmp_path, cluster):
    node = cluster.add_node(num_cpus=1)
    file, place = study(tmp_path, trials=2, wait_for_nodes_s=40), tmp_path / "studies" / "tiny"
    output = Output(sweep(file, "--address", cluster.address))
    output.until(lambda: epochs_on_disk(place, "t0000") >= 2)
    cluster.remove_node(node, allow_graceful=False)
    assert output.ended() == 1, output.text
    assert "no node of the cluster had room for a trial for 40 s (resources.wait_for_nodes_s)" in output.text
    assert "go on with: " in output.text
    assert entries(place)["t0000"].state == "running"
    cluster.add_node(num_cpus=1)
    again = Output(sweep(file, "--address", cluster.address, "--resume"))
    assert again.ended() == 0, again.text
    assert {entry.state for entry in entries(place).values()} == {"complete"}
