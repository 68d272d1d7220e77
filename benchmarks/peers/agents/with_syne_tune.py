"""Syne Tune's ASHA, MOBSTER, Hyper-Tune and DyHPO, asked and told as its own tuner does (`syne_tune/tuner.py`).

Rungs after 1, 3, 9 epochs; DyHPO's are those of its own default, after 1, 3, 5 and so on. ASHA runs as it comes (a
trial is stopped) and with `type="promotion"` (a trial is paused, and goes on when it is among the best), MOBSTER and
Hyper-Tune with the latter, as in the project's own experiments with them; Hyper-Tune with all four brackets. Otherwise
as they come. Its spaces have no conditions: every dimension is searched, and one that is inactive has no effect.
"""

import logging
from datetime import datetime
from typing import Any

from serve import serve
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import choice, lograndint, loguniform, randint, uniform
from syne_tune.optimizer.baselines import ASHA, MOBSTER, DyHPO, HyperTune
from syne_tune.optimizer.scheduler import SchedulerDecision

METRIC, EPOCH = "score", "epoch"


class WithScheduler:
    """One of its schedulers."""

    def __init__(self, kind: Any, *, space: list[dict[str, Any]], seed: int, epochs: int, **settings: Any) -> None:
        domains = {one["name"]: domain(one) for one in space}
        self._scheduler = kind(
            domains,
            metric=METRIC,
            mode="max",
            resource_attr=EPOCH,
            max_t=epochs,
            grace_period=1,
            random_seed=seed,
            **settings,
        )
        self._epochs = epochs
        self._trials: dict[int, Trial] = {}
        self._done: dict[int, int] = {}

    def ask(self) -> tuple[int, dict[str, Any], int] | None:
        number = len(self._trials)
        suggestion = self._scheduler.suggest(trial_id=number)
        if suggestion is None:
            return None
        if suggestion.spawn_new_trial_id:
            self._trials[number] = Trial(number, dict(suggestion.config), datetime(2026, 1, 1))
            self._done[number] = 0
            self._scheduler.on_trial_add(self._trials[number])
        else:
            number = int(suggestion.checkpoint_trial_id)
            if suggestion.config is not None:
                self._trials[number] = Trial(number, dict(suggestion.config), datetime(2026, 1, 1))
        return number, self._trials[number].config, self._done[number] + 1

    def tell(self, number: int, epoch: int, scores: list[float]) -> int | None:
        trial = self._trials[number]
        self._done[number] = epoch
        result = {METRIC: scores[-1], EPOCH: epoch}
        decision = self._scheduler.on_trial_result(trial, result)
        if decision != SchedulerDecision.CONTINUE:
            self._scheduler.on_trial_remove(trial)
        elif epoch < self._epochs:
            return epoch + 1
        else:
            self._scheduler.on_trial_complete(trial, result)
        return None


def domain(one: dict[str, Any]) -> Any:
    """A dimension as Syne Tune has it."""
    if one["kind"] == "choice":
        return choice(one["choices"])
    if one["kind"] == "int":
        return (lograndint if one["log"] else randint)(one["low"], one["high"])
    return (loguniform if one["log"] else uniform)(one["low"], one["high"])


def _starter(kind: Any, **settings: Any) -> Any:
    def start(*, space: list[dict[str, Any]], seed: int, epochs: int, workers: int, prior: None) -> WithScheduler:
        return WithScheduler(kind, space=space, seed=seed, epochs=epochs, **settings)

    return start


if __name__ == "__main__":
    logging.getLogger("syne_tune").setLevel(logging.ERROR)
    logging.disable(logging.WARNING)
    serve(
        {
            "asha": _starter(ASHA, reduction_factor=3),
            "asha promotion": _starter(ASHA, reduction_factor=3, type="promotion"),
            "mobster": _starter(MOBSTER, reduction_factor=3, type="promotion"),
            "hypertune": _starter(HyperTune, reduction_factor=3, type="promotion", brackets=4),
            "dyhpo": _starter(DyHPO),
        }
    )
