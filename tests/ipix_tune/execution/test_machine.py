"""A machine on which Ray could not start is named with its cure, before any time is spent."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ipix_tune.execution.cluster import may_grow
from ipix_tune.execution.machine import OF_RAY, MachineError, asked_address, check_machine
from tests.ipix_tune.studies import base, write
from trainers.common.sockets import LONGEST, OF_LOADERS, TemporaryFolderError, check_for_loaders


@pytest.fixture
def short():
    """A folder with a short path."""
    folder = Path(tempfile.mkdtemp(prefix="s", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def of_length(folder, length):
    """A folder whose path has so many bytes."""
    made = folder / ("x" * (length - len(str(folder)) - 1))
    made.mkdir(exist_ok=True)
    return made


def environment(**changes):
    return {"HOME": str(Path.home()), "RAY_AUTH_MODE": "disabled", **{name: str(one) for name, one in changes.items()}}


@pytest.mark.parametrize("added", [OF_RAY, OF_LOADERS])
def test_the_bound_is_the_systems_own(short, added):
    """The socket of the longest allowed folder can be made, that of one byte more cannot."""
    for length, can in ((LONGEST - len(added), True), (LONGEST - len(added) + 1, False)):
        path = Path(str(of_length(short, length)) + added)
        path.parent.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as made:
            if can:
                made.bind(str(path))
            else:
                with pytest.raises(OSError, match="too long"):
                    made.bind(str(path))


def test_what_multiprocessing_adds_is_as_long_as_was_said(short):
    code = "from multiprocessing.connection import Listener; print(Listener(family='AF_UNIX').address)"
    made = subprocess.check_output([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(short)}, text=True)
    assert len(made.strip()) == len(str(short)) + len(OF_LOADERS)


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_temporary_folder_of_too_long_a_path_is_refused_with_the_longest_that_is_allowed(short, name):
    folder = of_length(short, 60)
    with pytest.raises(TemporaryFolderError, match=rf"{name} = {folder}: its 60 bytes.* for Ray.*at most \d+ bytes"):
        check_machine(None, environment(**{name: folder}))


def test_rays_own_variable_takes_precedence(short):
    check_machine(None, environment(TMPDIR=of_length(short, 90), RAY_TMPDIR=short))


def test_on_a_cluster_that_runs_already_this_machine_is_not_asked(short):
    check_machine("head:6379", environment(TMPDIR=of_length(short, 90)))
    check_machine(None, environment(TMPDIR=of_length(short, 90), RAY_ADDRESS="head:6379"))


@pytest.mark.parametrize("address", ["local", "", None])
@pytest.mark.parametrize("named", ["local", "", None])
def test_what_ray_calls_local_is_a_ray_of_this_machine(address, named, monkeypatch):
    """Its CPUs are counted as this process may use them, and no node is waited for."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if named is not None:
        monkeypatch.setenv("RAY_ADDRESS", named)
    assert asked_address(address) is None
    assert not may_grow(address)
    assert asked_address("auto") == "auto"


def test_a_home_that_cannot_be_written_is_named_with_both_cures():
    with pytest.raises(MachineError, match=r"HOME = /proc/nobody: /proc cannot be written.*RAY_AUTH_MODE=disabled"):
        check_machine(None, environment(HOME="/proc/nobody", RAY_AUTH_MODE=""))
    check_machine(None, environment(HOME="/proc/nobody", RAY_AUTH_MODE="disabled"))


def test_a_cache_that_cannot_be_written_is_warned_of_with_its_cure(short):
    (said,) = check_machine("head:6379", environment(HOME="/proc/nobody"))
    assert said.startswith("warning: /proc cannot be written (")
    assert "set HOME or XDG_CACHE_HOME" in said
    assert check_machine("head:6379", environment(HOME="/proc/nobody", XDG_CACHE_HOME=short)) == []
    assert check_machine("head:6379", environment(HOME=short)) == []


def test_a_temporary_folder_that_cannot_be_written_is_named():
    with pytest.raises(MachineError, match="TMPDIR = /proc/tmp: /proc cannot be written"):
        check_machine(None, environment(TMPDIR="/proc/tmp"))


def test_loader_workers_below_too_long_a_path_are_refused(short, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(of_length(short, 90)))
    with pytest.raises(TemporaryFolderError, match=r"TMPDIR = .*its 90 bytes.*for loader workers.*at most 75 bytes"):
        check_for_loaders()
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    check_for_loaders()


def test_a_sweep_says_so_before_it_opens_the_data(tmp_path, short):
    study = write(tmp_path, {**base(), "storage": str(tmp_path)})
    done = subprocess.run(
        [sys.executable, "-m", "ipix_tune.sweep", str(study)],
        env={**os.environ, "TMPDIR": str(of_length(short, 90))},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "TMPDIR = " in done.stderr
    assert "data" not in done.stdout
    assert "Traceback" not in done.stderr
