"""Sides of a timing of steps: their folder of images, and their processes."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.helpers.step_data import make
from benchmarks.helpers.step_turns import Side

Turn = Callable[[int], dict[str, Any]]
"""So many steps of a side, and its answer."""


def folder_of_images() -> Path:
    """In the user's cache folder."""
    from trainers.data.layout import cache_folder

    return make(cache_folder() / "step-images")


@contextmanager
def started(side: Side) -> Iterator[Turn]:
    """The side's process, after its warm-up."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.step_side"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env=environment(side) | {"PYTHONPATH": with_this_tree()},
        )
        asked, answers = process.stdin, process.stdout
        assert asked is not None
        assert answers is not None

        def answer() -> dict[str, Any]:
            for line in answers:
                if line.startswith("{"):
                    found: dict[str, Any] = json.loads(line)
                    return found
            said.seek(0)
            raise RuntimeError(f"{side.kind} has ended:\n{said.read()[-3000:]}")

        def ask(line: str | int) -> None:
            with suppress(BrokenPipeError):
                asked.write(f"{line}\n")
                asked.flush()

        def turn(steps: int) -> dict[str, Any]:
            ask(steps)
            return answer()

        try:
            answer()
            yield turn
        finally:
            ask("stop")
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def with_this_tree() -> str:
    """PYTHONPATH with the working folder in front of what it was."""
    return os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))


def environment(side: Side) -> dict[str, str]:
    """What a process needs to be that side."""
    return {**os.environ, "STEP_SIDE": json.dumps(asdict(side)), "OMP_NUM_THREADS": str(side.threads)}
