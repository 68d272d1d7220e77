"""The W&B run of a final training, as a trial of a study has one: config, curves, pictures and, where asked, weights.

Nothing that goes wrong here reaches the training: the first failure is said."""

import json
import logging
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from analysis.columns import SCHEMA_VERSION, State
from analysis.ingest.wandb_files import read_folder
from ipix_tune.config.study_config import LoggingConfig
from ipix_tune.tracking import pictures, shell_environment
from ipix_tune.tracking.client import ask_server, client_settings
from ipix_tune.tracking.runs import origin_facts
from ipix_tune.tracking.shell_environment import wandb_mode
from ipix_tune.trainer.interface import Config
from trainers.common.environment import describe
from trainers.common.errors import TrainingError
from trainers.interface.epoch_record import Decision, EpochRecord
from trainers.loop.seeds import FINAL, HELD_OUT

logger = logging.getLogger(__name__)

ID = "wandb.id"
"""File in a run's folder: the id of its W&B run, which a run that goes on continues."""
KEPT = ("checkpoints/last.pt", "checkpoints/best.pt", "config.yaml", "README.md")
"""Files of the artifact."""


class FinalRun:
    """One training's W&B run, opened with its first epoch, and closed with how the training ended in the block
    (``with FinalRun(...) as run``).

    Args:
        folder: of the run; W&B's files go below `wandb/` in it.
        config: of the training.
        logging_config: mode, project and entity.
        group: of the runs of one config with several seeds.
        weights: keep the checkpoints as an artifact at the end.
        world_size: processes that train.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        logging_config: LoggingConfig,
        *,
        group: str,
        weights: bool = False,
        world_size: int = 1,
    ) -> None:
        self.mode = wandb_mode(logging_config)
        self._folder, self._config, self._logging = folder, config, logging_config
        self._group, self._weights, self._world = group, weights, world_size
        self._run: Any = None
        self._seen: set[int] = set()
        self._last: EpochRecord | None = None
        self._failed = False

    def __enter__(self) -> "FinalRun":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, TrainingError):
            self.finish("failed", error=str(error))
        else:
            self.finish("complete" if error is None else "interrupted")

    def epoch(self, record: EpochRecord) -> Decision:
        """A callback of `trainers.loop.fit.fit`: logs an epoch that was not logged before."""
        self._last = record
        if self.mode != "disabled" and not self._failed:
            self._guarded(lambda: self._log(record))
        return Decision.CONTINUE

    def finish(self, state: State, *, error: str | None = None) -> None:
        """Close the run with how it ended."""
        if self._run is None:
            return

        def close() -> None:
            if self._weights and state == "complete":
                self._keep_weights()
            metrics = {} if self._last is None else self._last.metrics
            score = metrics.get(FINAL, metrics.get(HELD_OUT))
            epochs = 0 if self._last is None else self._last.epoch
            self._run.summary.update({"state": state, "error": error, "epochs": epochs, "objective": score})
            self._run.finish(exit_code=1 if state == "failed" else 0)

        self._guarded(close)
        self._guarded(_teardown)

    def _log(self, record: EpochRecord) -> None:
        if self._run is None:
            self._open(record)
        if record.epoch not in self._seen:
            self._seen.add(record.epoch)
            row: dict[str, Any] = {"epoch": record.epoch, **record.metrics}
            try:
                self._add_pictures(row, record.epoch)
            except Exception as error:
                logger.warning("the pictures of epoch %d are not logged: %s", record.epoch, error)
            self._run.log(row, step=record.epoch, commit=True)

    def _add_pictures(self, row: dict[str, Any], epoch: int) -> None:
        """Held-out images with masks, where the run left some after this epoch."""
        trainer = self._config.model_dump(mode="json")
        data = pictures.left_by({"trainer": trainer, "run_dir": str(self._folder), "store": None}, epoch)
        if data is not None:
            most = trainer["evaluation"]["pictures"]
            row[pictures.KEY] = pictures.images_of(data, self._classes(), most=most)
            pictures.keep(data, self._run)

    def _classes(self) -> Sequence[str]:
        found: Sequence[str] = json.loads((self._folder / "environment.json").read_text()).get("classes", ())
        return found

    def _open(self, record: EpochRecord) -> None:
        """Online where that is asked for and the server answers, else to disk."""
        shell_environment.clear()
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        name = self._identity()
        self._seen = {epoch for run in read_folder(self._folder)[0] if run.run_id == name for epoch in run.history}
        mode = self.mode
        if mode == "online":
            try:
                ask_server()
            except OSError as error:
                logger.warning("W&B's server does not answer (%s): the training is logged to disk only", error)
                mode = "offline"
        import wandb

        origin = origin_facts(world_size=self._world, host=describe()["host"], split_hash=record.split_hash)
        self._run = wandb.init(
            project=self._logging.project,
            entity=self._logging.entity,
            id=name,
            name=self._folder.name,
            group=self._group,
            job_type="final",
            dir=str(self._folder.absolute()),
            mode=mode,  # type: ignore[arg-type]
            config={
                "schema_version": SCHEMA_VERSION,
                "trainer": self._config.model_dump(mode="json", exclude={"provenance"}),
                "provenance": self._config.model_dump().get("provenance"),
                "origin": origin,
            },
            resume="allow" if mode == "online" else None,
            reinit="create_new",
            settings=client_settings(),
        )

    def _identity(self) -> str:
        path = self._folder / ID
        if not path.is_file():
            plain = "".join(
                one if one.isascii() and (one.isalnum() or one in "._-") else "_" for one in self._folder.name
            )
            path.write_text(f"{plain[:80]}-{secrets.token_hex(3)}\n")
        return path.read_text().strip()

    def _keep_weights(self) -> None:
        import wandb

        artifact = wandb.Artifact(f"{self._identity()}-weights", type="model", metadata={"epoch": self._epochs()})
        for name in KEPT:
            if (self._folder / name).is_file():
                artifact.add_file(str(self._folder / name), name=Path(name).name, policy="immutable")
        self._run.log_artifact(artifact)

    def _epochs(self) -> int:
        return 0 if self._last is None else self._last.epoch

    def _guarded(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:
            self._failed = True
            logger.warning("W&B failed, the training goes on without it: %s", (str(error) or type(error).__name__))


def _teardown() -> None:
    """Waits until the files are whole: a run's end may reach the disk after `finish` has returned."""
    import wandb

    wandb.teardown()


def said(runs: Sequence[Path]) -> list[str]:
    """Where the runs were logged, and how to send what lies on disk only."""
    there = [path for path in runs if list(path.glob("wandb/offline-run-*"))]
    return [f"logged to {path / 'wandb'}; to a W&B server: ipix-tune wandb-sync {path}" for path in there]
