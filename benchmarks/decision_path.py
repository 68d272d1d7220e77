"""How long a result waits for its decision in a long study with many trials at once, and how the driver's memory grows.

    python -m benchmarks.decision_path --work FOLDER --trials 1000 --concurrent 200 --seconds 20 --out RESULTS.md

The record on disk, the searcher and the scheduler are the study's own, in real time. A trial is an actor of Ray, a
process of its own, that sleeps; the driver has the scores of a made-up curve for it and says what is decided. Ray Tune,
training and W&B are left out. `benchmarks.many_trials` has all three, with as many trials at once as the machine has
room for.
"""

import dataclasses
import itertools
import os
import platform
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
import psutil
import ray
import typer

from benchmarks.helpers.command_line import called, run_command, written
from benchmarks.helpers.search_problems import EPOCHS, problem, search_of, study_of
from benchmarks.helpers.sleeper import Sleeper
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.search.ray_searcher import TrialStoreSearcher
from ipix_tune.search.schedulers import build_scheduler
from ipix_tune.search.trial_message import TrialMessage
from ipix_tune.search.trial_store import TrialStore

PARTS = 5
"""Parts of the study, of the same number of results, that the table compares."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decided:
    """One result: seconds until the driver took it up, seconds of the clock and of the CPU to decide, and to propose
    the next configuration (0: none was begun), trials that had ended, and the driver's memory in MiB."""

    waited: float
    decided: float
    decided_cpu: float
    proposed: float
    proposed_cpu: float
    ended: int
    memory: float


class Driver:
    """A study's own decisions, for sleeping trials.

    Args:
        folder: gets the record.
        trials: of the study.
        concurrent: trials at once.
        seconds: of an epoch, on the average.
        sampler: as in a study file.
    """

    def __init__(self, folder: Path, *, trials: int, concurrent: int, seconds: float, sampler: str) -> None:
        self._curves = problem("power", 0)
        study = study_of(search_of(self._curves), sampler=sampler, scheduler="asha", trials=trials, seed=0)
        self._trials = TrialStore(folder, study, SearchSpace(study), total=trials, max_epochs=EPOCHS)
        self._scheduler: Any = build_scheduler(study, self._trials, max_epochs=EPOCHS)
        self._searcher = TrialStoreSearcher(
            self._trials, trial_config=self._begun, concurrent=lambda: concurrent, max_epochs=EPOCHS
        )
        actor: Any = ray.remote(num_cpus=0)(Sleeper)
        self._workers = [actor.remote(seconds, seed) for seed in range(concurrent)]
        self._trained: dict[Any, _Epoch] = {}
        self._scores: dict[str, Sequence[float | None]] = {}
        self._ids = itertools.count()
        self._me = psutil.Process()
        self._ended = 0

    def run(self) -> list[Decided]:
        """To the end of the study."""
        ray.get([worker.train.remote() for worker in self._workers])  # all processes are there
        for worker in self._workers:
            self._propose(worker)
        found = []
        while self._trained:
            ready = ray.wait(list(self._trained), num_returns=1)[0][0]
            sent, epoch = ray.get(ready), self._trained.pop(ready)
            taken, cpu = time.monotonic(), time.thread_time()
            goes_on = self._decide(epoch)
            decided, decided_cpu = time.monotonic(), time.thread_time()
            if goes_on:
                self._train(dataclasses.replace(epoch, number=epoch.number + 1))
            begun = not goes_on and self._propose(epoch.worker)
            found.append(
                Decided(
                    waited=taken - sent,
                    decided=decided - taken,
                    decided_cpu=decided_cpu - cpu,
                    proposed=time.monotonic() - decided if begun else 0.0,
                    proposed_cpu=time.thread_time() - decided_cpu if begun else 0.0,
                    ended=self._ended,
                    memory=self._me.memory_info().rss / 2**20,
                )
            )
        return found

    def _train(self, epoch: "_Epoch") -> None:
        self._trained[epoch.worker.train.remote()] = epoch

    def _begun(self, key: str, values: dict[str, Any]) -> dict[str, Any]:
        self._scores[key] = self._curves.curve(values).scores
        return {"key": key}

    def _propose(self, worker: Any) -> bool:
        """Whether there is a trial for it."""
        tune_id = f"trial-{next(self._ids)}"
        config = self._searcher.suggest(tune_id)
        if not isinstance(config, dict):
            return False
        self._train(_Epoch(worker=worker, tune_id=tune_id, key=config["key"], number=1))
        return True

    def _decide(self, epoch: "_Epoch") -> bool:
        score = self._scores[epoch.key][epoch.number - 1]
        result = TrialMessage(epoch=epoch.number, score=score, metrics={"time/epoch_s": 1.0}).to_result()
        trial = SimpleNamespace(config={"key": epoch.key}, trial_id=epoch.tune_id)
        stopped = self._scheduler.on_trial_result(None, trial, result) == "STOP"
        if not stopped and epoch.number < EPOCHS:
            self._searcher.on_trial_result(epoch.tune_id, result)
            return True
        if not stopped:
            self._searcher.on_trial_result(epoch.tune_id, result)
        self._searcher.on_trial_complete(epoch.tune_id, result)
        self._scores.pop(epoch.key)
        self._ended += 1
        return False


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Epoch:
    """What a worker trains."""

    worker: Any
    tune_id: str
    key: str
    number: int


