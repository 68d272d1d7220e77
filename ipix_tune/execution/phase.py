"""A phase of a study, search or confirmation: what it runs, what it came to, and the folder and cluster for it."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from analysis.columns import Phase
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.execution import cluster, placement
from ipix_tune.execution.concurrency import awaited
from ipix_tune.execution.echo import say
from ipix_tune.execution.node_checks import check_nodes
from ipix_tune.execution.resources import Fit
from ipix_tune.storage import study_folder as folder
from ipix_tune.storage.object_sync import ObjectCopy, copy_of
from ipix_tune.tracking.run_facts import RunFacts
from ipix_tune.trainer.choose import trainer_of
from ipix_tune.trainer.interface import Config
from ipix_tune.trainer.resources import Value

if TYPE_CHECKING:
    from ipix_tune.execution.progress_table import ProgressTable
    from ipix_tune.search.trial_record import TrialRecord
    from ipix_tune.search.trial_store import TrialStore

Values = dict[str, Value]


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
    """What a runner is to run.

    Args:
        facts: what its W&B runs say.
        probe: config of one of its trials, by which nodes that join are asked what they lack.
        trials: gives the trials and keeps what became of them.
        record: names of the files in the study's folder that hold that.
        scheduler: Ray Tune's; says which go on.
        progress: what is known of the trials, those that ended before this driver among them.
        exhausted: the key of the budget that is used up, or None.
        converged: why no new trial is worth starting, or None.
        needed: keys of the trials that have ended and whose checkpoints are still needed.
    """

    facts: RunFacts
    probe: Config
    trials: "TrialStore"
    record: tuple[str, ...]
    scheduler: Any
    progress: "ProgressTable"
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
    config: Config,
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
        check_nodes(
            trainer_of(study.trainer), config, folder.study_folder(study).parent if copy is None else study.storage
        )
        if study.record != "journal":
            open_record(folder.study_folder(study), record=study.record)
        with folder.prepared(study, resume=resume, copy=copy, accept=accept) as place:
            if nested:
                placement.free_leftovers(place)
            yield place, fit


def progress_of(
    study: StudyConfig, entries: "Sequence[TrialRecord]", *, total: int, max_epochs: int, phase: Phase
) -> "ProgressTable":
    """What is known of the trials, with those that ended before this driver started."""
    from analysis.stats.objective import Objective
    from ipix_tune.execution.progress_table import ProgressTable, TrialRow

    objective, second = study.objective, study.objective.second_objective
    progress = ProgressTable(
        metric=objective.measured,
        mode=objective.mode,
        second_objective=None if second is None else Objective(metric=second.metric, mode=second.mode),
        total=total,
        max_epochs=max_epochs,
        phase=phase,
    )
    for entry in entries:
        if entry.state != "running":
            last = max(entry.scores, default=0)
            row = TrialRow(values=entry.values, state=entry.state, retries=entry.retries, error=entry.error)
            row.reported(last, score=entry.scores.get(last), second_score=entry.second_score)
            progress.rows[entry.key] = row
    return progress
