"""A study from its file to its end: prepare, search, leave everything in its folder."""

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune import Stopper
from rich.console import Console

from ipix_tune import cluster, folder
from ipix_tune.config import StudyConfig, Value
from ipix_tune.dryrun import check_run
from ipix_tune.plan import Plan, make_plan
from ipix_tune.space import SearchSpace

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """``interrupted``: the user stopped it; ``ended``: trials by state."""

    folder: Path
    interrupted: bool
    headline: str


def run(study: StudyConfig, *, resume: bool, address: str | None, console: Console) -> Outcome:
    """Run a study, or take it up again.

    Raises:
        UserError: anything that can be known before a trial starts: folder, data, weights, resources.
    """
    space = SearchSpace(study)
    first = space.to_config(study.points[0] if study.points else make_plan(study).sample)
    lines, _ = check_run(first, workers=study.resources.workers)
    for line in lines:
        console.print(line, highlight=False)
    place = folder.prepare(study, resume=resume)
    with (
        folder.only_driver(place),
        cluster.connected(address, nested=study.resources.workers > 1),
    ):
        total, nodes = cluster.inventory()
        plan = make_plan(study, cluster=total, nodes=nodes)
        return _search(study, space, plan, place, console=console)


def _search(study: StudyConfig, space: SearchSpace, plan: Plan, place: Path, *, console: Console) -> Outcome:
    from ray import tune

    from ipix_tune.journal import Journal
    from ipix_tune.live import Board, Display, Row
    from ipix_tune.scheduler import KeyedAsha, build_scheduler
    from ipix_tune.searcher import JournalSearcher
    from ipix_tune.tracking import Tracker
    from ipix_tune.trial import in_actor, over_workers, trial_config
    from ipix_tune.watch import Watcher

    assert plan.fit is not None
    journal = Journal(place, study, space, total=plan.trials)
    scheduler = build_scheduler(study, max_epochs=plan.max_epochs)
    if isinstance(scheduler, KeyedAsha):
        scheduler.replay(journal.entries())
    board = Board(
        metric=study.objective.metric,
        mode=study.objective.mode,
        total=plan.trials,
        max_epochs=plan.max_epochs,
    )
    for entry in journal.entries():
        if entry.state != "running":
            last = max(entry.scores, default=0)
            board.rows[entry.key] = Row(
                values=entry.values,
                state=entry.state,
                epoch=last,
                score=entry.scores.get(last),
                retries=entry.retries,
                error=entry.error,
            )
    handed_out: dict[str, dict[str, Value]] = {}

    def config_of(key: str, values: dict[str, Value]) -> dict[str, Any]:
        handed_out[key] = values
        config: dict[str, Any] = trial_config(
            key,
            trainer=space.to_config(values).model_dump(mode="json"),
            run_dir=place / "trials" / key,
            metric=study.objective.metric,
            resources=study.resources,
        )
        return config

    nested = study.resources.workers > 1
    stop = Stop(hours=study.budget.hours)
    tracker = Tracker(place, study, _facts(study, space, plan))
    with Display(board, console) as display, stop.on_signals(console):
        watcher = Watcher(journal, tracker, display, values=handed_out)
        if journal.remaining:
            tune.Tuner(
                tune.with_resources(over_workers if nested else in_actor, _driver_resources(study)),
                tune_config=tune.TuneConfig(
                    search_alg=JournalSearcher(
                        journal,
                        trial_config=config_of,
                        concurrent=plan.fit.concurrent,
                        max_epochs=plan.max_epochs,
                    ),
                    scheduler=scheduler,
                    num_samples=journal.remaining,
                    reuse_actors=not nested,
                    trial_name_creator=lambda trial: str(trial.config["key"]),
                    trial_dirname_creator=lambda trial: str(trial.config["key"]),
                ),
                run_config=tune.RunConfig(
                    name=f"session-{int(time.time())}",
                    storage_path=str(place / "ray"),
                    callbacks=[watcher],
                    failure_config=tune.FailureConfig(max_failures=study.retries),
                    stop=stop,
                    verbose=0,
                ),
            ).fit()
    if stop.out_of_time:
        for entry in journal.entries():
            if entry.state == "running":
                journal.end(entry.key, state="interrupted", error="budget.hours is over")
    if tracker.failures:
        console.print(
            f"W&B failed {tracker.failures} times; what it lacks is in trials/*/metrics.jsonl", style="yellow"
        )
    return Outcome(folder=place, interrupted=stop.by_user, headline=board.headline())


