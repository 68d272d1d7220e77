"""A command goes on where nobody reads what it prints any more."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.disks import small_disk

CODE = """
import pathlib, sys, time, typer
from ipix_tune.cli.exit_codes import run
app = typer.Typer()
@app.command()
def work(file: pathlib.Path):
    from rich.console import Console
    console = Console()
    print("first", flush=True)
    sys.stdin.readline()
    for number in range(2000):
        console.print(f"line {number} of what nobody reads")
        print("and of this", flush=True)
    file.write_text("done")
run(app)
"""


def test_a_pipe_whose_reader_has_gone_does_not_end_the_work(tmp_path):
    command = [sys.executable, "-c", CODE, str(tmp_path / "file")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout.readline() == "first\n"
        worker.stdout.close()
        worker.stdin.write("go on\n")
        worker.stdin.close()
        said = worker.stderr.read()
        code = worker.wait()
    assert (code, said) == (0, "")
    assert (tmp_path / "file").read_text() == "done"


ON_A_DISK = """
import pathlib, sys, typer
from ipix_tune.cli.exit_codes import run
app = typer.Typer()
@app.command()
def work(filler: pathlib.Path):
    print("before", flush=True)
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1024))
        except OSError:
            pass
    for number in range(3000):
        print(f"line {number} while the disk is full", flush=True)
    filler.unlink()
    print("after", flush=True)
run(app)
"""


def test_output_to_a_disk_that_is_full_for_a_while_goes_on_afterwards(tmp_path):
    with small_disk(tmp_path, "64k") as disk:
        with (disk / "out").open("w") as out:
            command = [sys.executable, "-c", ON_A_DISK, str(disk / "filler")]
            done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True)
        said = (disk / "out").read_text()
    assert (done.returncode, done.stderr) == (0, "")
    assert said.startswith("before\n")
    assert said.endswith("after\n")


def test_output_to_a_disk_that_stays_full_does_not_end_the_work(tmp_path):
    command = [sys.executable, "-c", CODE, str(tmp_path / "file")]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, input="go on\n", stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "file").read_text() == "done"


LOGS_TO_A_FULL_DISK = """
import logging, typer
from ipix_tune.cli.exit_codes import run
app = typer.Typer()
@app.command()
def work():
    logger = logging.getLogger("a library")
    logger.addHandler(logging.FileHandler("/dev/full"))
    for number in range(3):
        logger.warning("line %d", number)
    print("done")
run(app)
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_librarys_log_on_a_full_disk_prints_no_traceback():
    done = subprocess.run([sys.executable, "-c", LOGS_TO_A_FULL_DISK], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
