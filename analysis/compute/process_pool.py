"""Processes that a report's work is shared out to: one for each core, begun when there is work."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
LOADED = [
    "analysis.figures.render",
    "analysis.stats.sensitivity.cross_validation",
    "analysis.figures.warm_fonts",
]
"""What every process needs, loaded once and not by each of them."""


class _Worker(ForkServerProcess):
    """A process that does not run the script again which asks for the report. Python would do so, to find functions
    that are defined there; ours are all in this package. A script without `if __name__ == "__main__":` would ask for a
    report in every worker."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        main: dict[str, Any] = vars(sys.modules["__main__"])
        kept: dict[str, Any] = {name: main[name] for name in ("__spec__", "__file__") if name in main}
        main.pop("__file__", None)
        main["__spec__"] = None
        try:
            return ForkServerProcess._Popen(process_obj)
        finally:
            main.update(kept)


class _Context(ForkServerContext):
    Process = _Worker


class Here(Executor):
    """Does all work in this process, at once."""

    def submit(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        found: Future[T] = Future()
        try:
            found.set_result(work(*args, **kwargs))
        except Exception as error:
            found.set_exception(error)
        return found


def cores() -> int:
    """CPUs that this process may use, under an affinity and a container's quota."""
    from joblib import cpu_count

    return int(cpu_count())


def prepare() -> None:
    """Begin to load, in a process beside this one, what workers need."""
    if cores() > 1:
        multiprocessing.get_context("forkserver").set_forkserver_preload(LOADED)
        forkserver.ensure_running()


@contextmanager
def workers() -> Iterator[Executor]:
    """One process for each core; with one core, this process.

    They come from a server of processes, since a fork of this one would copy whatever its other threads hold. Work that
    was not begun is dropped when an error leaves the context.
    """
    count = cores()
    if count == 1:
        yield Here()
        return
    prepare()
    pool = ProcessPoolExecutor(count, mp_context=_Context(), initializer=_begin)
    try:
        yield pool
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()


def _begin() -> None:
    """Ctrl-C is for the process that waits, and a worker does not outlive it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
