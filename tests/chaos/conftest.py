"""The fault table: what each fault cost, written where `--fault-table` says."""

import platform
from datetime import UTC, datetime
from importlib.metadata import version
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
def undisturbed(tmp_path_factory):
    """The study of `one_by_one`, as it ends when nothing happens to it."""
    return run(one_by_one(tmp_path_factory.mktemp("undisturbed")), report=False).folder


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
    rows, path = config.stash[ROWS], config.getoption("--fault-table", default=None)
    if not rows:
        return
    lines = [
        "| fault | epochs lost | seconds until the next epoch was on disk | how it went on |",
        "|---|---|---|---|",
        *(f"| {fault} | {one.epochs_lost} | {one.seconds:.1f} | {one.how} |" for fault, one in rows),
    ]
    for line in lines:
        terminalreporter.write_line(line)
    if path is not None:
        versions = ", ".join(f"{name} {version(name)}" for name in ("ray", "optuna", "wandb", "torch"))
        text = "\n".join(
            [
                "# What a fault costs",
                "",
                "Real studies, real kills, on one machine. Every row ended with the configs, the curves (bit for bit) "
                "and the best config of the undisturbed study. An epoch counts as lost when it was on disk before the "
                "fault and had to be trained again. The seconds include the wait that the test itself caused (storage "
                "away) and the start of Ray where the driver was started again.",
                "",
                *lines,
                "",
                f"Command: `python -m pytest tests/chaos -m slow --fault-table {path}`.",
                f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, {versions}; {platform.machine()}, "
                "2 CPU cores.",
                "",
            ]
        )
        Path(path).write_text(text)


def pytest_addoption(parser):
    parser.addoption("--fault-table", metavar="FILE", help="Write what every fault of tests/chaos cost, as Markdown.")
