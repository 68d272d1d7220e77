"""Where a step's time goes: the parts are timed around the functions that do them, waiting for a GPU at each border, so
that a step with parts takes longer than one without."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

NAMES = ("decode", "augment", "forward", "losses", "backward", "optimiser", "waiting for batches", "other")


class Parts:
    """Seconds by part since it was last cleared. A part that is inside another one counts in the inner one only."""

    def __init__(self, device: str) -> None:
        self.seconds: dict[str, float] = {}
        self._device = device
        self._open: list[list[float]] = []

    def _now(self) -> float:
        if self._device == "cuda":
            import torch

            torch.cuda.synchronize()
        return time.perf_counter()

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what runs inside."""
        begun = self._now()
        self._open.append([0.0])
        try:
            yield
        finally:
            whole = self._now() - begun
            inside = self._open.pop()[0]
            self.seconds[name] = self.seconds.get(name, 0.0) + whole - inside
            if self._open:
                self._open[-1][0] += whole

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*given: Any, **named: Any) -> Any:
            with self.part(name):
                return function(*given, **named)

        return timed

    def waited(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches, with the time until each one comes, less what is timed on the way."""
        while True:
            with self.part("waiting for batches"):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    def watch(self, run: Any) -> None:
        """Time the parts of a run's steps, and of its batches where they are made in this process."""
        import torch

        from trainers.data import batches, prefetch, read
        from trainers.data.make_views import finish

        read.Reader.__call__ = self.around("decode", read.Reader.__call__)  # type: ignore[method-assign]
        batches.BatchMaker.make = self.around("augment", batches.BatchMaker.make)  # type: ignore[method-assign]
        prefetch.finish = self.around("augment", finish)  # type: ignore[attr-defined]
        network = type(run.student)
        network.forward = self.around("forward", network.forward)
        torch.Tensor.backward = self.around("backward", torch.Tensor.backward)  # type: ignore[method-assign]
        run.method.losses = self.around("losses", run.method.losses)
        run._total = self.around("losses", run._total)
        for optimizer in run.networks.optimizers.values():
            optimizer.step = self.around("optimiser", optimizer.step)
        run.method.after_step = self.around("optimiser", run.method.after_step)
        run.train_step = self.around("other", run.train_step)
