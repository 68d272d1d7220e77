"""Every node sees the same data, and the study's storage is one folder for all: asked before the first trial, and of
nodes that join later."""

import contextlib
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ipix_tune.storage.object_store import Store
from ipix_tune.trainer.interface import Config, Trainer
from trainers.common.errors import UserError

ANSWER_S = 120.0
"""Longest wait for a node's answer: a mount that hangs shall not hang the study."""
STAGING_S = 3600.0
"""The same where it first fetches the data from object storage."""

LOOK_EVERY_S = 10.0
"""How often a study looks for nodes that have joined."""


class NodeError(UserError):
    """A node of the cluster lacks the data or the storage."""


def check_nodes(trainer: Trainer, config: Config, storage: Path | str) -> None:
    """Look at the paths from every live node; a single node needs no look.

    Args:
        config: of one of the trials. Paths below `~` are each node's own.
        storage: absolute folder in which the studies lie, made where it is missing; or the URI of an object storage.

    Raises:
        NodeError: names every node that lacks something, and what.
    """
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) < 2:
        return
    seen = trainer.check_node(config, "")
    wait_s = STAGING_S if trainer.fetches_data(config) else ANSWER_S
    with _marked(storage) if isinstance(storage, Path) else contextlib.nullcontext(storage) as mark:
        answers = [_asked(node, trainer, config, mark, seen) for node in nodes]
        ray.wait(answers, num_returns=len(answers), timeout=wait_s)
        faults = [
            f"{_called(node)}: {fault}"
            for node, answer in zip(nodes, answers, strict=True)
            for fault in _faults(answer, wait_s)
        ]
    if faults:
        raise NodeError(
            f"not every node of the cluster can run trials: {'; '.join(faults)}. Mount the data and the storage under "
            "the same paths on every node, or take these nodes out of the cluster"
        )


class LateNodes:
    """Nodes that join while a study runs are asked too. Nobody waits for their answers; what they lack is said.

    Args:
        trainer, config: as for :func:`check_nodes`.
        mark: as for :func:`look`: a file in the study's folder, or the URI of an object storage.
        say: prints a line.
        clock: seconds, from any start.
    """

    def __init__(
        self,
        trainer: Trainer,
        config: Config,
        mark: Path | str,
        *,
        say: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trainer, self._config = trainer, config
        self._mark, self._say, self._clock = mark, say, clock
        self._known: set[str] | None = None
        self._open: list[tuple[Any, Any]] = []
        self._looked = -math.inf

    def look(self) -> None:
        """See which nodes are new, and which have answered; called often."""
        import ray

        if self._clock() - self._looked < LOOK_EVERY_S:
            return
        self._looked = self._clock()
        try:
            alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        except (RuntimeError, ray.exceptions.RayError):  # a head that is away for a moment
            return
        if self._known is not None and (new := alive.keys() - self._known):
            try:
                seen = self._trainer.check_node(self._config, "")
            except (UserError, OSError):  # the driver itself cannot see the data now
                return
            self._open += [
                (alive[name], _asked(alive[name], self._trainer, self._config, self._mark, seen))
                for name in sorted(new)
            ]
        self._known = (self._known or set()) | alive.keys()
        self._take()

    def _take(self) -> None:
        """Say what nodes lack that have answered."""
        import ray

        answers = [answer for _, answer in self._open]
        over = set(ray.wait(answers, num_returns=len(answers), timeout=0)[0] if answers else ())
        for node, answer in self._open:
            if answer in over and (faults := _faults(answer, 0)):
                self._say(
                    f"warning: {_called(node)} has joined the cluster and cannot run trials: {'; '.join(faults)}. "
                    "Trials that it gets will fail: mount data and storage under the same paths there, or take it out"
                )
        self._open = [(node, answer) for node, answer in self._open if answer not in over]


def _asked(node: Any, trainer: Trainer, config: Config, mark: Path | str, seen: str) -> Any:
    """Have a node look; gives Ray's reference to its answer."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    return (
        ray.remote(look)
        .options(num_cpus=0, max_retries=0, scheduling_strategy=there)
        .remote(trainer, config, mark, seen)
    )


def _called(node: Any) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def look(trainer: Trainer, config: Config, mark: Path | str, seen: str) -> list[str]:
    """What this node lacks. `mark` is a file that the driver has just made in the storage, or the URI of an object
    storage; `seen` what the driver's own look at what a trial needs gave."""
    faults = []
    try:
        trainer.check_node(config, seen)
    except UserError as error:
        faults.append(str(error))
    if isinstance(mark, str):
        try:
            Store(mark).check()
        except UserError as error:
            faults.append(str(error))
        return faults
    try:
        tempfile.TemporaryFile(dir=mark.parent).close()
    except OSError as error:
        faults.append(f"storage: {mark.parent} cannot be written: {error.strerror}")
    else:
        if not mark.exists():
            faults.append(f"storage: {mark.parent} is not the driver's, but a folder of this node alone")
    return faults


def _faults(answer: Any, wait_s: float) -> list[str]:
    import ray

    try:
        faults: list[str] = ray.get(answer, timeout=0)
    except ray.exceptions.GetTimeoutError:
        return [f"no answer in {wait_s:g} s; see whether a path hangs there"]
    except ray.exceptions.RayError as error:
        return [f"cannot look at its paths: {str(error).strip().splitlines()[-1]}"]
    return faults


@contextlib.contextmanager
def _marked(storage: Path) -> Iterator[Path]:
    try:
        storage.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".seen-", dir=storage)
    except OSError as error:
        raise NodeError(f"storage: {storage} cannot be written: {error.strerror}; give --set storage=...") from None
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