def render(found: Sequence[Decided], *, concurrent: int, seconds: float, took: float, command: str) -> str:
    """The table as Markdown."""
    lines = [
        f"# {found[-1].ended} trials, {concurrent} at once: the decision path",
        "",
        f"{len(found)} results in {took:.0f} s; an epoch sleeps {seconds:g} s on the average. Trials are actors of",
        "Ray. In milliseconds, median and 95th percentile: until the driver takes a result up, to decide (record on",
        "disk, scheduler), and to propose the next configuration where a trial ended.",
        "",
        "| trials ended | waits | decides, clock | decides, CPU | proposes, clock | proposes, CPU | memory (MiB) |",
        "|---|---|---|---|---|---|---|",
    ]
    for part in np.array_split(np.arange(len(found)), PARTS):
        own = [found[index] for index in part]
        lines.append(
            f"| {own[0].ended} to {own[-1].ended} | {_shown([one.waited for one in own])} "
            f"| {_shown([one.decided for one in own])} | {_shown([one.decided_cpu for one in own])} "
            f"| {_shown([one.proposed for one in own if one.proposed])} "
            f"| {_shown([one.proposed_cpu for one in own if one.proposed])} "
            f"| {own[0].memory:.0f} to {own[-1].memory:.0f} |"
        )
    versions = ", ".join(f"{name} {version(name)}" for name in ("optuna", "ray", "numpy"))
    load = ", ".join(f"{one:.0f}" for one in os.getloadavg())
    return "\n".join(
        [
            *lines,
            "",
            f"Command: `{command}`; 2 cores, no GPU; load of the machine at the end {load}.",
            f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, {versions}.",
            "",
        ]
    )


def _shown(seconds: Sequence[float]) -> str:
    if not seconds:
        return "–"
    middle, high = 1000 * np.quantile(seconds, (0.5, 0.95))
    return f"{middle:.1f}, {high:.1f}"


def main(
    work: Annotated[Path, typer.Option(help="An empty folder for the record.")],
    trials: Annotated[int, typer.Option(min=1)] = 1000,
    concurrent: Annotated[int, typer.Option(min=1)] = 200,
    seconds: Annotated[float, typer.Option(help="Length of an epoch, on the average.")] = 20.0,
    sampler: Annotated[str, typer.Option(help="As in a study file.")] = "tpe",
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Run a study of sleeping trials and print, or write, the table."""
    work.mkdir(parents=True, exist_ok=True)
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    began = time.monotonic()
    driver = Driver(work, trials=trials, concurrent=concurrent, seconds=seconds, sampler=sampler)
    found = driver.run()
    took = time.monotonic() - began
    written(
        render(found, concurrent=concurrent, seconds=seconds, took=took, command=called("decision_path")),
        out,
    )


if __name__ == "__main__":
    run_command(main)
