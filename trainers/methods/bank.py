"""A memory of feature vectors by class, first in, first out."""

import torch
from torch import Tensor, nn


class ClassBank(nn.Module):
    """The newest ``size`` vectors of each class, on the device. Its buffers are its state; how many there are the host
    knows too, so that it waits for the device only once, after a state was loaded.

    Args:
        width: entries of a vector.
    """

    rows: Tensor
    count: Tensor

    def __init__(self, num_classes: int, *, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(num_classes, size, width))
        self.register_buffer("count", torch.zeros(num_classes, dtype=torch.int64))
        self._counts: list[int] | None = [0] * num_classes
        self.register_load_state_dict_post_hook(ClassBank._forget)  # type: ignore[no-untyped-call]

    def _forget(self, _: object) -> None:
        self._counts = None

    def counts(self) -> list[int]:
        """Vectors of each class."""
        if self._counts is None:
            self._counts = self.count.tolist()
        return self._counts

    def of(self, label: int) -> Tensor:
        """(n, width), oldest first."""
        return self.rows[label, : self.counts()[label]]

    @torch.no_grad()
    def push(self, label: int, rows: Tensor) -> None:
        """Put (n, width) behind what is there; the oldest leave."""
        kept = torch.cat([self.of(label), rows.to(self.rows.dtype)])[-self.rows.shape[1] :]
        self.rows[label, : len(kept)] = kept
        self.count[label] = self.counts()[label] = len(kept)
