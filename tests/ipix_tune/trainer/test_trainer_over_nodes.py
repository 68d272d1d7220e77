"""A trial on several workers: a command on each of its nodes, and a function, run as a trial runs them but for Ray."""

import json
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from ipix_tune.config.load_study import from_mapping
from ipix_tune.trainer.choose import trainer_of
from ipix_tune.trainer.command.process import CommandFailed
from ipix_tune.trainer.function import hand_over
from tests.ipix_tune.toys import study, wait_until
from trainers.common.errors import ConfigError

SAYS = """
import json, sys, time
out, epochs, *meeting = sys.argv[1:]
rank = int(meeting[1])
with open(f"{out}/node-{rank}.json", "w") as file:
    json.dump(meeting, file)
if rank == 0:
    for epoch in range(1, int(epochs) + 1):
        time.sleep(0.3)
        with open(f"{out}/metrics.jsonl", "a") as file:
            file.write(json.dumps({"epoch": epoch, "val/dice": epoch}) + "\\n")
"""
TORCHRUN_TOY = str(Path(__file__).parents[1] / "torchrun_toy.py")
MEETING = ["{nnodes}", "{node_rank}", "{master_addr}", "{master_port}"]


class Trial:
    """What the workers of a trial share; they are threads here."""

    def __init__(self, count):
        self.count, self.moved = count, threading.Condition()
        self.said, self.left, self.over_at = [], False, float("inf")


class Peer:
    """One of them; see `ipix_tune.trainer.peers.Peers`."""

    address = "127.0.0.1"

    def __init__(self, trial, rank):
        self._trial, self.rank, self.count, self._number = trial, rank, trial.count, 0

    def first_says(self, what=None):
        trial, number = self._trial, self._number
        self._number += 1
        with trial.moved:
            if self.rank == 0:
                trial.said.append(what)
                trial.moved.notify_all()
            assert trial.moved.wait_for(lambda: len(trial.said) > number or trial.left, timeout=600)
            return trial.said[number] if len(trial.said) > number else None

    def end(self, *, after_s=0.0):
        self._trial.over_at = min(self._trial.over_at, time.monotonic() + after_s)

    def is_over(self):
        return self._trial.left or time.monotonic() >= self._trial.over_at

    def leave(self):
        with self._trial.moved:
            self._trial.left = self._trial.left or self.rank == 0
            self._trial.moved.notify_all()


def over(given, folder, *, stop_after=None):
    """What two workers reported, and what each raised."""
    trainer, told, raised, trial = trainer_of(given), [], {}, Trial(2)
    config = trainer.validated(trainer.data_of(given, {}, {}), source="test", lines={})

    def report(epoch):
        told.append((epoch.epoch, epoch.metrics["val/dice"]))
        return stop_after is None or epoch.epoch < stop_after

    def one(rank):
        peer = Peer(trial, rank)
        try:
            trainer.run(config, folder, report, peer)
        except Exception as error:
            raised[rank] = error
        peer.leave()

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=600)
    assert not any(thread.is_alive() for thread in threads)
    return told, raised


def command(code, **more):
    escaped = code.replace("{", "{{").replace("}", "}}")
    return {
        "command": [
            sys.executable,
            "-c",
            escaped,
            "{run_dir}",
            "{epochs}",
            *MEETING,
        ],
        "epochs": 3,
        "metrics": {"jsonl": "{run_dir}/metrics.jsonl"},
        "score": "val/dice",
        "stop_s": 30,
        **more,
    }


def test_every_node_gets_its_rank_and_the_address_of_the_first_and_the_first_one_reports(tmp_path):
    told, raised = over(command(SAYS), tmp_path)
    assert (told, raised) == ([(1, 1), (2, 2), (3, 3)], {})
    first, other = (json.loads((tmp_path / "run" / f"node-{rank}.json").read_text()) for rank in (0, 1))
    assert [first[:2], other[:2]] == [["2", "0"], ["2", "1"]]
    assert first[2:] == other[2:]
    assert first[2] == "127.0.0.1"
    assert 1024 <= int(first[3]) <= 65535


def test_a_trial_that_is_stopped_ends_its_commands_on_all_nodes(tmp_path):
    lasting = SAYS + "\ntime.sleep(600)\n"
    began = time.monotonic()
    told, raised = over(command(lasting, epochs=50), tmp_path, stop_after=1)
    assert (told, raised) == ([(1, 1)], {})
    assert time.monotonic() - began < 300  # and not the 600 s that every one of them would take


def test_a_command_that_fails_on_another_node_is_named_with_that_node(tmp_path):
    failing = "import sys\nif sys.argv[4] == '1': raise SystemExit('the dog ate it')\n" + SAYS
    _, raised = over(command(failing), tmp_path)
    assert isinstance(raised[1], CommandFailed)
    assert "status 1 on node 1; its last line: the dog ate it" in str(raised[1])


def test_a_setting_of_the_same_name_goes_before_what_the_study_would_fill_in(tmp_path):
    given = command("import sys; print(sys.argv[-1], flush=True)", config={"nnodes": 7})
    given["command"] = [*given["command"][:3], "{nnodes}"]
    trainer = trainer_of(given)
    config = trainer.validated(trainer.data_of(given, {}, {}), source="test", lines={})
    with pytest.raises(ConfigError, match="reported no epoch"):
        trainer.run(config, tmp_path, lambda _: True)
    assert (tmp_path / "output.log").read_text() == "7\n"


def test_a_command_without_a_way_to_meet_is_refused_on_several_workers():
    with pytest.raises(ConfigError, match=r"resources\.workers = 2.*name \{nnodes\}, \{node_rank\}, \{master_addr\}"):
        from_mapping(study(resources={"workers": 2}), source="test")


SEEN = []


def fit(config, report):
    """Every worker reports; what the first one says counts."""
    for epoch in range(1, report.epochs + 1):
        if report(epoch, {"val/dice": float(epoch)}, checkpoint=report.run_dir / "last"):
            break
    SEEN.append(epoch)


@pytest.mark.parametrize("stop_after", [None, 2])
def test_a_function_on_several_workers_is_stopped_on_all_at_once(tmp_path, stop_after):
    SEEN.clear()
    given = {"function": hand_over(fit), "epochs": 3, "score": "val/dice"}
    told, raised = over(given, tmp_path, stop_after=stop_after)
    last = stop_after or 3
    assert raised == {}
    assert [epoch for epoch, _ in told] == [*range(1, last + 1)]
    assert sorted(SEEN) == 2 * [last]


@pytest.mark.slow
def test_torchrun_joins_the_processes_of_two_nodes(tmp_path):
    places = ["--nnodes", "{nnodes}", "--node-rank", "{node_rank}"]
    places += ["--master-addr", "{master_addr}", "--master-port", "{master_port}", "--nproc-per-node", "1"]
    script = [TORCHRUN_TOY, "--epochs", "{epochs}", "--lr", "0.5", "--out", "{run_dir}"]
    given = command("") | {"command": [sys.executable, "-m", "torch.distributed.run", *places, *script], "stop_s": 10}
    told, raised = over(given, tmp_path)
    assert (told, raised) == ([(1, 0.5), (2, 1.0), (3, 1.5)], {})
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["ranks"] for row in rows] == [2, 2, 2]
    assert wait_until(lambda: not left(tmp_path), 60)


def left(folder):
    """Processes whose command lines name the folder."""
    found = psutil.process_iter(["cmdline", "status"])
    named = [one for one in found if str(folder) in " ".join(one.info["cmdline"] or [])]
    return [one for one in named if one.info["status"] != psutil.STATUS_ZOMBIE]
