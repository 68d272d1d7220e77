"""A study on recorded or made-up learning curves, with a virtual clock.

The trial store, the searcher and the scheduler are the study's own objects; only Ray, the trainings and the clock are
replaced. So grace period, reduction, concurrency and sampler can be chosen before a GPU is paid for.
"""

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from analysis.columns import State
from trainers.common.errors import UserError

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from ipix_tune.config.study_config import StudyConfig
    from ipix_tune.search.trial_record import TrialRecord
    from ipix_tune.search.trial_store import TrialStore
    from ipix_tune.study.simulation.curve import Curve, Curves
    from ipix_tune.trainer.resources import Value


class SimulationError(UserError):
    """The study cannot be simulated as asked."""


@dataclass(frozen=True, kw_only=True)
class IncumbentChange:
    """A change of the incumbent: when, after how many epochs of all trials together, and to what. ``score`` is the mean
    over the configuration's seeds."""

    seconds: float
    epochs: int
    trials: int
    key: str
    epoch: int
    score: float


@dataclass(kw_only=True)
class Simulated:
    """What a simulated study came to. ``rungs``: the scores at every rung by trial key, the sign such that more is
    better; empty without a scheduler."""

    entries: "list[TrialRecord]" = field(default_factory=list)
    rungs: dict[int, dict[str, float]] = field(default_factory=dict)
    trajectory: list[IncumbentChange] = field(default_factory=list)
    ended: "list[Curve]" = field(default_factory=list)
    """Curves of the trials that ran all their epochs, in the order in which they ended."""
    epochs: int = 0
    seconds: float = 0.0
    busiest: int = 0
    """Most trials that ran at once."""

    def count(self, state: State) -> int:
        return Counter(entry.state for entry in self.entries)[state]


@dataclass(frozen=True, kw_only=True)
class _Running:
    tune_id: str
    key: str
    values: "dict[str, Value]"
    curve: "Curve"


