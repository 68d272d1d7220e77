"""A command as trainer, in real studies on Ray: stopped trials, a killed driver, a confirmation, an export."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from ruamel.yaml import YAML

from analysis.ingest.tables import load as load_tables
from tests.ipix_tune.toys import TOY, gone, section, wait_until

pytestmark = pytest.mark.slow


def written(tmp_path, **more):
    trainer = section(epochs=9) | more.pop("trainer", {})
    trainer["command"] = [*trainer["command"], "--pause", "0.2"]
    data = {
        "name": "toy",
        "storage": str(tmp_path / "studies"),
        "trainer": trainer | {"metrics": {"jsonl": "{run_dir}/metrics.jsonl", "factor": {"val/dice": 100}}},
        "search": {"optim.lr": {"uniform": [0, 1]}},
        "points": [{"optim.lr": 0.9}, {"optim.lr": 0.1}],
        "sampler": {"name": "random", "seed": 3},
        "scheduler": {"grace_epochs": 1},
        "budget": {"trials": 6},
        "resources": {"cpus_per_worker": 0.5},
        "confirm": {"top": 1, "first_seeds": 3, "max_seeds": 6, "delta": 1},
    } | more
    file = tmp_path / "toy.yaml"
    YAML().dump(data, file)
    return file


def ipix(*arguments, **options):
    command = [sys.executable, "-m", "ipix_tune.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, **options)


def toys():
    return [one for one in psutil.process_iter(["cmdline"]) if TOY in (one.info["cmdline"] or [])]


def test_a_command_is_searched_stopped_confirmed_reported_and_exported(tmp_path):
    file = written(tmp_path)
    done = ipix("sweep", file)
    assert done.returncode == 0, done.stdout + done.stderr
    place = tmp_path / "studies" / "toy"
    states = load_tables(place).runs["state"].to_pylist()
    assert "stopped" in states
    assert not toys()
    done = ipix("confirm", place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verdict: top 1 is better than defaults" in done.stdout.replace("\n", " ")
    page = (place / "report.html").read_text()
    assert "mIoU" not in page.replace("mIoU elsewhere", "")
    best = YAML(typ="safe").load((place / "best.yaml").read_text())
    assert "# run it: " in (place / "best.yaml").read_text()
    assert best["config"]["optim"]["lr"] != 0.9


def test_after_its_driver_is_killed_no_command_is_left_and_the_study_goes_on(tmp_path):
    file = written(tmp_path)
    driver = subprocess.Popen(
        [sys.executable, "-m", "ipix_tune.cli.main", "sweep", str(file)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    place = tmp_path / "studies" / "toy"
    assert wait_until(lambda: any((place / "trials").glob("*/metrics.jsonl")), 120)
    time.sleep(1)
    running = toys()
    assert running
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert wait_until(lambda: all(gone(one.pid) for one in running), 90)
    done = ipix("sweep", file, "--resume")
    assert done.returncode == 0, done.stdout + done.stderr
    runs = load_tables(place).runs
    assert set(runs["state"].to_pylist()) <= {"complete", "stopped"}
    outputs = [path.read_text() for path in Path(place / "trials").glob("*/output.log")]
    assert outputs
    assert all(text.count("epoch 1:") == 1 for text in outputs)  # what was trained was not trained again


SCRIPT = """
import ipix_tune

def fit(config, report):
    for epoch in range(1, report.epochs + 1):
        report(epoch, {"val/dice": 100 * config["lr"] + epoch})

if __name__ == "__main__":
    study = {
        "name": "handed", "trainer": {"config": {}, "epochs": 3, "score": "val/dice"},
        "search": {"lr": {"choice": [0.1, 0.5]}},
        "sampler": {"name": "grid"}, "scheduler": {"name": "none"}, "budget": {"trials": 2},
    }
    print("BEST", ipix_tune.Study(study, trainer=fit).run().best_config.config["lr"])
"""


def test_a_function_that_a_script_hands_over_is_searched_on_ray(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, timeout=500, check=False, cwd=tmp_path
    )
    assert "BEST 0.5" in done.stdout, done.stdout + done.stderr
