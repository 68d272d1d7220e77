"""The training step that is counted: the third of a method's last stage, on tensors that say they are on a GPU."""

import tempfile
from pathlib import Path

from benchmarks.helpers.fake_cuda import Count, fake_cuda
from trainers.config import TrainConfig
from trainers.loop.fit import numerics
from trainers.loop.run import Run
from trainers.loop.step_means import StepMeans

WARM_UP = 2
"""Steps before the counted one, so that banks and averages are what they are later."""


def counted_step(config: TrainConfig, folder: Path | None = None) -> Count:
    """Train up to the step, and count what it does.

    Args:
        config: one epoch for each of the method's stages.
        folder: of the run; None: one that is removed again.
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as name:
            return counted_step(config, Path(name))
    last = config.schedule.epochs - 1
    with numerics(config.precision), fake_cuda() as count:
        run = Run(config, folder)
        for epoch in range(last):
            run.train_epoch(epoch, None)
        run._reach(last)
        step_means, batches = StepMeans(run.process), iter(run.loader.epoch(last))
        for number in range(WARM_UP + 1):
            count.counting = number == WARM_UP
            run.train_step(next(batches), step_means)
        count.counting = False
        run.close()
    return count
