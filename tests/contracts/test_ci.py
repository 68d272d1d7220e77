"""What CI runs are commands that a contributor has, on every Python that `pyproject.toml` allows."""

import re
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]


@pytest.fixture
def jobs():
    return YAML(typ="safe").load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]


def commands(job):
    return [step["run"] for step in job["steps"] if "run" in step]


def python_of(job):
    return next(step["with"]["python-version"] for step in job["steps"] if "setup-python" in step.get("uses", ""))


def lowest_python():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")


def test_every_command_is_a_target_of_the_makefile(jobs):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = [
        re.fullmatch(r"make ([a-z-]+) PYTHON=python", command) for job in jobs.values() for command in commands(job)
    ]
    assert {one[1] for one in asked} == {"test", "test-oldest", "docs", "coverage"} <= targets


def test_the_newest_versions_run_on_the_oldest_python_and_those_after_it(jobs):
    versions = jobs["newest"]["strategy"]["matrix"]["python"]
    first = int(lowest_python().partition(".")[2])
    assert versions == [f"3.{first + later}" for later in range(len(versions))]
    assert python_of(jobs["newest"]) == "${{ matrix.python }}"


def test_the_oldest_versions_run_on_the_oldest_python(jobs):
    assert python_of(jobs["oldest"]) == lowest_python()
    assert commands(jobs["oldest"]) == ["make test-oldest PYTHON=python"]


def test_coverage_runs_on_a_python_that_counts_lines_by_itself(jobs):
    assert python_of(jobs["coverage"]) >= "3.12"