class Simulation:
    """A study with a heap of (time, order, trial, epoch) in place of Ray.

    Args:
        study: the study.
        curves: what a configuration's training would report.
        max_epochs: full length of a trial.
        concurrent: trials at once.
        sampler: see `TrialStore`.
    """

    def __init__(
        self,
        study: "StudyConfig",
        curves: "Curves",
        *,
        max_epochs: int,
        concurrent: int,
        sampler: "BaseSampler | None" = None,
    ) -> None:
        from analysis.stats.best import Standings
        from ipix_tune.config.search_space import SearchSpace
        from ipix_tune.search.budget import budget_of
        from ipix_tune.search.ray_searcher import TrialStoreSearcher
        from ipix_tune.search.schedulers import build_scheduler
        from ipix_tune.search.trial_store import TrialStore

        if study.objective.second_objective is not None:
            raise SimulationError(
                f"objective.second_objective = {study.objective.second_objective.metric}: the curves of a simulation "
                "have one objective; simulate the search by the first with --set objective.second_objective=null"
            )
        if study.constraints:
            raise SimulationError(
                f"constraints: {', '.join(study.constraints)}: the curves of a simulation know the score alone; "
                "simulate without them with --set constraints={}"
            )
        sign, self._study = study.objective.sign, study
        self._standings = Standings(max_epochs=max_epochs, sign=sign)
        self._max_epochs = max_epochs
        self._ends = float("inf") if study.budget.hours is None else study.budget.hours * 3600
        self._curves = curves
        self._outcome = Simulated()
        space = SearchSpace(study)
        self._trials = TrialStore(
            None,
            study,
            space,
            total=study.budget.trials,
            max_epochs=max_epochs,
            clock=lambda: self._outcome.seconds,
            sampler=sampler,
        )
        self._budget = budget_of(study, space, self._trials, max_epochs=max_epochs)
        self._scheduler: Any = build_scheduler(study, self._trials, max_epochs=max_epochs)
        self._searcher = TrialStoreSearcher(
            self._trials,
            trial_config=self._handed_out,
            concurrent=lambda: concurrent,
            converged=self._budget.converged,
            max_epochs=max_epochs,
        )
        self._values: dict[str, dict[str, Value]] = {}
        self._heap: list[tuple[float, int, _Running, int]] = []
        self._order = 0

    def run(self, *, until: Callable[[Simulated], bool] | None = None) -> Simulated:
        """To the end of the budget, or until ``until`` has seen enough; trials that are cut off stay open."""
        from ipix_tune.search.rungs import rungs

        outcome = self._outcome
        self._start_trials(0.0)
        while self._heap and self._heap[0][0] <= self._ends and self._budget.exhausted() is None:
            now, _, running, epoch = heapq.heappop(self._heap)
            outcome.seconds = now
            outcome.epochs += 1
            goes_on = self._report(now, running, epoch)
            if until is not None and until(outcome):
                break
            if goes_on:
                self._push(now, running, epoch + 1)
            else:
                self._start_trials(now)
        outcome.entries = self._trials.entries()
        sign, scored = self._study.objective.sign, [one for one in outcome.entries if one.state != "infeasible"]
        outcome.rungs = {
            rung: {one.key: sign * one.scores[rung] for one in scored if rung in one.scores}
            for rung in rungs(self._study, max_epochs=self._max_epochs)
        }
        return outcome

    @property
    def trials(self) -> "TrialStore":
        """The study's record."""
        return self._trials

    def _handed_out(self, key: str, values: "dict[str, Value]") -> dict[str, Any]:
        self._values[key] = values
        return {"key": key}

    def _start_trials(self, now: float) -> None:
        while isinstance(config := self._searcher.suggest(f"trial-{self._order}"), dict):
            key = config["key"]
            values = self._values.pop(key)
            curve = self._curves.curve(values)
            begun = max(self._trials.entry(key).scores, default=0)
            self._push(now, _Running(tune_id=f"trial-{self._order}", key=key, values=values, curve=curve), begun + 1)
            self._outcome.busiest = max(self._outcome.busiest, len(self._heap))

    def _push(self, now: float, running: _Running, epoch: int) -> None:
        heapq.heappush(self._heap, (now + running.curve.seconds, self._order, running, epoch))
        self._order += 1

    def _report(self, now: float, running: _Running, epoch: int) -> bool:
        """What Tune does with a trial's result, in its order: scheduler, then searcher; whether the trial goes on."""
        from ipix_tune.search.trial_message import TrialMessage

        score = running.curve.scores[epoch - 1]
        result = TrialMessage(epoch=epoch, score=score, metrics={"time/epoch_s": running.curve.seconds}).to_result()
        if score is not None:
            self._note(now, running, epoch, score)
        trial = SimpleNamespace(config={"key": running.key}, trial_id=running.tune_id)
        if self._scheduler.on_trial_result(None, trial, result) == "STOP":
            self._searcher.on_trial_complete(running.tune_id, result)
            return False
        self._searcher.on_trial_result(running.tune_id, result)
        if epoch < self._max_epochs:
            return True
        self._outcome.ended.append(running.curve)
        self._searcher.on_trial_complete(running.tune_id, result)
        return False

    def _note(self, now: float, running: _Running, epoch: int, score: float) -> None:
        """The incumbent by the rule of `analysis.stats.best`, as the progress table has it."""
        from ipix_tune.search.trial_record import scored

        state: State = "complete" if epoch == self._max_epochs else "running"
        trial = scored(running.key, running.values, state=state, epoch=epoch, score=score, second_score=None)
        if trial is None or not self._standings.add(trial):
            return
        best, steps = self._standings.best, self._outcome.trajectory
        assert best is not None
        key = f"{running.key[0]}{best.number:04d}"
        if not steps or (key, best.epoch, best.score) != (steps[-1].key, steps[-1].epoch, steps[-1].score):
            steps.append(
                IncumbentChange(
                    seconds=now,
                    epochs=self._outcome.epochs,
                    trials=self._trials.started,
                    key=key,
                    epoch=best.epoch,
                    score=best.score,
                )
            )


def describe(outcome: Simulated, *, max_epochs: int) -> list[str]:
    """What the command prints."""
    lines = [
        f"{len(outcome.entries)} trials: {outcome.count('complete')} complete, {outcome.count('stopped')} stopped, "
        f"{outcome.count('running')} cut off by the time budget; at most {outcome.busiest} at once",
        f"{outcome.epochs} epochs of {len(outcome.entries) * max_epochs} without early stopping, "
        f"{outcome.seconds / 3600:.3g} virtual hours",
    ]
    for rung, scores in outcome.rungs.items():
        lines.append(f"rung after epoch {rung}: {len(scores)} trials")
    lines.append("incumbent over time (at full length; before the first such trial, at the highest epoch reached):")
    lines.append(f"{'hours':>10} {'epochs':>8} {'trials':>7} {'trial':>7} {'at':>5} {'score':>8}")
    shown = [step for i, step in enumerate(outcome.trajectory) if step.epoch == max_epochs or i == 0]
    for step in shown:
        lines.append(
            f"{step.seconds / 3600:>10.3g} {step.epochs:>8} {step.trials:>7} {step.key:>7} {step.epoch:>5} "
            f"{step.score:>8.2f}"
        )
    return lines


def write(outcome: Simulated, path: Path) -> None:
    """The trajectory as Parquet: a row a change of the incumbent."""
    from dataclasses import asdict

    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            ("seconds", pa.float64()),
            ("epochs", pa.int64()),
            ("trials", pa.int64()),
            ("key", pa.string()),
            ("epoch", pa.int64()),
            ("score", pa.float64()),
        ]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([asdict(step) for step in outcome.trajectory], schema=schema), path)
