"""What each fault cost: printed, and appended where `--fault-rows` says. The table: `benchmarks.faults`."""

import contextlib
import dataclasses
import json
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.chaos.watch import Cost
from tests.ipix_tune.running import TINY, sweep, tiny

BUSY_S = 900
"""Longest wait for what a study does in a minute or two where nothing else runs on the machine."""
ROWS = pytest.StashKey[list[tuple[str, Cost]]]()


def pytest_configure(config):
    config.stash[ROWS] = []


@pytest.fixture
def cost(request):
    """Tell what a fault cost: ``cost("a worker is killed", watched)``."""

    def told(fault, watched):
        request.config.stash[ROWS].append((fault, watched))

    return told


@pytest.fixture(scope="session")
def reference(tmp_path_factory, request):
    """Studies to which nothing happens, by the name that a test gives one: ``reference("tiny", one_by_one)`` runs the
    study that ``one_by_one(folder)`` writes, with its report and its export; or gives that of an earlier session, where
    `--undisturbed` keeps them. A driver of its own runs each: a process has one way to authenticate with Ray, for good.
    """
    given = request.config.getoption("--undisturbed", default=None)
    kept = tmp_path_factory.mktemp("undisturbed") if given is None else Path(given)

    def place(name, written):
        if not (kept / name).is_dir():
            folder = tmp_path_factory.mktemp(name)
            process = sweep(written(folder))
            output, _ = process.communicate(timeout=BUSY_S)
            assert process.returncode == 0, output
            kept.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(dir=kept, prefix=f".{name}"))
            shutil.copytree(folder / "studies" / "tiny", part / "tiny")
            with contextlib.suppress(OSError):  # another session was as fast
                (part / "tiny").rename(kept / name)
        return kept / name

    return place


@pytest.fixture
def undisturbed(reference):
    """The study of `one_by_one`, as it ends when nothing happens to it."""
    return reference("one_by_one", one_by_one)


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
        "trainer": {**TINY["trainer"], "schedule": {"epochs": 6, "steps_per_epoch": 3}},
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
    parser.addoption("--undisturbed", metavar="FOLDER", help="Where undisturbed studies of tests/chaos are kept.")
    parser.addoption("--fault-rows", metavar="FILE", help="Append what every fault of tests/chaos cost, a line each.")
