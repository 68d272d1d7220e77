"""Real studies on a real Ray, as small as they get, and how to watch them."""

import json
import os
import subprocess
import sys
import time

from rich.console import Console

from ipix_tune.config.load_study import load
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.search.trial_store import TrialStore
from ipix_tune.study import run_search as studies
from tests.ipix_tune.studies import write
from trainers.interface.epoch_record import MEASURED

TINY = {
    "name": "tiny",
    "trainer": {
        "data": {"name": "digits", "crop": 32, "batch_size": 2, "holdout": {"images": 4, "source": "unlabelled"}},
        "method": {"name": "unimatch"},
        "model": {"backbone": "small", "weights": "none"},
        "schedule": {"epochs": 4, "steps_per_epoch": 2},
    },
    "search": {
        "interpixel.alpha": {"loguniform": [0.01, 10]},
        "interpixel.distance": {"choice": ["kl", "cr"]},
        "optim.lr": {"loguniform": [0.001, 0.2]},
    },
    "scheduler": {"grace_epochs": 1, "reduction": 2},
    "budget": {"trials": 6},
    "resources": {"cpus_per_worker": 1, "concurrent": 2},
}


def tiny(folder, **changes):
    return write(folder, {**TINY, "storage": str(folder / "studies"), **changes})


def run(file, *, resume=False, report=True, overrides=()):
    study = load(file, overrides)
    console = Console(file=(file.parent / "console.txt").open("a"), width=200)
    outcome = studies.run(study, resume=resume, address=None, console=console)
    if report:
        studies.finish(study, outcome, console=console)
    return outcome


def entries(place):
    study = load(place / "study.yaml")
    return {entry.key: entry for entry in TrialStore(place, study, SearchSpace(study), total=0).entries()}


def metrics_of(place, key):
    lines = (place / "trials" / key / "metrics.jsonl").read_text().splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if not name.startswith(MEASURED)} for line in lines
    ]


def wait_for(condition, *, seconds, what):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (found := condition()) is not None:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen in {seconds} s")


def sweep(file, *more):
    return subprocess.Popen(
        [sys.executable, "-m", "ipix_tune.sweep", str(file), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def long(folder, **changes):
    """One trial after the other, long enough to be met in the middle."""
    trainer = {**TINY["trainer"], "schedule": {"epochs": 6, "steps_per_epoch": 6}}
    resources = {"cpus_per_worker": 1, "concurrent": 1}
    settings = {"trainer": trainer, "budget": {"trials": 3}, "scheduler": {"name": "none"}, "resources": resources}
    return tiny(folder, **{**settings, **changes})


def epochs_on_disk(place, key):
    file = place / "trials" / key / "metrics.jsonl"
    return len(file.read_text().splitlines()) if file.exists() else 0


def assert_same_study(place, reference):
    ours, theirs = entries(place), entries(reference)
    assert {key: (one.values, one.scores, one.state) for key, one in ours.items()} == {
        key: (one.values, one.scores, one.state) for key, one in theirs.items()
    }
    for key in ours:
        assert metrics_of(place, key) == metrics_of(reference, key)


def trial_processes(driver):
    """Those of this driver's own Ray: other studies may run on the machine."""
    import psutil

    return [
        process
        for process in psutil.Process(driver).children(recursive=True)
        if " ".join(process.cmdline()).startswith(("ray::ImplicitFunc", "ray::in_actor"))
    ]


def training_workers(driver):
    """Ray Train's workers of this driver's trials."""
    import psutil

    found = [
        one
        for one in psutil.Process(driver).children(recursive=True)
        if " ".join(one.cmdline()).startswith("ray::") and "RayTrainWorker" in " ".join(one.cmdline())
    ]
    assert len(found) == 2, found
    return found
