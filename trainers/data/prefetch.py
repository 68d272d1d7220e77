"""On a GPU the next batch is copied, and its views are made, while the step before runs."""

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from trainers.data.make_views import finish
from trainers.interface.input_spec import InputSpec

if TYPE_CHECKING:
    from trainers.data.loader_config import LoaderConfig


class _Issued(NamedTuple):
    """A batch whose copy and views are queued; ``ready`` has happened once they are done. None: there is nothing on
    the device to wait for."""

    batch: dict[str, Any]
    ready: torch.cuda.Event | None


def copied_ahead(
    batches: Iterator[dict[str, Any]], config: "LoaderConfig", device: torch.device, spec: InputSpec
) -> Iterator[dict[str, Any]]:
    """Finished batches on the device, one ahead, on a stream of their own. A step waits for its own batch alone: when
    it is issued the next batch is already queued on that stream, and to wait for the stream would be to wait for both.
    """
    stream = _side_stream(device)

    def issue(batch: dict[str, Any]) -> _Issued:
        if "error" in batch:
            return _Issued(batch, None)
        with torch.cuda.stream(stream):
            made = finish(_to(batch, device), config, spec)
        return _Issued(made, stream.record_event())

    waiting: _Issued | None = None
    for batch in batches:
        issued = issue(batch)
        if waiting is not None:
            yield _taken_over(waiting)
        waiting = issued
    if waiting is not None:
        yield _taken_over(waiting)


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all epochs: PyTorch keeps freed memory for the stream that it was made on, so that a new stream an epoch
    would leave the memory of two batches behind in each."""
    return torch.cuda.Stream(device)


def _to(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {
        name: {key: value.to(device, non_blocking=True) for key, value in part.items()}
        if isinstance(part, dict)
        else part
        for name, part in batch.items()
    }


def _taken_over(issued: _Issued) -> dict[str, Any]:
    """The training stream waits for this batch, whose memory is not given back before that stream is done with it."""
    if issued.ready is None:
        return issued.batch
    current = torch.cuda.current_stream()
    current.wait_event(issued.ready)
    for part in issued.batch.values():
        if isinstance(part, dict):
            for tensor in part.values():
                assert isinstance(tensor, Tensor)
                tensor.record_stream(current)
    return issued.batch
