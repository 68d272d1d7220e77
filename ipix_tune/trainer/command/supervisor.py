"""Runs one command in a process group of its own and ends it, with all that it started, when its owner ends or says so.

Started as a script by `ipix_tune.trainer.command.process`. It leaves its parent at once, so that whoever kills the
parent's children does not kill it first. Its standard input is the owner's lifeline: when that is closed, by the owner
or by the owner's death, the command gets SIGTERM, and SIGKILL when it is still there after a while. On Linux what the
command has started and left behind falls to this process, and is ended too. Standard library and psutil only.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time

import psutil

LOOK_S = 0.2
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def main() -> None:
    """The command is the JSON object in the first argument: argv, cwd, output (a file), lock (a file), stop_s."""
    """"""
    asked = json.loads(sys.argv[1])
    if os.fork():
        os._exit(0)
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with open(asked["lock"], "ab") as lock, open(asked["output"], "ab") as output:  # noqa: PTH123
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            child = subprocess.Popen(
                asked["argv"],
                cwd=asked["cwd"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_heard_again,
            )
        except OSError as error:
            _tell({"failed": str(error)})
            return
        _tell({"pid": child.pid})
        while child.poll() is None and not _let_go():
            time.sleep(LOOK_S)
        ended = child.poll()
        _end_all(child, asked["stop_s"])
    _tell({"code": child.wait() if ended is None else ended, "stopped": ended is None})


def _heard_again() -> None:
    """The command hears the signals that this process ignores, and does not outlive it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _let_go() -> bool:
    """Whether the owner has closed its end."""
    ready, _, _ = select.select([sys.stdin.fileno()], [], [], 0)
    return bool(ready) and not os.read(sys.stdin.fileno(), 4096)


def _end_all(child: "subprocess.Popen[bytes]", stop_s: float) -> None:
    """End whatever of the command is still there: politely, then not."""
    _signal(child, signal.SIGTERM)
    end = time.monotonic() + stop_s
    while _alive(child) and time.monotonic() < end:
        time.sleep(LOOK_S)
    while _alive(child):
        _signal(child, signal.SIGKILL)
        time.sleep(LOOK_S)


def _alive(child: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    child.poll()
    found = []
    for one in psutil.Process().children(recursive=True):
        try:
            if one.status() == psutil.STATUS_ZOMBIE:
                if one.pid != child.pid:
                    os.waitpid(one.pid, os.WNOHANG)
            else:
                found.append(one)
        except (psutil.Error, OSError):
            continue
    return found


def _signal(child: "subprocess.Popen[bytes]", number: int) -> None:
    """To the command's process group, and to what has left it."""
    with contextlib.suppress(OSError):
        os.killpg(child.pid, number)
    for one in _alive(child):
        try:
            if os.getpgid(one.pid) != child.pid:
                one.send_signal(number)
        except (psutil.Error, OSError):
            continue


def _tell(what: dict[str, object]) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
