"""The engine that search and confirmation share: a journal's trials through Ray Tune to their ends."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from analysis.columns import Phase
from ipix_tune.config.study_config import StudyConfig, Value
from ipix_tune.execution import cluster, placement
from ipix_tune.execution.concurrency import Concurrency, awaited
from ipix_tune.execution.echo import near, say
from ipix_tune.execution.node_checks import LateNodes, check_nodes
from ipix_tune.execution.resources import Fit
from ipix_tune.execution.stopper import Stop
from ipix_tune.search.repeated_error import Alike
from ipix_tune.storage import study_folder as folder
from ipix_tune.storage.object_sync import CopyKeeper, ObjectCopy, copy_of
from ipix_tune.storage.storage_faults import storage_fault
from ipix_tune.tracking.run_facts import RunFacts
from trainers.config import TrainConfig
from trainers.data import DataConfig

if TYPE_CHECKING:
    from ipix_tune.execution.progress_table import ProgressTable
    from ipix_tune.search.trial_record import TrialRecord
    from ipix_tune.search.trial_store import TrialStore

Values = dict[str, Value]

TOLD = 5
"""Trials that a message names at most."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a phase of a study came to.

    Args:
        folder: the study's folder.
        headline: one line: how far it came, and of a search the best trial.
        by_user: the user stopped it.
        cut_short: why it ended before its trials did, and what to do; None where it did not.
        converged: why it ended early without anything being wrong; None where it did not.
        scored: trials that ended with a score.
        needed: keys of the trials that have ended and whose checkpoints are still needed.
        lacking: trials that the logs, and so all tables, lack in whole or in part, in words.
        copy: the folder's copy in object storage, where there is one.
    """

    folder: Path
    headline: str
    by_user: bool
    cut_short: str | None
    converged: str | None
    scored: int
    needed: frozenset[str]
    lacking: tuple[str, ...] = ()
    copy: ObjectCopy | None = None


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the engine is to run.

    Args:
        facts: what its W&B runs say.
        data: of one of its trials, which nodes that join are asked for.
        journal: gives the trials and keeps what became of them.
        record: names of the files in the study's folder that hold that.
        scheduler: Ray Tune's; says which go on.
        board: what is known of the trials, those that ended before this driver among them.
        exhausted: the key of the budget that is used up, or None.
        converged: why no new trial is worth starting, or None.
        needed: keys of the trials that have ended and whose checkpoints are still needed.
    """

    facts: RunFacts
    data: DataConfig
    journal: "TrialStore"
    record: tuple[str, ...]
    scheduler: Any
    board: "ProgressTable"
    exhausted: Callable[[], str | None]
    converged: Callable[[], str | None]
    needed: Callable[[], set[str]]


def checked_copy(study: StudyConfig) -> ObjectCopy | None:
    """The durable copy of the study where its storage is an object storage, which was asked whether it answers."""
    copy = copy_of(study, folder.study_folder(study))
    if copy is not None:
        copy.store.check()
    return copy


@contextlib.contextmanager
def opened(
    study: StudyConfig,
    config: TrainConfig,
    copy: ObjectCopy | None,
    *,
    resume: bool,
    address: str | None,
    console: Console,
    accept: Callable[[Path], object] = lambda place: None,
) -> Iterator[tuple[Path, Fit]]:
    """The study's folder, ready and held by this process, and what the connected cluster has for its trials. Nodes that
    have not come yet are waited for.

    Args:
        config: of one of the runs, whose data every node is asked for.
        accept: as for `folder.prepared`.

    Raises:
        UserError: cluster, nodes, storage or folder cannot be used.
    """
    from ipix_tune.storage.optuna_storage import open_record

    nested = study.resources.workers > 1
    with cluster.connected(address, nested=nested):
        fit = awaited(study.resources, may_grow=cluster.may_grow(address), say=lambda line: say(console, line))
        check_nodes(config.data, folder.study_folder(study).parent if copy is None else study.storage)
        if study.record != "journal":
            open_record(folder.study_folder(study), record=study.record)
        with folder.prepared(study, resume=resume, copy=copy, accept=accept) as place:
            if nested:
                placement.free_leftovers(place)
            yield place, fit


