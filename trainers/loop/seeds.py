"""One config trained with several seeds in turn, each in a folder of its own, and what the runs say together."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scipy import special

from trainers.common.errors import ConfigError, OutOfMemory, TrainingError
from trainers.config import TrainConfig
from trainers.interface.epoch_record import EpochRecord
from trainers.loop.run_summary import validation_called

LEVEL = 0.95
FINAL, HELD_OUT = "final/last/miou", "val/miou"


@dataclass(frozen=True, kw_only=True)
class SeedRun:
    """One of the runs: ``scores`` are those of `SCORES` that its last epoch has; ``error`` says why a run that failed
    has none."""

    config: TrainConfig
    folder: Path
    scores: dict[str, float]
    error: str | None = None

    @property
    def seed(self) -> int:
        return self.config.seed


SCORES = (FINAL, HELD_OUT)
"""What runs are summarised by, where they have it: the validation list with the last weights, the held-out images."""


def with_next_seed(config: TrainConfig, number: int) -> TrainConfig:
    """``config`` for run ``number`` (0, 1, ...): its seed plus ``number``. Where the labelled images are drawn, so is
    the seed of the draw, as in a study's confirmation: runs then differ as much as those that were confirmed."""
    update: dict[str, object] = {"seed": config.seed + number}
    if config.data.draw is not None:
        draw = config.data.draw.model_copy(update={"seed": config.data.draw.seed + number})
        update["data"] = config.data.model_copy(update={"draw": draw})
    return config.model_copy(update=update)


def planned(config: TrainConfig, *, seeds: int, folder: Callable[[int], Path], resume: bool) -> tuple[SeedRun, ...]:
    """The runs to train, without their scores.

    Args:
        seeds: how many, from the config's own seed on.
        folder: of the run with this seed.
        resume: whether runs that have begun are gone on with.

    Raises:
        ConfigError: a folder holds a run and ``resume`` was not asked for; a seed would be above what is allowed.
    """
    last = config.seed + seeds - 1
    if last >= 2**31:
        raise ConfigError(f"--seeds {seeds}: the last seed would be {last}; seeds are below {2**31}, lower seed")
    runs = tuple(
        SeedRun(config=one, folder=folder(one.seed), scores={})
        for one in (with_next_seed(config, number) for number in range(seeds))
    )
    if begun := [str(run.folder) for run in runs if (run.folder / "checkpoints").exists() and not resume]:
        raise ConfigError(f"{', '.join(begun)}: holds a run; go on with --resume, or give another --run-dir")
    return runs


def train_in_turn(
    runs: Sequence[SeedRun],
    train: Callable[[TrainConfig, Path], Sequence[EpochRecord]],
    *,
    say: Callable[[str], object],
) -> tuple[SeedRun, ...]:
    """Train each run and give it its scores. One whose loss or weights are not finite counts as failed, and the next
    one follows; out of memory ends all, since the next one needs as much.

    Args:
        train: trains a config in a folder, or goes on with what is there; gives its epochs' records.
        say: is told which run begins, and what failed.
    """
    done = []
    for number, run in enumerate(runs, 1):
        say(f"seed {run.seed} ({number} of {len(runs)}): {run.folder}")
        try:
            records = train(run.config, run.folder)
        except OutOfMemory:
            raise
        except TrainingError as error:
            say(f"seed {run.seed} failed: {error}")
            done.append(replace(run, error=str(error)))
            continue
        last = records[-1].metrics
        done.append(replace(run, scores={name: last[name] for name in SCORES if name in last}))
    return tuple(done)


@dataclass(frozen=True, kw_only=True)
class SeedMean:
    """Mean of ``runs`` scores with its 95 % t interval, which is infinite with one run."""

    runs: int
    value: float
    low: float
    high: float


def mean_of(scores: Sequence[float]) -> SeedMean:
    """The mean over runs with its t interval; ``scores`` holds at least one."""
    runs, value = len(scores), math.fsum(scores) / len(scores)
    if runs == 1:
        return SeedMean(runs=1, value=value, low=-math.inf, high=math.inf)
    variance = math.fsum((one - value) ** 2 for one in scores) / (runs - 1)
    half = float(special.stdtrit(runs - 1, (1 + LEVEL) / 2)) * math.sqrt(variance / runs)
    return SeedMean(runs=runs, value=value, low=value - half, high=value + half)


def summary(runs: Sequence[SeedRun]) -> list[str]:
    """The score of every run, their mean with its interval, and how many have none: a run that failed or is far from
    the others stands in the list, so that no mean hides it."""
    found = []
    for name in SCORES:
        scored = [run for run in runs if name in run.scores]
        if not scored:
            continue
        found.append(f"{_called(name, runs[0].config)}, mIoU in %, last epoch:")
        found += [
            f"  seed {run.seed}: " + (f"{run.scores[name]:.2f}" if name in run.scores else "failed") for run in runs
        ]
        mean = mean_of([run.scores[name] for run in scored])
        words = (
            "1 run, so that it has no interval"
            if mean.runs == 1
            else f"95 % t interval {mean.low:.2f} to {mean.high:.2f}, n = {mean.runs} runs"
        )
        found.append(f"  mean {mean.value:.2f} ({words})")
    if failed := [run for run in runs if run.error is not None]:
        names = ", ".join(f"seed {run.seed}: {run.error}" for run in failed)
        found.append(f"{len(failed)} of {len(runs)} runs failed and are in no mean ({names})")
    return found


def _called(name: str, config: TrainConfig) -> str:
    return validation_called(config) if name == FINAL else "held-out training images"
