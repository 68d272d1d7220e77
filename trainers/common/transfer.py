"""Between host and device without the host waiting where it need not: a copy of pageable memory, and every number that
the host reads, stops it until all work before has been done."""

import torch
from torch import Tensor


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device. From the host to a GPU by way of pinned memory, for which the host does not wait."""
    if device.type != "cuda" or values.is_cuda:
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


class HostRead:
    """Values on their way to the host. Work may be given to a GPU between making it and calling it; the call waits
    until the values are there, and for nothing that was given later.

    Args:
        values: tensors on one device.
    """

    def __init__(self, *values: Tensor) -> None:
        self._arrived: torch.cuda.Event | None = None
        if not values[0].is_cuda:
            self._values = tuple(one.detach() for one in values)
            return
        self._values = tuple(one.detach().to("cpu", non_blocking=True) for one in values)
        self._arrived = torch.cuda.Event()
        self._arrived.record()

    def __call__(self) -> tuple[Tensor, ...]:
        """The values, on the host."""
        if self._arrived is not None:
            self._arrived.synchronize()
            self._arrived = None
        return self._values