def drive(study: StudyConfig, work: Work, place: Path, copy: ObjectCopy | None, *, console: Console) -> Outcome:
    """Run all trials that the journal gives, as many at once as the cluster has room for; in the study's folder
    ``place``, which this process holds, and inside `cluster.connected`."""
    from ray import tune

    from ipix_tune.execution.log_keeper import LogKeeper
    from ipix_tune.execution.progress_table import Display
    from ipix_tune.execution.trainable import in_actor, over_workers, trial_config
    from ipix_tune.execution.tune_callback import TuneCallback
    from ipix_tune.search.ray_searcher import TrialStoreSearcher
    from ipix_tune.tracking.runs import Tracker

    journal, board = work.journal, work.board
    handed_out: dict[str, Values] = {}

    def config_of(key: str, values: Values) -> dict[str, Any]:
        handed_out[key] = values
        keeper.save_record()  # a trial must not leave a copy before the record's copy knows it
        config: dict[str, Any] = trial_config(
            key,
            trainer=work.facts.training(values).model_dump(mode="json"),
            run_dir=(place if copy is None else Path(copy.key)) / "trials" / key,
            metric=study.objective.metric,
            against=None if study.objective.against is None else study.objective.against.metric,
            resources=study.resources,
            on_out_of_memory=study.on_out_of_memory,
            store=None if copy is None else copy.store.uri,
        )
        return config

    nested = study.resources.workers > 1
    stop = Stop(place, exhausted=work.exhausted)
    facts = work.facts
    tracker = Tracker(place, study, facts.shared, phase=facts.phase, describe=facts.describe)

    checkpoints = folder.Checkpoints(place)

    def needed() -> set[str]:
        """With those that failed: offered again, they go on from their checkpoints."""
        return work.needed() | {key for key, row in board.rows.items() if row.state == "failed"}

    def trial_ended(key: str) -> None:
        if study.keep_checkpoints != "all":
            spent = board.ended() - needed()
            checkpoints.remove(of=spent)
            keeper.remove_checkpoints(of=spent)
        keeper.save_end(key)
        logs.ended(key)

    def storage_failed(reason: str) -> None:
        stop.storage_fault = reason

    def failed_alike(reason: str) -> None:
        stop.alike = stop.alike or reason

    def no_room(reason: str) -> None:
        stop.no_room = stop.no_room or reason

    keeper = CopyKeeper(copy, record=work.record, on_fault=storage_failed)
    concurrency = Concurrency(study.resources, say=lambda line: say(console, line), on_no_room=no_room)

    def ended_entry(key: str) -> "TrialRecord | None":
        return next((entry for entry in reversed(journal.ended()) if entry.key == key), None)

    logs = LogKeeper(place, study, facts, ended_entry, copy=copy, say=lambda line: say(console, line))

    late = LateNodes(
        work.data, place / folder.STUDY if copy is None else study.storage, say=lambda line: say(console, line)
    )

    def step() -> None:
        late.look()
        keeper.look()
        logs.look()
        concurrency.refresh()

    try:
        with Display(board, console) as display, stop.on_signals(console):
            watcher = TuneCallback(
                journal,
                tracker,
                display,
                values=handed_out,
                on_end=trial_ended,
                on_step=step,
                on_storage_fault=storage_failed,
                alike=Alike(study.stop_after_same_error, fitted=board.count("complete", "stopped") > 0),
                on_alike=failed_alike,
            )
            if journal.remaining and not stop.stop_all():
                tune.Tuner(
                    tune.with_resources(over_workers if nested else in_actor, _driver_resources(study)),
                    tune_config=tune.TuneConfig(
                        search_alg=TrialStoreSearcher(
                            journal,
                            trial_config=config_of,
                            concurrent=concurrency.limit,
                            converged=work.converged,
                            max_epochs=board.max_epochs,
                            watched=True,
                        ),
                        scheduler=work.scheduler,
                        max_concurrent_trials=journal.remaining,  # actors started side by side; the searcher counts
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
    except Exception as error:
        if (fault := storage_fault(error, place)) is None:
            raise
        stop.storage_fault = fault
    finally:
        tracker.close()
        logs.close()
    lacking: tuple[str, ...] = ()
    if stop.storage_fault is None:
        try:
            journal.write_seconds()
        except Exception as error:
            if (fault := storage_fault(error, place)) is None:
                raise
            stop.storage_fault = fault
        lacking = _completed(place, study, work, copy, console=console)
        keeper.save()
    if tracker.unsent:
        say(console, f"W&B took no runs for a while; send what it lacks with: ipix-tune wandb-sync {near(place)}")
    if tracker.failures:
        console.print(f"W&B failed {tracker.failures} times", style="yellow")
    failed = stop.storage_fault is not None  # then the record is not asked any more
    unfinished = failed or journal.remaining or board.count("interrupted")
    return Outcome(
        folder=place,
        headline=board.headline(),
        by_user=stop.by_user,
        cut_short=stop.why() if unfinished else None,
        converged=work.converged() if not stop.stop_all() and journal.remaining else None,
        scored=sum(row.score is not None and row.state in ("complete", "stopped") for row in board.rows.values()),
        needed=frozenset() if failed else frozenset(needed()),
        lacking=lacking,
        copy=copy,
    )


def _completed(
    place: Path, study: StudyConfig, work: Work, copy: ObjectCopy | None, *, console: Console
) -> tuple[str, ...]:
    """The trials that the logs lack, in words, also after they were made whole; where that could not be tried, why."""
    from ipix_tune.execution.complete_logs import complete
    from ipix_tune.tracking.shell_environment import wandb_mode

    try:
        lacked, lacking = complete(place, study, work.facts, work.journal.entries(), copy=copy)
    except Exception as error:  # the trials are safe, and whoever ends the study says so
        return (f"unknown which, since they could not be compared ({error})",)
    if lacked:
        told = ", ".join(lack.words for lack in lacked[:TOLD]) + (", ..." if len(lacked) > TOLD else "")
        say(console, f"W&B's files lacked {len(lacked)} trials that the record knows, and were completed: {told}")
        if wandb_mode(study.logging) == "online":
            say(console, f"the server lacks them still; send them with: ipix-tune wandb-sync {near(place)}")
    return tuple(lack.words for lack in lacking)


def board_of(
    study: StudyConfig, entries: "Sequence[TrialRecord]", *, total: int, max_epochs: int, phase: Phase
) -> "ProgressTable":
    """The board, with the trials that ended before this driver started."""
    from ipix_tune.execution.progress_table import ProgressTable, TrialRow

    objective = study.objective
    board = ProgressTable(
        metric=objective.metric,
        mode=objective.mode,
        against=None if objective.against is None else objective.against.metric,
        against_mode="min" if objective.against is None else objective.against.mode,
        total=total,
        max_epochs=max_epochs,
        phase=phase,
    )
    for entry in entries:
        if entry.state != "running":
            last = max(entry.scores, default=0)
            row = TrialRow(values=entry.values, state=entry.state, retries=entry.retries, error=entry.error)
            row.reported(last, score=entry.scores.get(last), against=entry.against)
            board.rows[entry.key] = row
    return board


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
