"""Long work of one or all processes of a training, for which the others wait without a limit.

A process that waits in a collective ends with the group's timeout (PyTorch's default: 10 minutes under NCCL, 30 under
gloo), and looking through a large data set, or fetching it, may take longer. Here they ask the group's store instead.
"""

import itertools
import time
from collections.abc import Callable
from typing import TypeVar

import torch.distributed as dist
from torch.distributed.distributed_c10d import _get_default_store

from trainers.common.errors import DataError, UserError

T = TypeVar("T")
ASK_EVERY_S = 0.1
_calls = itertools.count()
"""All processes come here in the same order, so that a number names a call."""


def together(work: Callable[[], T]) -> T:
    """Do ``work``, and go on when all processes have done theirs.

    Args:
        work: of this process; called at once.

    Raises:
        UserError: that of another process ended with an error; DataError where it was one of the data.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return work()
    store, key = _get_default_store(), f"together/{next(_calls)}"
    try:
        result = work()
    except BaseException as error:
        kind = "data" if isinstance(error, DataError) else "other"
        store.set(f"{key}/failed", f"{kind} process {dist.get_rank()}: {str(error) or type(error).__name__}")
        raise
    done = store.add(key, 1)
    while done < dist.get_world_size():
        if store.check([f"{key}/failed"]):
            kind, _, said = store.get(f"{key}/failed").decode().partition(" ")
            raise (DataError if kind == "data" else UserError)(said)
        time.sleep(ASK_EVERY_S)
        done = store.add(key, 0)
    return result


def by_first(work: Callable[[], object]) -> None:
    """The first process does ``work``, and the others wait for it. Raises as :func:`together`."""
    first = not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0
    together(work if first else lambda: None)
