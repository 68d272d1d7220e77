"""A study from its file to its end: prepare, search, leave everything in its folder."""

import errno
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ipix_tune import cluster, folder
from ipix_tune.config import StudyConfig, Value
from ipix_tune.dryrun import check_run
from ipix_tune.mirror import Keeper, Mirror, copy_of
from ipix_tune.nodes import check_nodes
from ipix_tune.plan import Plan, make_plan
from ipix_tune.space import SearchSpace
from ipix_tune.stop import Stop
from trainers.errors import OutputError
from trainers.remote import without_query

if TYPE_CHECKING:
    from ipix_tune.journal import Entry
    from ipix_tune.live import Board

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a study came to.

    Args:
        folder: the study's folder.
        headline: one line: how far it came, and the best trial.
        by_user: the user stopped it.
        cut_short: why it ended before its trials did, and what to do; None where it did not.
        settled: why it ended early without anything being wrong; None where it did not.
        scored: trials that ended with a score.
        copy: the folder's copy in object storage, where there is one.
    """

    folder: Path
    headline: str
    by_user: bool
    cut_short: str | None
    settled: str | None
    scored: int
    copy: Mirror | None = None


def run(study: StudyConfig, *, resume: bool, address: str | None, console: Console) -> Outcome:
    """Run a study, or take it up again.

    Raises:
        UserError: anything that can be known before a trial starts: storage, data, weights, resources.
    """
    from ipix_tune.record import open_record

    copy = copy_of(study, folder.study_folder(study))
    if copy is not None:
        copy.store.check()
    space = SearchSpace(study)
    first = space.to_config(study.points[0] if study.points else make_plan(study).sample)
    lines, _ = check_run(first, workers=study.resources.workers)
    if study.warm_start and not resume:
        from ipix_tune.warm import describe_warm_start

        lines += [f"warm start: {line}" for line in describe_warm_start(study, space)]
    for line in lines:
        console.print(line, highlight=False)
    nested = study.resources.workers > 1
    with cluster.connected(address, nested=nested):
        total, nodes = cluster.inventory()
        plan = make_plan(study, cluster=total, nodes=nodes)
        check_nodes(first.data, folder.study_folder(study).parent if copy is None else study.storage)
        if study.record not in ("journal", "memory"):
            open_record(folder.study_folder(study), record=study.record, study=study.name)
        with folder.prepared(study, resume=resume, copy=copy) as place:
            if nested:
                cluster.free_leftovers(place)
            return _search(study, space, plan, place, copy, console=console)


def _search(
    study: StudyConfig, space: SearchSpace, plan: Plan, place: Path, copy: Mirror | None, *, console: Console
) -> Outcome:
    from ray import tune

    from ipix_tune.budget import Budget
    from ipix_tune.journal import SAMPLER, Journal
    from ipix_tune.live import Display
    from ipix_tune.record import JOURNAL, SNAPSHOT
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
    board = _board(study, plan, journal.entries())
    handed_out: dict[str, dict[str, Value]] = {}

    def config_of(key: str, values: dict[str, Value]) -> dict[str, Any]:
        handed_out[key] = values
        keeper.save_record()  # a trial must not leave a copy before the record's copy knows it
        config: dict[str, Any] = trial_config(
            key,
            trainer=space.to_config(values).model_dump(mode="json"),
            run_dir=(place if copy is None else Path(copy.key)) / "trials" / key,
            metric=study.objective.metric,
            against=None if study.objective.against is None else study.objective.against.metric,
            resources=study.resources,
            on_out_of_memory=study.on_out_of_memory,
            store=None if copy is None else copy.store.uri,
        )
        return config

    nested = study.resources.workers > 1
    budget = Budget(study.budget, study.resources, journal, sign=1 if study.objective.mode == "max" else -1)
    journal.settled = budget.settled
    stop = Stop(place, over=budget.over)
    tracker = Tracker(place, study, _facts(study, space, plan))

    checkpoints = folder.Checkpoints(place)

    def trial_ended(key: str) -> None:
        if study.keep_checkpoints != "all" and key not in (leading := board.leading_ended()):
            others = board.ended() - leading
            checkpoints.remove(of=others)
            keeper.remove_checkpoints(of=others)
        keeper.save_end(key)

    def storage_failed(reason: str) -> None:
        stop.storage_fault = reason

    keeper = Keeper(copy, record=(JOURNAL, SNAPSHOT, SAMPLER), on_fault=storage_failed)
    try:
        with Display(board, console) as display, stop.on_signals(console):
            watcher = Watcher(
                journal,
                tracker,
                display,
                values=handed_out,
                on_end=trial_ended,
                on_step=keeper.look,
                on_storage_fault=storage_failed,
            )
            if journal.remaining and not stop.stop_all():
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
                        max_concurrent_trials=plan.fit.concurrent,  # without it, actors start one after the other
                        num_samples=journal.remaining,
                        reuse_actors=not _needs_new_processes(study),
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
    except OSError as error:
        if not _lies_in(error, place):
            raise
        stop.storage_fault = str(error)
    finally:
        tracker.close()
    if stop.storage_fault is None:
        journal.write_seconds()
        keeper.save()
    if tracker.unsent:
        _say(console, f"W&B took no runs for a while; send what it lacks with: ipix-tune wandb-sync {_near(place)}")
    if tracker.failures:
        console.print(
            f"W&B failed {tracker.failures} times; what it lacks is in trials/*/metrics.jsonl", style="yellow"
        )
    return Outcome(
        folder=place,
        headline=board.headline(),
        by_user=stop.by_user,
        cut_short=_cut_short(stop, place) if journal.remaining or board.count("interrupted") else None,
        settled=budget.settled() if journal.remaining and not stop.stop_all() else None,
        scored=sum(row.score is not None and row.state in ("complete", "stopped") for row in board.rows.values()),
        copy=copy,
    )


def _board(study: StudyConfig, plan: Plan, entries: "Sequence[Entry]") -> "Board":
    """The board, with the trials that ended before this driver started."""
    from ipix_tune.live import Board, Row

    objective = study.objective
    board = Board(
        metric=objective.metric,
        mode=objective.mode,
        against=None if objective.against is None else objective.against.metric,
        against_mode="min" if objective.against is None else objective.against.mode,
        total=plan.trials,
        max_epochs=plan.max_epochs,
    )
    for entry in entries:
        if entry.state != "running":
            last = max(entry.scores, default=0)
            board.rows[entry.key] = Row(
                values=entry.values,
                state=entry.state,
                epoch=last,
                score=entry.scores.get(last),
                against=entry.against,
                retries=entry.retries,
                error=entry.error,
            )
    return board


def _lies_in(error: OSError, place: Path) -> bool:
    """Whether an error is of the study's storage: its disk is full, or a file in its folder cannot be had."""
    named = [Path(str(name)) for name in (error.filename, error.filename2) if name is not None]
    return error.errno == errno.ENOSPC or any(path.is_relative_to(place) for path in named)