def _driver_resources(study: StudyConfig) -> dict[str, float]:
    """What Tune reserves for a trial's own actor. With workers of its own it only drives: a CPU for it would let
    drivers take the place of workers, and an empty request is refused, so it asks for one byte of memory."""
    if study.resources.workers > 1:
        return {"CPU": 0, "memory": 1}
    gpus = study.resources.gpus_per_worker
    return {"CPU": study.resources.cpus_per_worker, **({"GPU": gpus} if gpus else {})}


def _facts(study: StudyConfig, space: SearchSpace, plan: Plan) -> dict[str, Any]:
    """What is the same for every run of the study, as `analysis.columns` lists it."""
    import socket

    from ipix_tune.tracking import origin_facts
    from trainers.data.open import open_data

    data = open_data(space.to_config(plan.sample).data, final=False)
    return {
        "space": space.describe(),
        "scheduler": {
            **study.scheduler.model_dump(),
            "max_epochs": plan.max_epochs,
            "rungs": list(plan.rungs),
        },
        "classes": list(data.classes),
        "origin": origin_facts(
            world_size=study.resources.workers, host=socket.gethostname(), split_hash=data.split_hash
        ),
    }


class Stop(Stopper):
    """When a study ends before its trials do: the user asked, or its time is over. A Ray Tune stopper.

    The first SIGINT or SIGTERM ends it cleanly; the second ends the process at once.
    """

    def __init__(self, *, hours: float | None) -> None:
        self.by_user = False
        self._ends = None if hours is None else time.monotonic() + hours * 3600

    @property
    def out_of_time(self) -> bool:
        return not self.by_user and self._ends is not None and time.monotonic() > self._ends

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.by_user or self.out_of_time

    @contextmanager
    def on_signals(self, console: Console) -> Iterator[None]:
        """Listen for SIGINT and SIGTERM while the study runs."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: object) -> None:
            if self.by_user:
                raise SystemExit(130)
            self.by_user = True
            console.print("stopping: trials keep their checkpoints (once more: stop at once)", style="yellow")

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def finish(study: StudyConfig, outcome: Outcome, *, console: Console) -> None:
    """Tables, report and best config from the study's logs, and the checkpoints that need not be kept removed. What
    fails here is said; the study itself is safe."""
    from analysis.report import build

    from ipix_tune.export import export_best, trial_key

    place, best = outcome.folder, outcome.folder / "best.yaml"
    try:
        page = build(place)
        choice = export_best(place, best, force=True)
    except Exception as error:
        logger.exception("the report could not be made")
        console.print(
            f"the trials are safe, the report failed: {error}\nmake it with: python -m analysis.report {place}"
        )
        return
    if not outcome.interrupted:
        kept = {"best": {trial_key(choice.row)}, "none": set[str](), "all": None}[study.keep_checkpoints]
        if kept is not None:
            folder.remove_checkpoints(place, keep=kept)
    console.print(f"report:      {_near(page)}", highlight=False, soft_wrap=True)
    console.print(f"best config: {_near(best)}", highlight=False, soft_wrap=True)
    for caveat in choice.caveats:
        console.print(f"note: {caveat}", highlight=False, soft_wrap=True)


def _near(path: Path) -> Path:
    """Relative to the working directory where it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
