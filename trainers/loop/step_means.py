"""Sums of scalars over an epoch, kept on the device, and the first step at which a loss was not finite."""

import itertools

import torch
from torch import Tensor

from trainers.common.errors import TrainingError
from trainers.loop.process_group import Process


class StepMeans:
    """Means over the steps of one epoch. Nothing is read back from the device before :meth:`check` or :meth:`means`."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._sums: dict[tuple[str, ...], Tensor] = {}
        self._first_bad: dict[tuple[str, ...], Tensor] = {}
        self._steps = 0

    def add(self, values: dict[str, Tensor]) -> None:
        """One step's values."""
        self._steps += 1
        names, stacked = tuple(values), torch.stack([value.detach().double() for value in values.values()])
        self._sums[names] = self._sums[names] + stacked if names in self._sums else stacked

    def watch(self, terms: dict[str, Tensor], *, step: int) -> None:
        """Remember the first step at which a term is NaN or infinite."""
        names, stacked = tuple(terms), torch.stack([term.detach().double() for term in terms.values()])
        bad = torch.where(stacked.isfinite(), torch.inf, float(step))
        self._first_bad[names] = torch.minimum(self._first_bad[names], bad) if names in self._first_bad else bad

    def check(self, *, epoch: int) -> None:
        """Stop the run on every process where a watched term went bad on any.

        Raises:
            TrainingError: naming the step, the epoch and the terms.
        """
        if not self._first_bad:
            return
        first = self._process.min_(torch.cat(list(self._first_bad.values())))
        step = float(first.min())
        if step != torch.inf:
            watched = itertools.chain.from_iterable(self._first_bad)
            names = dict.fromkeys(name for name, when in zip(watched, first.tolist(), strict=True) if when == step)
            raise TrainingError(f"loss {' and '.join(names)} is NaN or infinite at step {int(step)} (epoch {epoch})")

    def means(self) -> dict[str, float]:
        """Mean over steps and processes."""
        if not self._sums:
            return {}
        total = self._process.sum_(torch.cat(list(self._sums.values()))) / (self._steps * self._process.world)
        means: dict[str, float] = {}
        for name, mean in zip(itertools.chain.from_iterable(self._sums), total.tolist(), strict=True):
            means[name] = means.get(name, 0.0) + mean
        return means
