import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

from analysis.errors import LogsError
from analysis.ingest.read_study import find_sources
from analysis.page.serve import serve


@pytest.fixture
def served(tmp_path, study_dir):
    """A study whose logs come after the server; its address."""
    place, stop, lines = tmp_path / "synthetic", threading.Event(), []
    place.mkdir()
    thread = threading.Thread(
        target=serve,
        args=(place,),
        kwargs={"host": "127.0.0.1", "port": 0, "every_s": 0.2, "say": lines.append, "stop": stop},
    )
    thread.start()
    address = re.search(r"http://127\.0\.0\.1:\d+/", wait_for(lambda: lines and lines[0]))[0]
    yield place, address
    stop.set()
    thread.join(60)
    assert not thread.is_alive()


def wait_for(what, seconds=300):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.3)
    raise TimeoutError


def get(address):
    with urllib.request.urlopen(address, timeout=30) as answer:
        return answer.read().decode()


def add(place, study_dir, *numbers):
    for number in numbers:
        source = next(study_dir.glob(f"wandb/*-t{number:04d}"))
        shutil.copytree(source, place / "wandb" / source.name)


def test_the_page_comes_when_trials_report_and_is_made_again_as_more_do(served, study_dir):
    place, address = served
    assert "No trial has reported yet" in get(address)
    first = get(f"{address}version")
    add(place, study_dir, 0, 1, 2)
    wait_for(lambda: "All 3 trials" in get(address))
    second = get(f"{address}version")
    add(place, study_dir, 3)
    wait_for(lambda: "All 4 trials" in get(address))
    assert len({first, second, get(f"{address}version")}) == 3
    assert "location.reload" in get(address)
    assert "location.reload" not in (place / "report.html").read_text()


@pytest.mark.parametrize("path", ["tables/runs.parquet", "../study.yaml", "etc/passwd"])
def test_nothing_but_the_page_is_served(served, path):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(served[1] + path)


def test_a_port_that_is_taken_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LogsError, match=rf"--port {port}: cannot listen there"):
            serve(tmp_path, host="127.0.0.1", port=port, every_s=1, say=print, stop=threading.Event())


def test_the_command_says_that_a_study_has_not_begun(tmp_path):
    lines, stop = [], threading.Event()
    stop.set()
    serve(tmp_path / "later", host="127.0.0.1", port=0, every_s=1, say=lines.append, stop=stop)
    assert f"{tmp_path / 'later'} does not exist yet: the page comes when the study has begun" in lines


def test_the_page_says_that_a_study_has_not_begun(served):
    place, address = served
    place.rmdir()
    said = f"{place} does not exist yet: the page comes when the study has begun"
    assert wait_for(lambda: said in get(address))


def test_a_study_without_trials_is_not_said_to_lack_its_logs(tmp_path):
    (tmp_path / "trials").mkdir()
    with pytest.raises(LogsError, match="none of its trials has started yet"):
        find_sources(tmp_path)
    (tmp_path / "trials" / "t0000").mkdir()
    with pytest.raises(LogsError, match="disabled"):
        find_sources(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_command_cleanly(tmp_path, number):
    command = [sys.executable, "-u", "-m", "analysis.report", str(tmp_path), "--live", "--every", "0.2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "http://127.0.0.1:" in process.stdout.readline()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert errors == ""