def _cut_short(stop: Stop, place: Path) -> str | None:
    if stop.by_user:
        return "stopped by the user; trials that were running kept their checkpoints"
    if stop.storage_fault is not None:
        return f"the study's storage ({place}) failed: {stop.storage_fault}. Mend that first"
    if stop.over is not None:
        return f"{stop.over} is over; trials that were running kept their checkpoints. Set {stop.over} higher first"
    return None


def _driver_resources(study: StudyConfig) -> dict[str, float]:
    """What Tune reserves for a trial's own actor. With workers of its own it only drives: a CPU for it would let
    drivers take the place of workers, and an empty request is refused, so it asks for one byte of memory."""
    if study.resources.workers > 1:
        return {"CPU": 0, "memory": 1}
    gpus = study.resources.gpus_per_worker
    return {"CPU": study.resources.cpus_per_worker, **({"GPU": gpus} if gpus else {})}


def _needs_new_processes(study: StudyConfig) -> bool:
    """Whether a trial must not run where another has: on a CPU, a process's peak memory is that of all it ever did."""
    return "memory/peak_mib" in study.objective.metrics


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


def finish(study: StudyConfig, outcome: Outcome, *, console: Console) -> None:
    """Tables, report and best config from the study's logs, and the checkpoints that need not be kept removed. What
    fails here is said; the study itself is safe."""
    _finish(study, outcome, console=console)
    if outcome.copy is not None:
        try:
            outcome.copy.push(joined=True)
        except (OutputError, OSError) as error:
            _say(console, f"the study is safe in {_near(outcome.folder)}; its copy is not complete: {error}")
        else:
            _say(console, f"copy:        {without_query(study.storage)}/{study.name}")


def _finish(study: StudyConfig, outcome: Outcome, *, console: Console) -> None:
    from analysis.report import build
    from ipix_tune.export import export_best, trial_key

    place, best = outcome.folder, outcome.folder / "best.yaml"
    try:
        page = build(place)
    except Exception as error:
        logger.debug("no report", exc_info=True)
        _say(console, f"the trials are safe, the report failed: {error}")
        _say(console, f"make it with: python -m analysis.report {_near(place)}")
        return
    _say(console, f"report:      {_near(page)}")
    if outcome.scored == 0:
        _say(console, "no trial ended with a score: there is no best config; the table says why")
        return
    try:
        choice = export_best(place, best, force=True)
    except Exception as error:
        logger.debug("no best config", exc_info=True)
        _say(console, f"the trials are safe, the export failed: {error}")
        _say(console, f"make it with: python -m ipix_tune.export {_near(place)} --out best.yaml")
        return
    if study.keep_checkpoints != "all" and outcome.cut_short is None:
        kept = {trial_key(choice.row), *choice.front} if study.keep_checkpoints == "best" else set[str]()
        folder.remove_checkpoints(place, of={path.name for path in (place / "trials").glob("t*")} - kept)
        if outcome.copy is not None:
            keeper = Keeper(outcome.copy, on_fault=lambda reason: _say(console, f"checkpoints stay: {reason}"))
            keeper.remove_checkpoints(of=outcome.copy.trials() - kept)
    _say(console, f"best config: {_near(best)}")
    _say(console, f"{outcome.headline}; 1 seed each")
    if outcome.settled is not None:
        _say(console, f"budget.no_improvement ended the search: {outcome.settled}")
    for caveat in choice.caveats:
        _say(console, f"note: {caveat}")


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)


def _near(path: Path) -> Path:
    """Relative to the working directory where it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
