"""Out of memory, told by what was computed and what would make it smaller."""

import contextlib
from collections.abc import Callable, Iterator

import torch

from trainers.common.errors import OutOfMemory
from trainers.config import EvaluationConfig

SIGNS = ("DefaultCPUAllocator: can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
"""Texts of RuntimeErrors that mean a lack of memory."""

SMALLER_STEP = "Lower data.batch_size or data.crop, or compute a step in parts with optim.accumulate"


@contextlib.contextmanager
def told(what: Callable[[], str], remedy: str) -> Iterator[None]:
    """Raises OutOfMemory, "out of memory <what>: <PyTorch's first line> <remedy>", where memory is too small.

    Args:
        what: says what was computed, asked when it failed.
        remedy: what would make it smaller.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
        known = isinstance(error, torch.OutOfMemoryError | MemoryError) or any(sign in str(error) for sign in SIGNS)
        if not known:
            raise
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise OutOfMemory(f"out of memory {what()}: {said} {remedy}") from error


def smaller_evaluation(config: EvaluationConfig) -> str:
    """What makes an evaluation smaller, which batch size, crop and accumulation do not."""
    if config.mode == "whole":
        return (
            "Images are evaluated whole and at their own size: set evaluation.mode: sliding, which takes windows of "
            "data.crop, or lower evaluation.scale"
        )
    return "Lower evaluation.scale, or evaluate smaller images: windows have the size of data.crop already"
