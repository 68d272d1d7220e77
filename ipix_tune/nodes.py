"""Before the first trial: every node sees the same data, and the study's storage is one folder for all."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ipix_tune.objectstore import Store
from trainers.data import DataConfig
from trainers.data.open import open_data
from trainers.errors import UserError
from trainers.remote import is_uri

ANSWER_S = 120.0
"""Longest wait for a node's answer: a mount that hangs shall not hang the study."""
STAGING_S = 3600.0
"""The same where it first fetches the data from object storage."""


class NodeError(UserError):
    """A node of the cluster lacks the data or the storage."""


def check_nodes(data: DataConfig, storage: Path | str) -> None:
    """Look at the paths from every live node; a single node needs no look.

    Args:
        data: the trials' `data` section. Paths below `~` are each node's own.
        storage: absolute folder in which the studies lie, made where it is missing; or the URI of an object storage.

    Raises:
        NodeError: names every node that lacks something, and what.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) < 2:
        return
    split = open_data(data, final=False).split_hash
    wait_s = STAGING_S if is_uri(data.root or "") else ANSWER_S
    with _marked(storage) if isinstance(storage, Path) else contextlib.nullcontext(storage) as mark:
        answers = [
            ray.remote(look)
            .options(
                num_cpus=0,
                max_retries=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            )
            .remote(data, mark, split)
            for node in nodes
        ]
        ray.wait(answers, num_returns=len(answers), timeout=wait_s)
        faults = [
            f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}): {fault}"
            for node, answer in zip(nodes, answers, strict=True)
            for fault in _faults(answer, wait_s)
        ]
    if faults:
        raise NodeError(
            f"not every node of the cluster can run trials: {'; '.join(faults)}. Mount the data and the storage under "
            "the same paths on every node, or take these nodes out of the cluster"
        )


def look(data: DataConfig, mark: Path | str, split: str) -> list[str]:
    """What this node lacks. `mark` is a file that the driver has just made in the storage, or the URI of an object
    storage; `split` the hash of its lists of images."""
    faults = []
    try:
        if open_data(data, final=False).split_hash != split:
            faults.append(f"data.root: {data.layout().root} holds other images than the driver's")
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
