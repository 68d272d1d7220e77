"""What each fault cost: printed, and appended where `--fault-rows` says. The table: `benchmarks.faults`."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from tests.chaos.watch import Cost
from tests.ipix_tune.running import TINY, run, tiny

ROWS = pytest.StashKey[list[tuple[str, Cost]]]()


def pytest_configure(config):
    config.stash[ROWS] = []


@pytest.fixture
def cost(request):
    """Tell what a fault cost: ``cost("a worker is killed", watched)``."""

    def told(fault, watched):
        request.config.stash[ROWS].append((fault, watched))

    return told


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, request):
    """The study of `one_by_one`, as it ends when nothing happens to it; of an earlier session where one was kept."""
    kept = request.config.getoption("--undisturbed", default=None)
    folder = tmp_path_factory.mktemp("undisturbed")
    if kept is not None and Path(kept).is_dir():
        return shutil.copytree(kept, folder / "tiny")
    place = run(one_by_one(folder), report=False).folder
    if kept is not None:
        Path(shutil.copytree(place, f"{kept}.part")).rename(kept)
    return place


@pytest.fixture
def study_file(tmp_path):
    return one_by_one(tmp_path)


def one_by_one(folder, **changes):
    """The deterministic mode: one trial after the other, TPE after two random ones, ASHA."""
    settings = {
        "sampler": {"name": "tpe", "seed": 3, "startup_trials": 2},
        "scheduler": {"name": "asha", "grace_epochs": 2, "reduction": 2},
        "budget": {"trials": 5},
        "resources": {"cpus_per_worker": 1, "concurrent": 1},
        "trainer": {**TINY["trainer"], "schedule": {"epochs": 6, "steps_per_epoch": 6}},
    }
    return tiny(folder, **settings | changes)


def pytest_terminal_summary(terminalreporter, config):
    rows, path = config.stash[ROWS], config.getoption("--fault-rows", default=None)
    for fault, one in rows:
        terminalreporter.write_line(f"{fault}: {one.epochs_lost} epochs lost, {one.seconds:.1f} s; {one.how}")
    if path is not None:
        with Path(path).open("a") as file:
            for fault, one in rows:
                file.write(json.dumps({"fault": fault, **dataclasses.asdict(one)}) + "\n")


def pytest_addoption(parser):
    parser.addoption("--undisturbed", metavar="FOLDER", help="Where the undisturbed study of tests/chaos is kept.")
    parser.addoption("--fault-rows", metavar="FILE", help="Append what every fault of tests/chaos cost, a line each.")
