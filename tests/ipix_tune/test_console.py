"""A command goes on where nobody reads what it prints any more."""

import subprocess
import sys

CODE = """
import pathlib, sys, time, typer
from ipix_tune.console import run
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
