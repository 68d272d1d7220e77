"""The one place that writes to Weights & Biases: one run per trial, on the driver, whatever becomes of the trial.

Nothing that goes wrong here reaches a trial: the first failure is said once, the rest are counted.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from analysis.columns import SCHEMA_VERSION, Phase, State
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.storage.away import StudyStorage
from ipix_tune.storage.study_identity import identity
from ipix_tune.tracking import pictures, shell_environment
from ipix_tune.tracking import sweep as wandb_sweep
from ipix_tune.tracking.client import INIT_S, ask_server, client_settings, first_line, teardown
from ipix_tune.tracking.shell_environment import wandb_mode
from ipix_tune.trainer.resources import Value
from trainers.common.environment import git_commit, package_versions

logger = logging.getLogger(__name__)


class Tracker:
    """W&B runs of one study.

    Args:
        folder: the study's folder; offline files go below `wandb/` in it.
        study: the study file.
        facts: what is the same for all runs (space, scheduler, classes, origin), as `analysis.columns` lists it.
        phase: the runs' job type.
        describe: what the logged config says of a run, by its values.
        to_disk: log to disk only, whatever the study says.
    """

    def __init__(
        self,
        folder: Path,
        study: StudyConfig,
        facts: dict[str, Any],
        *,
        phase: Phase = "search",
        describe: Callable[[dict[str, Value]], dict[str, Any]] = lambda values: {"search": values},
        to_disk: bool = False,
    ) -> None:
        self.mode = "offline" if to_disk else wandb_mode(study.logging)
        self.metric = study.objective.metric
        shell_environment.clear()
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # the client would call home, also offline
        self.failures = 0
        self.unsent = False
        """Whether a run was logged to disk only, though it was to go to the server."""
        self._folder, self._storage = folder, StudyStorage(folder)
        self._study = study
        self._identity = identity(folder, study)
        self._facts = facts
        self._phase = phase
        self._describe = describe
        self._runs: dict[str, Any] = {}
        self._configs: dict[str, dict[str, Any]] = {}
        self._seen: dict[str, set[int]] = {}
        self._used = False
        self._online: set[str] = set()
        scheduler = facts.get("scheduler", {})
        self._heights = {*scheduler.get("rungs", ()), scheduler.get("max_epochs")}
        self._sweep: str | None = None
        self._sweep_asked = False

    def start(self, key: str, *, values: dict[str, Value], trainer: dict[str, Any]) -> None:
        """Open the trial's run; a run of the same key is continued."""
        if self.mode == "disabled" or key in self._runs:
            return
        config = {
            "schema_version": SCHEMA_VERSION,
            "study": self._study.name,
            "trial": {"key": key, "number": int(key[1:])},
            **self._describe(values),
            "trainer": trainer,
            "objective": self._study.objective.model_dump(),
            "tracking": self._study.logging.model_dump(include={"project", "entity"}),
            **self._facts,
        }
        self._guarded(lambda: self._open(key, config))

    def _open(self, key: str, config: dict[str, Any]) -> None:
        """Online where that is asked for and the server takes it; else this run and all later ones are logged to disk
        only."""
        self._configs[key] = config
        self._seen[key] = set()
        self._used = True
        if self.mode == "online" and not self.unsent:
            try:
                ask_server()
                self._join_sweep()
                self._runs[key] = self._init(key, mode="online")
                self._online.add(key)
                return
            except Exception as error:
                self._to_disk_only(error)
        self._runs[key] = self._init(key, mode="offline" if self.mode == "online" else self.mode)

    def _join_sweep(self) -> None:
        """Make the study's W&B sweep, or find it again; runs that are opened from now on belong to it. Without one they
        are logged all the same. Runs of the confirmation belong to none: they are not searched."""
        if self._sweep_asked or self._phase != "search":
            return
        self._sweep_asked = True
        try:
            self._sweep = wandb_sweep.registered(self._folder, self._study, timeout_s=INIT_S)
        except Exception as error:
            logger.warning("W&B makes no sweep, so runs are logged without one: %s", first_line(error))

    def _to_disk_only(self, reason: Exception) -> None:
        """Runs that are open go on in files of their own: a client that failed to open a run keeps its id."""
        self.unsent = True
        place = self._folder / "wandb"
        logger.warning("W&B takes no runs, so they are logged to %s only: %s", place, first_line(reason))
        teardown()
        self._online.clear()
        for key in self._runs:
            self._runs[key] = self._init(key, mode="offline")

    def _init(self, key: str, *, mode: str) -> Any:
        import wandb

        return wandb.init(
            project=self._study.logging.project,
            entity=self._study.logging.entity,
            id=f"{self._identity}-{key}",
            name=f"{self._study.name}-{key}",
            group=self._identity,
            job_type=self._phase,
            dir=str(self._folder),
            mode=mode,  # type: ignore[arg-type]
            config=self._configs[key],
            resume="allow" if mode == "online" else None,
            reinit="create_new",
            settings=client_settings(sweep=self._sweep),
        )

    def log(
        self,
        key: str,
        *,
        epoch: int,
        metrics: dict[str, float],
        held_out: Callable[[], bytes | None] = lambda: None,
    ) -> None:
        """One epoch's row; an epoch that was logged already is left as it is.

        Args:
            held_out: gives what the trial left of its held-out images after this epoch; asked only for a new row.
        """
        run = self._runs.get(key)
        if run is None or epoch in self._seen[key]:
            return
        self._seen[key].add(epoch)
        row: dict[str, Any] = {"epoch": epoch, **metrics}
        self._guarded(lambda: self._add_pictures(key, row, held_out))
        self._guarded(lambda: run.log(row, step=epoch, commit=True))
        if epoch in self._heights and self._study.objective.metric in metrics:
            score = metrics[self._study.objective.metric]
            self._guarded(lambda: run.summary.update({score_key(epoch): score}))

    def _add_pictures(self, key: str, row: dict[str, Any], held_out: Callable[[], bytes | None]) -> None:
        """Images with masks into the row, and their file beside the run's."""
        if (data := held_out()) is not None:
            most = self._configs[key]["trainer"]["evaluation"]["pictures"]
            row[pictures.KEY] = pictures.images_of(data, self._facts.get("classes", ()), most=most)
            pictures.keep(data, self._runs[key])

    def in_parts(self, key: str, parts: int) -> None:
        """The trial ran out of memory and is computed in so many parts: its logged config says so from now on."""
        run, trainer = self._runs.get(key), self._configs.get(key, {}).get("trainer", {})
        if run is None or trainer["optim"]["accumulate"] == parts:
            return
        self._amend(key, "trainer", {**trainer, "optim": {**trainer["optim"], "accumulate": parts}})

    def split(self, key: str, split_hash: str) -> None:
        """The trial has opened its data: where its draw is not the study's, its logged config says so from now on."""
        origin = self._configs.get(key, {}).get("origin", {})
        if key in self._runs and origin.get("split_hash") != split_hash:
            self._amend(key, "origin", {**origin, "split_hash": split_hash})

    def _amend(self, key: str, part: str, value: dict[str, Any]) -> None:
        run = self._runs[key]
        self._configs[key] = {**self._configs[key], part: value}
        self._guarded(lambda: run.config.update({part: value}, allow_val_change=True))

    def finish(
        self,
        key: str,
        *,
        state: State,
        error: str | None = None,
        retries: int = 0,
        score: float | None = None,
        epochs: int = 0,
    ) -> None:
        """Close the trial's run with how it ended."""
        run = self._runs.pop(key, None)
        self._configs.pop(key, None)
        self._seen.pop(key, None)
        if run is None:
            return
        summary: dict[str, Any] = {
            "state": state,
            "error": error,
            "retries": retries,
            "epochs": epochs,
            "objective": score,
        }

        def close() -> None:
            if key in self._online:
                summary["url"] = run.url
            run.summary.update(summary)
            try:
                run.finish(exit_code=1 if state == "failed" else 0)
            except TimeoutError as error:
                self._to_disk_only(error)

        self._guarded(close)

    def close(self) -> None:
        """Close what is still open as interrupted, and wait until all files are whole: a run's end may reach the disk
        after `finish` has returned, and the report is made from the files."""
        for key in list(self._runs):
            self.finish(key, state="interrupted", epochs=max(self._seen[key], default=0))
        if self._used:
            self._guarded(teardown)

    def _guarded(self, call: Callable[[], object]) -> None:
        """The client makes folders that are away anew, as it makes those of its files."""
        try:
            self._storage.wait()
            call()
        except Exception as error:
            self.failures += 1
            if self.failures == 1:
                logger.warning("W&B failed, the study goes on without it where it fails: %s", error)


def score_key(epoch: int) -> str:
    """Name in a run's summary of the objective after so many epochs."""
    return f"score/{epoch}"


def origin_facts(*, world_size: int, host: str, split_hash: str) -> dict[str, Any]:
    """`origin` of `analysis.columns`."""
    return {
        "split_hash": split_hash,
        "git_commit": git_commit(),
        "versions": package_versions(),
        "world_size": world_size,
        "host": host,
    }
