"""A command that is running, under a supervisor that ends it when this process ends."""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from trainers.common.errors import ConfigError

SUPERVISOR = Path(__file__).with_name("supervisor.py")
MARK = "IPIX_TUNE_RUN"
"""Environment variable of all processes of a run: the file of its output."""
TOLD_LINES = 15
"""Lines of a command's output that an error repeats."""


class CommandFailed(Exception):
    """A command ended otherwise than it should; the message has its last lines."""


class Running:
    """A command and its end. Used as a context: at the end of the block the command and all that it started are gone.

    Args:
        argv: program and arguments.
        workdir: where it runs; None: where this process does.
        environment: laid over this process's own.
        output: file that its output is appended to.
        stop_s: how long it may take to end after SIGTERM.

    Raises:
        ConfigError: it cannot be started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        workdir: Path | None,
        environment: Mapping[str, str],
        output: Path,
        stop_s: float,
    ) -> None:
        asked = {
            "argv": list(argv),
            "cwd": None if workdir is None else str(workdir),
            "output": str(output),
            "lock": str(lock_of(output)),
            "stop_s": stop_s,
        }
        self._output = output
        self._supervisor = subprocess.Popen(
            [sys.executable, str(SUPERVISOR), json.dumps(asked)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **environment, MARK: mark_of(output)},
        )
        assert self._supervisor.stdout is not None
        self._supervisor.wait()  # it has left its first process
        os.set_blocking(self._supervisor.stdout.fileno(), True)
        first = self._heard()
        if "failed" in first:
            raise ConfigError(f"trainer.command: {argv[0]} cannot be started: {first['failed']}")
        os.set_blocking(self._supervisor.stdout.fileno(), False)
        self._told: dict[str, object] | None = None
        self._heard_so_far = b""

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def code(self) -> int | None:
        """Exit status of the command; None while it runs."""
        if self._told is None:
            stream = self._supervisor.stdout
            assert stream is not None
            found = stream.read()
            if found:
                self._heard_so_far += found
            if self._heard_so_far.endswith(b"\n"):
                self._told = json.loads(self._heard_so_far)
            elif found == b"":
                self._told = {"code": -9, "stopped": False}  # the supervisor was killed
                end_left(self._output)
        return None if self._told is None else int(str(self._told["code"]))

    def stop(self) -> None:
        """End it, and wait until it and all that it started are gone."""
        stdin, stdout = self._supervisor.stdin, self._supervisor.stdout
        assert stdin is not None
        assert stdout is not None
        if not stdin.closed:
            stdin.close()
        if self._told is None:
            os.set_blocking(stdout.fileno(), True)
            if "failed" in self._heard():
                end_left(self._output)
            self._told = {"code": 0, "stopped": True}
        stdout.close()

    def _heard(self) -> dict[str, object]:
        assert self._supervisor.stdout is not None
        line = self._supervisor.stdout.readline()
        found: dict[str, object] = json.loads(line) if line else {"failed": "its supervisor ended"}
        return found


def wait_for_earlier(output: Path, *, seconds: float) -> None:
    """Wait until a supervisor of before, whose owner died, has ended its command, which writes into the same folder.

    Raises:
        CommandFailed: it is there still after so many seconds.
    """
    lock, end = lock_of(output), time.monotonic() + seconds
    if not lock.exists():
        return
    _wait_for(lock, end, seconds)
    end_left(output)


def _wait_for(lock: Path, end: float, seconds: float) -> None:
    with lock.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() > end:
                    raise CommandFailed(f"an earlier start of this run has not ended after {seconds:g} s") from None
                time.sleep(0.2)
            else:
                return


def mark_of(output: Path) -> str:
    """What :data:`MARK` is in the environment of a run's processes."""
    return str(output.absolute())


def end_left(output: Path) -> None:
    """Kill what a run has left whose supervisor was killed: it is known by its environment, whatever its session."""
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if one.environ().get(MARK) == mark_of(output):
                one.kill()


def lock_of(output: Path) -> Path:
    """The file that a supervisor holds as long as its command lives."""
    return output.with_name(f".{output.name}.lock")


def last_lines(output: Path, count: int = TOLD_LINES) -> str:
    """The last lines of a file, as one text; carriage returns of progress bars divide lines too."""
    try:
        with output.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - 16384))
            text = stream.read().decode(errors="replace")
    except OSError:
        return "(no output)"
    lines = [line for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return "\n".join(lines[-count:]) or "(no output)"
