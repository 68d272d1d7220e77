"""Sums of scalars over an epoch, kept on the device, and the first step at which a loss was not finite."""

import torch
from torch import Tensor

from trainers.distributed import Process
from trainers.errors import TrainingError


class Tally:
    """Means over the steps of one epoch. Nothing is read back from the device before :meth:`check` or :meth:`means`."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._sums: dict[str, Tensor] = {}
        self._first_bad: dict[str, Tensor] = {}
        self._steps = 0

    def add(self, values: dict[str, Tensor]) -> None:
        """One step's values."""
        self._steps += 1
        for name, value in values.items():
            value = value.detach().double()
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def watch(self, terms: dict[str, Tensor], *, step: int) -> None:
        """Remember the first step at which a term is NaN or infinite."""
        for name, term in terms.items():
            bad = torch.where(term.detach().isfinite(), torch.inf, float(step)).to(torch.float64)
            self._first_bad[name] = torch.minimum(self._first_bad[name], bad) if name in self._first_bad else bad

    def check(self, *, epoch: int) -> None:
        """Stop the run on every process where a watched term went bad on any.

        Raises:
            TrainingError: naming the step, the epoch and the terms.
        """
        if not self._first_bad:
            return
        first = self._process.min_(torch.stack(list(self._first_bad.values())))
        step = float(first.min())
        if step != torch.inf:
            names = [name for name, when in zip(self._first_bad, first.tolist(), strict=True) if when == step]
            raise TrainingError(f"loss {' and '.join(names)} is NaN or infinite at step {int(step)} (epoch {epoch})")

    def means(self) -> dict[str, float]:
        """Mean over steps and processes."""
        if not self._sums:
            return {}
        total = self._process.sum_(torch.stack(list(self._sums.values()))) / (self._steps * self._process.world)
        return dict(zip(self._sums, total.tolist(), strict=True))
