"""SMAC3's multi-fidelity facade (a random forest under Hyperband), asked and told by its own interface."""

import logging
import tempfile
from pathlib import Path
from typing import Any

from ConfigSpace import (
    Categorical,
    ConfigurationSpace,
    Float,
    InCondition,
    Integer,
)
from ConfigSpace.conditions import AndConjunction
from serve import serve
from smac import MultiFidelityFacade, Scenario
from smac.runhistory.dataclasses import TrialInfo, TrialValue

TRIALS = 2000
"""More than a run has; a quarter of it bounds the facade's first random ones, of which there are ten a dimension."""


class WithFacade:
    """The facade; a configuration whose budget grows goes on from where it was."""

    def __init__(self, *, space: list[dict[str, Any]], seed: int, epochs: int, workers: int, prior: None) -> None:
        scenario = Scenario(
            configspace(space, seed),
            deterministic=True,
            n_trials=TRIALS,
            min_budget=1,
            max_budget=epochs,
            seed=seed,
            output_directory=Path(tempfile.mkdtemp()),
        )
        self._facade = MultiFidelityFacade(scenario, _never_called, overwrite=True, logging_level=logging.ERROR)
        self._numbers: dict[Any, int] = {}
        self._running: dict[int, TrialInfo] = {}
        self._kinds = {one["name"]: one for one in space}

    def ask(self) -> tuple[int, dict[str, Any], int]:
        info = self._facade.ask()
        number = self._numbers.setdefault(info.config, len(self._numbers))
        self._running[number] = info
        values = {name: _plain(self._kinds[name], value) for name, value in dict(info.config).items()}
        return number, values, round(info.budget)

    def tell(self, number: int, epoch: int, scores: list[float]) -> None:
        self._facade.tell(self._running.pop(number), TrialValue(cost=-scores[-1], time=float(epoch)), save=False)


def _plain(one: dict[str, Any], value: Any) -> Any:
    if one["kind"] == "choice":
        return one["choices"][int(value)]
    return int(value) if one["kind"] == "int" else float(value)


def _never_called(config: Any, seed: int = 0, budget: float = 0) -> float:
    raise AssertionError


def configspace(space: list[dict[str, Any]], seed: int) -> ConfigurationSpace:
    """The space with its conditions; a choice is searched as the positions of its values."""
    found = ConfigurationSpace(seed=seed)
    made: dict[str, Any] = {}
    for one in space:
        if one["kind"] == "choice":
            made[one["name"]] = Categorical(one["name"], list(range(len(one["choices"]))))
        else:
            kind = Integer if one["kind"] == "int" else Float
            made[one["name"]] = kind(one["name"], (one["low"], one["high"]), log=one["log"])
    found.add(list(made.values()))
    kinds = {one["name"]: one for one in space}
    for one in space:
        conditions = [
            InCondition(made[one["name"]], made[key], [kinds[key]["choices"].index(value) for value in allowed])
            for key, allowed in one["only_if"].items()
        ]
        if conditions:
            found.add(AndConjunction(*conditions) if len(conditions) > 1 else conditions[0])
    return found


if __name__ == "__main__":
    serve({"hyperband": WithFacade})
