"""`fit`: one training run from a config. The one loop, on a CPU, on a GPU, or as one of several DDP processes."""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainers.common.atomic import append_whole, replacing
from trainers.common.environment import describe
from trainers.common.errors import OutputError
from trainers.common.retry import FULL, patiently
from trainers.common.yaml_file import dump
from trainers.config import PrecisionConfig, TrainConfig
from trainers.data.lists import split_text
from trainers.interface.epoch_record import METRICS, Callback, Decision, EpochRecord
from trainers.loop import checkpoint_files
from trainers.loop.about_model import counts
from trainers.loop.checkpoint import clear, restore, save
from trainers.loop.epoch_scores import evaluate_epoch
from trainers.loop.network_check import network_lines
from trainers.loop.out_of_memory import SMALLER_STEP, smaller_evaluation, told
from trainers.loop.run import Run, StepHook
from trainers.loop.tensorboard_log import TensorBoardLog, check_tensorboard


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What came out: all epochs' records, the best epoch by ``val/miou``, and whether a watcher stopped the run."""

    records: tuple[EpochRecord, ...]
    best_epoch: int | None
    stopped: bool
    split_hash: str


def fit(
    config: TrainConfig,
    run_dir: Path,
    *,
    callbacks: Sequence[Callback] = (),
    resume: bool = True,
    on_step: StepHook | None = None,
    on_start: Callable[[Sequence[str]], None] | None = None,
) -> TrainResult:
    """Train, evaluate and checkpoint until the last epoch, or until a callback says stop.

    With torch.distributed initialised, every process calls it with the same arguments; ``run_dir`` is then on a file
    system that all of them see. It holds `config.yaml`, `environment.json`, `metrics.jsonl`, `checkpoints/`, in
    `splits/` the lists that were drawn for it, and where it was asked for `tensorboard/`.

    Args:
        config: the whole training config.
        run_dir: the run's folder.
        callbacks: called after every epoch on every process; rank 0's verdicts count.
        resume: go on from the folder's checkpoint. False: start again, and overwrite the folder's files.
        on_step: called after every step.
        on_start: told, before the first step, what was chosen for this run where the config leaves it open.

    Raises:
        UserError: the config, the data, a checkpoint or the folder cannot be used.
        TrainingError: a loss or a weight is NaN or infinite, or (OutOfMemory) the device's memory is too small.
    """
    check_tensorboard(config.logging)
    there = run_dir.is_dir()
    with contextlib.ExitStack() as stack:
        stack.enter_context(numerics(config.precision))
        run = stack.enter_context(contextlib.closing(Run(config, run_dir)))
        if resume:
            restore(run)
        else:
            clear(run)
        log = MetricsLog(run, there=there)
        on_board = config.logging.tensorboard and run.process.rank == 0
        board = stack.enter_context(TensorBoardLog(run_dir, wanted=on_board, records=run.records))
        if on_start is not None:
            on_start([*network_lines(config, run.student), *run.loader.loading.lines, *run.remarks])
        stopped = any(_ask(run, callbacks, record) for record in run.records)
        for epoch in range(len(run.records), config.schedule.epochs):
            if stopped:
                break
            due = (epoch + 1) % config.checkpoint.every == 0 or epoch + 1 == config.schedule.epochs
            trained = _trained(run, epoch, on_step, due=due)
            scored = _scored(run, epoch + 1, saved=due)
            record = EpochRecord(
                epoch=epoch + 1,
                step=run.step,
                metrics=trained | scored,
                checkpoint=run.folder / checkpoint_files.LAST if due else None,
                split_hash=run.data.split_hash,
            )
            run.records.append(record)
            run.unscored = None
            if due:
                save(run)
            log.append(record)
            board.append(record)
            stopped = _ask(run, callbacks, record)
    return TrainResult(
        records=tuple(run.records),
        best_epoch=None if run.best is None else run.best[1],
        stopped=stopped,
        split_hash=run.data.split_hash,
    )


def _trained(run: Run, epoch: int, on_step: StepHook | None, *, due: bool) -> dict[str, float]:
    """Train an epoch, and save it before it is evaluated: a mask that cannot be read, or too little memory, does not
    cost its weights. An epoch that was saved so and not evaluated is not trained again."""
    if run.unscored is not None:
        return run.unscored
    with told(lambda: f"at step {run.step} (epoch {epoch + 1})", SMALLER_STEP):
        trained = run.train_epoch(epoch, on_step)
    if due:
        run.unscored = trained
        save(run)
    return trained


