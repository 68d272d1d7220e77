"""NePS: Hyperband, and PriorBand with its own default confidence in the prior; asked and told by `neps.AskAndTell`.

Its spaces have no conditions: every dimension is searched, and one that is inactive has no effect. ifBO needs a network
that is downloaded when it is first used, from a place outside the package index, and is not run.
"""

import random
from collections.abc import Callable
from typing import Any

import neps
import numpy as np
import torch
from serve import serve

FIDELITY = "epochs"


class WithBrackets:
    """One of its optimizers of the Hyperband kind."""

    def __init__(
        self,
        kind: Callable[..., Any],
        *,
        space: list[dict[str, Any]],
        seed: int,
        epochs: int,
        prior: dict[str, Any] | None,
    ) -> None:
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        self._space = {f"x{position}": one for position, one in enumerate(space)}
        found = {name: dimension(one, (prior or {}).get(one["name"])) for name, one in self._space.items()}
        found[FIDELITY] = neps.HPOInteger(1, epochs, is_fidelity=True)
        self._search = neps.AskAndTell(kind(neps.SearchSpace(found)))
        self._running: dict[int, Any] = {}

    def ask(self) -> tuple[int, dict[str, Any], int]:
        trial = self._search.ask()
        number = int(trial.metadata.id.split("_")[0])
        self._running[number] = trial
        values = {one["name"]: plain(one, trial.config[name]) for name, one in self._space.items()}
        return number, values, round(trial.config[FIDELITY])

    def tell(self, number: int, epoch: int, scores: list[float]) -> None:
        self._search.tell(self._running.pop(number), {"objective_to_minimize": -scores[-1]})


def dimension(one: dict[str, Any], center: Any) -> Any:
    """A dimension as NePS has it, a choice as the positions of its values; ``center`` None: no prior."""
    if one["kind"] == "choice":
        prior = None if center is None else one["choices"].index(center)
        return neps.HPOCategorical(list(range(len(one["choices"]))), prior=prior)
    kind = neps.HPOInteger if one["kind"] == "int" else neps.HPOFloat
    return kind(one["low"], one["high"], log=one["log"], prior=center)


def plain(one: dict[str, Any], value: Any) -> Any:
    """A value as the measure has it."""
    if one["kind"] == "choice":
        return one["choices"][int(value)]
    return int(value) if one["kind"] == "int" else float(value)


def _starter(kind: Callable[..., Any]) -> Any:
    def start(
        *, space: list[dict[str, Any]], seed: int, epochs: int, workers: int, prior: dict[str, Any] | None
    ) -> WithBrackets:
        return WithBrackets(kind, space=space, seed=seed, epochs=epochs, prior=prior)

    return start


if __name__ == "__main__":
    serve({"hyperband": _starter(neps.algorithms.hyperband), "priorband": _starter(neps.algorithms.priorband)})
