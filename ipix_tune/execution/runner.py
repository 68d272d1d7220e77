"""Runs a phase of a study: the trials that its store gives, through Ray Tune, to their ends."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from ipix_tune.config.study_config import StudyConfig
from ipix_tune.execution.complete_logs import complete
from ipix_tune.execution.concurrency import Concurrency
from ipix_tune.execution.echo import near, say
from ipix_tune.execution.log_keeper import LogKeeper
from ipix_tune.execution.node_checks import LateNodes
from ipix_tune.execution.phase import Outcome, Work
from ipix_tune.execution.stopper import Stop
from ipix_tune.search.repeated_error import Alike
from ipix_tune.search.trial_record import TrialRecord
from ipix_tune.storage import study_folder
from ipix_tune.storage.object_sync import CopyKeeper, ObjectCopy
from ipix_tune.storage.storage_faults import storage_fault
from ipix_tune.tracking.runs import Tracker
from ipix_tune.tracking.shell_environment import wandb_mode
from ipix_tune.trainer.choose import trainer_of
from ipix_tune.trainer.function import GIVEN
from ipix_tune.trainer.resources import Value

ANY = -1
"""Tune's word for as many trials as the searcher gives."""
TOLD = 5
"""Trials that a message names at most."""


class Runner:
    """Runs all trials of a phase, as many at once as the cluster has room for. Used once, inside `phase.opened`.

    Args:
        study: the study file.
        work: what is to be run.
        place: the study's folder, which this process holds.
        copy: of the study in object storage, where it has one.
        console: where the progress goes.
    """

    def __init__(
        self, study: StudyConfig, work: Work, place: Path, copy: ObjectCopy | None, *, console: Console
    ) -> None:
        facts = work.facts
        self._study, self._work, self._place, self._copy, self._console = study, work, place, copy, console
        self._say = partial(say, console)
        self._handed_out: dict[str, dict[str, Value]] = {}
        self._stop = Stop(place, exhausted=work.exhausted)
        self._tracker = Tracker(place, study, facts.shared, phase=facts.phase, describe=facts.describe)
        self._checkpoints = study_folder.Checkpoints(place)
        self._copies = CopyKeeper(copy, record=work.record, on_fault=self._stop.storage_failed)
        self._logs = LogKeeper(place, study, facts, self._ended_record, copy=copy, say=self._say)
        self._concurrency = Concurrency(study.resources, say=self._say, on_no_room=self._stop.lacks_room)
        shared_folder = place / study_folder.STUDY if copy is None else study.storage
        self._late_nodes = LateNodes(trainer_of(study.trainer), work.probe, shared_folder, say=self._say)

    def run(self) -> Outcome:
        """Run the trials, and make the logs whole."""
        self._run_trials()
        lacking: tuple[str, ...] = ()
        if self._stop.storage_fault is None:
            self._guarded(self._work.trials.write_seconds)
            lacking = self._complete_logs()
            self._copies.save()
        if self._tracker.unsent:
            sync = f"ipix-tune wandb-sync {near(self._place)}"
            self._say(f"W&B took no runs for a while; send what it lacks with: {sync}")
        if self._tracker.failures:
            self._console.print(f"W&B failed {self._tracker.failures} times", style="yellow")
        return self._outcome(lacking)

    def _run_trials(self) -> None:
        try:
            self._guarded(self._tune)
        finally:
            self._tracker.close()
            self._logs.close()

    def _guarded(self, act: Any) -> None:
        """Where the study's storage fails, that ends the study with the reason; any other error is raised."""
        try:
            act()
        except Exception as error:
            if (fault := storage_fault(error, self._place)) is None:
                raise
            self._stop.storage_fault = fault

    def _written(self, act: Callable[[], object]) -> bool:
        """Do what writes into the record; False: the study's storage has failed, now or before, and the study ends."""
        if self._stop.storage_fault is None:
            self._guarded(act)
        return self._stop.storage_fault is None

    def _tune(self) -> None:
        """All trials through Ray Tune, until there are none or something stops the study."""
        from ray import tune

        from ipix_tune.execution.progress_table import Display
        from ipix_tune.execution.trainable import in_actor, over_workers
        from ipix_tune.execution.tune_callback import TuneCallback
        from ipix_tune.search.ray_searcher import TrialStoreSearcher

        study, work = self._study, self._work
        thaws = work.trials.thaw is not None
        with Display(work.progress, self._console) as display, self._stop.on_signals(self._console):
            if not work.trials.goes_on or self._stop.stop_all():
                return
            callback = TuneCallback(
                work.trials,
                self._tracker,
                display,
                values=self._handed_out,
                retries=study.retries,
                on_end=self._trial_ended,
                on_step=self._look_around,
                on_storage_fault=self._stop.storage_failed,
                write=self._written,
                alike=Alike(
                    study.stop_after_same_error, fitted=work.progress.count("complete", "stopped", "infeasible") > 0
                ),
                on_alike=self._stop.failed_alike,
                thaws=thaws,
            )
            searcher = TrialStoreSearcher(
                work.trials,
                trial_config=self._trial_config,
                concurrent=self._concurrency.limit,
                converged=work.converged,
                max_epochs=work.progress.max_epochs,
                watched=True,
                write=self._written,
            )
            tune.Tuner(
                tune.with_resources(over_workers if study.resources.workers > 1 else in_actor, _actor_resources(study)),
                tune_config=tune.TuneConfig(
                    search_alg=searcher,
                    scheduler=work.scheduler,
                    max_concurrent_trials=max(work.trials.remaining, 1),  # actors started side by side
                    num_samples=ANY,  # the searcher says when there are no more
                    reuse_actors=not _needs_new_processes(study),
                    trial_name_creator=_key_of,
                    trial_dirname_creator=_folder_of,
                ),
                run_config=tune.RunConfig(
                    name=f"session-{int(time.time())}",
                    storage_path=str(self._place / "ray"),
                    callbacks=[callback],
                    failure_config=tune.FailureConfig(max_failures=study.retries),
                    stop=self._stop,
                    verbose=0,
                ),
            ).fit()

    def _trial_config(self, key: str, values: dict[str, Value]) -> dict[str, Any]:
        """All that a trial is given."""
        from ipix_tune.execution.trainable import trial_config

        study, copy, second = self._study, self._copy, self._study.objective.second_objective
        self._handed_out[key] = values
        self._copies.save_record()  # a trial must not leave a copy before the record's copy knows it
        config: dict[str, Any] = trial_config(
            key,
            trainer=self._work.facts.training(values).model_dump(mode="json"),
            run_dir=(self._place if copy is None else Path(copy.key)) / "trials" / key,
            metric=study.objective.metric,
            second_metric=None if second is None else second.metric,
            resources=study.resources,
            on_out_of_memory=study.on_out_of_memory,
            store=None if copy is None else copy.store.uri,
            function=GIVEN.get(str(study.trainer.get("function"))),
            constraints=study.bounds if self._work.facts.phase == "search" else {},
        )
        return config

    def _trial_ended(self, key: str) -> None:
        if self._study.keep_checkpoints != "all":
            disposable = self._work.progress.ended() - self._needed() - self._may_go_on()
            self._checkpoints.remove(of=disposable)
            self._copies.remove_checkpoints(of=disposable)
        self._copies.save_end(key)
        if not self._work.progress.rows[key].paused:
            self._logs.ended(key)

    def _may_go_on(self) -> set[str]:
        """Keys of the trials that this driver or an earlier one stopped, where the scheduler has such go on."""
        rows = self._work.progress.rows.items()
        return set() if self._work.trials.thaw is None else {key for key, row in rows if row.state == "stopped"}

    def _needed(self) -> set[str]:
        """Keys of the trials whose checkpoints stay; those that failed go on from them when they are offered again."""
        rows = self._work.progress.rows.items()
        return self._work.needed() | {key for key, row in rows if row.state == "failed"}

    def _look_around(self) -> None:
        """What is to be done often while trials run."""
        self._late_nodes.look()
        self._copies.look()
        self._logs.look()
        self._concurrency.refresh()

    def _ended_record(self, key: str) -> TrialRecord | None:
        return next((entry for entry in reversed(self._work.trials.ended()) if entry.key == key), None)

    def _complete_logs(self) -> tuple[str, ...]:
        """The trials that the logs lack, in words, also after they were made whole; where that could not be tried,
        why."""
        work, place = self._work, self._place
        try:
            lacked, lacking = complete(place, self._study, work.facts, work.trials.entries(), copy=self._copy)
        except Exception as error:  # the trials are safe, and whoever ends the study says so
            return (f"unknown which, since they could not be compared ({error})",)
        if lacked:
            told = ", ".join(lack.words for lack in lacked[:TOLD]) + (", ..." if len(lacked) > TOLD else "")
            self._say(f"W&B's files lacked {len(lacked)} trials that the record knows, and were completed: {told}")
            if wandb_mode(self._study.logging) == "online":
                self._say(f"the server lacks them still; send them with: ipix-tune wandb-sync {near(place)}")
        return tuple(lack.words for lack in lacking)

    def _outcome(self, lacking: tuple[str, ...]) -> Outcome:
        work, stop, progress = self._work, self._stop, self._work.progress
        failed = stop.storage_fault is not None  # then the record is not asked any more
        unfinished = failed or work.trials.goes_on or progress.count("interrupted")
        return Outcome(
            folder=self._place,
            headline=progress.headline(),
            by_user=stop.by_user,
            cut_short=stop.why() if unfinished else None,
            converged=work.converged() if not stop.stop_all() and work.trials.remaining else None,
            scored=sum(
                row.score is not None and row.state in ("complete", "stopped") for row in progress.rows.values()
            ),
            needed=frozenset() if failed else frozenset(self._needed()),
            lacking=lacking,
            copy=self._copy,
        )


def _key_of(trial: Any) -> str:
    return str(trial.config["key"])


def _folder_of(trial: Any) -> str:
    """Tune's own folder of a trial. One that goes on after it was stopped is another trial to Tune."""
    return f"{_key_of(trial)}-{trial.trial_id}"


def _actor_resources(study: StudyConfig) -> dict[str, float]:
    """What Tune reserves for a trial's own actor. With workers of its own it only drives: a CPU for it would let
    drivers take the place of workers, and an empty request is refused, so it asks for one byte of memory."""
    if study.resources.workers > 1:
        return {"CPU": 0, "memory": 1}
    gpus = study.resources.gpus_per_worker
    return {"CPU": study.resources.cpus_per_worker, **({"GPU": gpus} if gpus else {})}


def _needs_new_processes(study: StudyConfig) -> bool:
    """Whether a trial must not run where another has: on a CPU, a process's peak memory is that of all it ever did."""
    return "memory/peak_mib" in {*study.objective.metrics, *study.constraints}
