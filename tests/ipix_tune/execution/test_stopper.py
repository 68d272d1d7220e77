import os
import signal
import subprocess
import sys
import time

import pytest
from rich.console import Console

from ipix_tune.execution import stopper
from ipix_tune.execution.stopper import Stop


def test_a_study_without_limits_goes_on(tmp_path):
    assert not Stop(tmp_path, exhausted=lambda: None).stop_all()


def test_a_study_ends_when_its_budget_is_used_up(tmp_path):
    ended = Stop(tmp_path, exhausted=lambda: "budget.hours")
    assert ended.stop_all()
    assert ended.exhausted == "budget.hours"
    assert not ended.by_user


@pytest.fixture
def impatient(monkeypatch):
    """The disk is looked at every time, and may be bad for a tenth of a second."""
    monkeypatch.setattr(stopper, "LOOK_EVERY_S", -1)
    monkeypatch.setattr(stopper, "WAIT_S", 0.1)
    return monkeypatch


def test_a_study_ends_while_there_is_still_room_to_end_it(tmp_path, impatient):
    impatient.setattr(stopper, "LOW_BYTES", 2**62)
    ended = Stop(tmp_path, exhausted=lambda: None)
    assert not ended.stop_all()
    time.sleep(0.2)
    assert ended.stop_all()
    assert "MB free" in ended.storage_fault


def test_a_study_whose_folder_is_away_ends_after_a_while(tmp_path, impatient):
    ended = Stop(tmp_path / "gone", exhausted=lambda: None)
    assert not ended.stop_all()
    time.sleep(0.2)
    assert ended.stop_all()
    assert "cannot be reached" in ended.storage_fault


def test_a_disk_that_is_bad_for_a_moment_does_not_end_a_study(tmp_path, impatient):
    ended = Stop(tmp_path / "gone", exhausted=lambda: None)
    assert not ended.stop_all()
    (tmp_path / "gone").mkdir()
    assert not ended.stop_all()
    (tmp_path / "gone").rmdir()
    time.sleep(0.2)
    assert not ended.stop_all()


@pytest.fixture(params=[signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "SIGHUP"])
def number(request):
    """A signal that does what it does by default, also where the tests run under nohup."""
    before = signal.signal(request.param, signal.SIG_DFL)
    yield request.param
    signal.signal(request.param, before)


def test_the_first_signal_asks_the_study_to_end_and_the_handlers_come_back(tmp_path, number):
    ended = Stop(tmp_path, exhausted=lambda: None)
    with ended.on_signals(Console(quiet=True)):
        os.kill(os.getpid(), number)
        assert ended.stop_all()
    assert ended.by_user
    assert signal.getsignal(number) == signal.SIG_DFL


def test_a_terminal_that_is_closed_signals_twice_and_the_end_stays_clean(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    ended = Stop(tmp_path, exhausted=lambda: None)
    with ended.on_signals(Console(quiet=True)):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGHUP)
    signal.signal(signal.SIGHUP, before)
    assert ended.by_user


def test_under_nohup_a_closed_terminal_does_not_end_a_study(tmp_path, number):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    ended = Stop(tmp_path, exhausted=lambda: None)
    with ended.on_signals(Console(quiet=True)):
        os.kill(os.getpid(), signal.SIGHUP)
    assert not ended.by_user


def test_the_second_signal_ends_the_process_at_once(tmp_path):
    code = (
        "import os, pathlib, signal\nfrom rich.console import Console\nfrom ipix_tune.execution.stopper import Stop\n"
        "with Stop(pathlib.Path('.'), exhausted=lambda: None).on_signals(Console(quiet=True)):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n    print('first', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n    print('second', flush=True)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (130, "first\n")
