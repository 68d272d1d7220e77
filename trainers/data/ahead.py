"""On a GPU the next batch is copied, and its views are made, while the step before runs."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainers.data.finish import finish

if TYPE_CHECKING:
    from trainers.config import TrainConfig


def copied_ahead(
    batches: Iterator[dict[str, Any]], config: "TrainConfig", device: torch.device
) -> Iterator[dict[str, Any]]:
    """Finished batches on the device, one ahead, on a stream of their own."""
    stream = torch.cuda.Stream(device)

    def issue(batch: dict[str, Any]) -> dict[str, Any]:
        if "error" in batch:
            return batch
        with torch.cuda.stream(stream):
            return finish(_to(batch, device), config)

    waiting: dict[str, Any] | None = None
    for batch in batches:
        issued = issue(batch)
        if waiting is not None:
            yield _taken_over(waiting, stream)
        waiting = issued
    if waiting is not None:
        yield _taken_over(waiting, stream)


def _to(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {
        name: {key: value.to(device, non_blocking=True) for key, value in part.items()}
        if isinstance(part, dict)
        else part
        for name, part in batch.items()
    }


def _taken_over(batch: dict[str, Any], stream: torch.cuda.Stream) -> dict[str, Any]:
    """The training stream waits for the copy, and the memory is not given back before it is done with it."""
    current = torch.cuda.current_stream()
    current.wait_stream(stream)
    for part in batch.values():
        if isinstance(part, dict):
            for tensor in part.values():
                assert isinstance(tensor, Tensor)
                tensor.record_stream(current)
    return batch
