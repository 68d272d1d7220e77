"""What an epoch costs on this machine, from a few steps of the real loop."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainers.config import TrainConfig
from trainers.interface.epoch_record import Decision, EpochRecord

SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, kw_only=True)
class StepTiming:
    """``step_s`` is the lowest and highest seconds a step over the measured configs; ``every`` epochs there is an
    evaluation of ``evaluation_s`` seconds. ``steps_per_epoch``: a mean, where the stages of a method differ."""

    device: str
    step_s: tuple[float, float]
    evaluation_s: float
    steps_per_epoch: float
    every: int

    @property
    def words(self) -> str:
        """The timing in one line."""
        low, high = self.step_s
        return (
            f"{low:.2g} to {high:.2g} s a step, {self.evaluation_s:.2g} s an evaluation on this machine's {self.device}"
        )

    def trial_hours(self, epochs: float) -> tuple[float, float]:
        """Hours of one worker group for so many epochs, low and high."""
        low, high = (
            epochs * (self.steps_per_epoch * step + self.evaluation_s / self.every) / SECONDS_PER_HOUR
            for step in self.step_s
        )
        return low, high


def measure(configs: Sequence[TrainConfig], *, steps_per_epoch: float, threads: int, steps: int = 4) -> StepTiming:
    """Train each config for a few short epochs of ``steps`` steps and time the last: one process, on this machine,
    with as many CPU threads as Ray gives a worker.

    Raises:
        UserError: whatever stops a training: data, weights, memory.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        timed = [_times(config, steps) for config in configs]
    finally:
        torch.set_num_threads(before)
    return StepTiming(
        device=_device(configs[0]),
        step_s=(min(step for step, _ in timed), max(step for step, _ in timed)),
        evaluation_s=max(evaluation for _, evaluation in timed),
        steps_per_epoch=steps_per_epoch,
        every=configs[0].evaluation.every,
    )


def _times(config: TrainConfig, steps: int) -> tuple[float, float]:
    """Seconds per step and per evaluation."""
    from trainers.loop.fit import fit
    from trainers.loop.stages import shortest

    schedule = config.schedule.model_copy(update={"epochs": shortest(config), "steps_per_epoch": steps})
    evaluation = config.evaluation.model_copy(update={"every": 1})
    short = config.model_copy(update={"schedule": schedule, "evaluation": evaluation})
    records: list[EpochRecord] = []

    def keep(record: EpochRecord) -> Decision:
        records.append(record)
        return Decision.CONTINUE

    with tempfile.TemporaryDirectory() as folder:
        fit(short, Path(folder), callbacks=[keep])
    last = records[-1].metrics
    return last["time/epoch_s"] / steps, last["time/eval_s"]


def _device(config: TrainConfig) -> str:
    import torch

    if config.precision.device == "cpu" or not torch.cuda.is_available():
        return "CPU"
    return str(torch.cuda.get_device_name())
