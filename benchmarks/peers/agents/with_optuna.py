"""Optuna's own: its TPE with its pruners of successive halving and Hyperband, all of them as they come."""

from typing import Any

import optuna
from serve import serve


class WithPruner:
    """Asked and told as Optuna's page on distributed runs has it: every epoch is reported, and a trial that is pruned
    ends."""

    def __init__(
        self, pruner: optuna.pruners.BasePruner, *, space: list[dict[str, Any]], seed: int, epochs: int
    ) -> None:
        self._space, self._epochs = space, epochs
        sampler = optuna.samplers.TPESampler(seed=seed)
        self._study = optuna.create_study(
            study_name=f"study-{seed}", direction="maximize", sampler=sampler, pruner=pruner
        )
        self._trials: dict[int, optuna.Trial] = {}

    def ask(self) -> tuple[int, dict[str, Any], int]:
        trial = self._study.ask()
        values: dict[str, Any] = {}
        for one in self._space:
            if all(values.get(key) in allowed for key, allowed in one["only_if"].items()):
                values[one["name"]] = suggest(trial, one)
        self._trials[trial.number] = trial
        return trial.number, values, 1

    def tell(self, number: int, epoch: int, scores: list[float]) -> int | None:
        trial = self._trials[number]
        trial.report(scores[-1], step=epoch)
        if epoch == self._epochs:
            self._study.tell(trial, scores[-1])
        elif trial.should_prune():
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            return epoch + 1
        del self._trials[number]
        return None


def suggest(trial: optuna.Trial, one: dict[str, Any]) -> Any:
    """A value of one dimension."""
    if one["kind"] == "choice":
        return trial.suggest_categorical(one["name"], one["choices"])
    kind = trial.suggest_int if one["kind"] == "int" else trial.suggest_float
    return kind(one["name"], one["low"], one["high"], log=one["log"])


def halving(*, space: list[dict[str, Any]], seed: int, epochs: int, workers: int, prior: None) -> WithPruner:
    return WithPruner(optuna.pruners.SuccessiveHalvingPruner(), space=space, seed=seed, epochs=epochs)


def hyperband(*, space: list[dict[str, Any]], seed: int, epochs: int, workers: int, prior: None) -> WithPruner:
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs)
    return WithPruner(pruner, space=space, seed=seed, epochs=epochs)


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    serve({"halving": halving, "hyperband": hyperband})
