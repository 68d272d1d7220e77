"""What is computed in float32 or more, whatever a step's precision is."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor


def exact(values: Tensor) -> Tensor:
    """Float64 as it is, everything else as float32."""
    return values if values.dtype == torch.float64 else values.float()


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Operators inside compute in the type of what they are given. Shapes without values (`meta`) know no autocast."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


@contextmanager
def many_sizes() -> Iterator[None]:
    """For images of many sizes: cuDNN takes the algorithm that it expects to be fast, instead of trying all of them for
    every convolution at every new size."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