def _scored(run: Run, epoch: int, *, saved: bool) -> dict[str, float]:
    """Evaluate an epoch, counted from 1."""
    kept = "; the epoch's weights are saved: go on with --resume, which evaluates them first" if saved else ""
    with told(lambda: f"in the evaluation after epoch {epoch}", smaller_evaluation(run.config.evaluation) + kept):
        return evaluate_epoch(run, epoch)


def _ask(run: Run, callbacks: Sequence[Callback], record: EpochRecord) -> bool:
    """Whether to stop: every callback is called, and rank 0 decides for all."""
    return run.process.agree(Decision.STOP in [callback(record) for callback in callbacks])


class _MayPass(OSError):
    """The disk, or the user's quota, is full; or a folder that was there is away with its storage."""


class MetricsLog:
    """`metrics.jsonl`, a JSON object an epoch, beside the config and the environment; rank 0 writes.

    Args:
        there: the run's folder was there before its data was opened. It is never made anew then: a storage that is away
            for a moment would be hidden by a folder in its place.
    """

    def __init__(self, run: Run, *, there: bool) -> None:
        self._there = there
        self._path = run.run_dir / METRICS
        self._wait_s = run.config.checkpoint.wait_s
        self._writes = run.process.rank == 0
        if not self._writes:
            return
        environment = describe(str(run.process.device)) | {
            "processes": run.process.world,
            "loading": list(run.loader.loading.lines),
            "decoded_images_bytes": run.kept.size,
            "images": counts(run.data),
            "classes": list(run.data.classes),
        }
        with _told(run.run_dir):
            patiently(lambda: self._begin(run, environment), path=run.run_dir, wait_s=self._wait_s, faults=(_MayPass,))

    def _begin(self, run: Run, environment: dict[str, Any]) -> None:
        """The run's folder with what is known before its first step."""
        try:
            if not self._there:
                run.run_dir.mkdir(parents=True, exist_ok=True)
            _replace(run.run_dir / "config.yaml", dump(run.config))
            self._write_splits(run)
            _replace(run.run_dir / "environment.json", json.dumps(environment, indent=2))
            _replace(self._path, "".join(_line(record) for record in run.records))
        except OSError as error:
            if error.errno in FULL or (self._there and isinstance(error, FileNotFoundError)):
                raise _MayPass(error.errno, error.strerror) from error
            raise

    @staticmethod
    def _write_splits(run: Run) -> None:
        """The lists that no file holds yet: what was drawn, and what was cut off for the evaluation. The unlabelled
        images are the rest."""
        data = run.config.data
        lists = {"labelled": run.data.labelled if data.draw else (), "holdout": run.data.holdout}
        for name, items in lists.items():
            if items:
                (run.run_dir / "splits").mkdir(exist_ok=True)
                _replace(run.run_dir / "splits" / f"{name}.txt", split_text(items))

    def append(self, record: EpochRecord) -> None:
        if self._writes:
            with _told(self._path):
                patiently(lambda: append_whole(self._path, _line(record)), path=self._path, wait_s=self._wait_s)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """An error of the file system, as one that names what could not be written."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}; mend that, then resume") from error


def _line(record: EpochRecord) -> str:
    row = {"epoch": record.epoch, "step": record.step, "split_hash": record.split_hash, **record.metrics}
    return json.dumps(row) + "\n"


def _replace(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text)


@contextlib.contextmanager
def numerics(precision: PrecisionConfig) -> Iterator[None]:
    """PyTorch's global switches for the length of a run.

    New tensors stay uninitialised also in deterministic mode. PyTorch would fill each with NaN, so that a program which
    reads memory that it has not written gives the same wrong numbers every time; that is a kernel for every tensor.
    """
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
        torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(precision.cpu_threads)
    torch.use_deterministic_algorithms(precision.deterministic)
    torch.backends.cudnn.benchmark = not precision.deterministic
    torch.backends.cudnn.deterministic = precision.deterministic
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = before[2:4]
        torch.utils.deterministic.fill_uninitialized_memory = before[4]  # type: ignore[attr-defined]
        torch.set_num_threads(threads)
