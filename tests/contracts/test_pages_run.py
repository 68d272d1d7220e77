"""Every command of the README and of the tutorial is run, in the order in which a reader meets it."""

import contextlib
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from tests.contracts.page_shell import ROOT, PageShell, commands

PAGES = ("README.md", "docs/tutorial/demo.md", "docs/tutorial/own-data.md", "docs/tutorial/cluster.md")


@pytest.fixture
def sockets():
    """Ray's folder: the paths of sockets may have 107 characters. What still runs from it is ended."""
    folder = Path(tempfile.mkdtemp(prefix="pages"))
    yield folder
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(folder) in (process / "cmdline").read_text():
                os.kill(int(process.name), signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(5400)
@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_page_ends_well(page, tmp_path, sockets):
    shell = PageShell(tmp_path, sockets)
    try:
        if page not in ("README.md", "docs/tutorial/demo.md"):
            shell.run("source .venv/bin/activate")  # the demo's page, which comes before, says so
        wrong = [said for command in commands(ROOT / page) if (said := shell.run(command))]
    finally:
        shell.close()
    assert wrong == []


def test_comments_and_line_ends_are_no_part_of_a_command(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```sh\nmake demo   # ten minutes\n\n# alone\nray start \\\n  --head\n```\n```yaml\na: 1\n```\n")
    assert commands(page) == ["make demo", "ray start --head"]
