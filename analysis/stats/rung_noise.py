"""How much of what a rung ranks is luck: what seeds differ by there, against what all trials differ by."""

from dataclasses import dataclass

import numpy as np

from analysis.stats.early import seed_noise_at
from analysis.stats.effects import summary
from analysis.stats.fidelity import ladder
from analysis.stats.study import Study
from analysis.stats.surrogate import Surrogate

MOSTLY = 0.5
"""Share of the variance from which on a rung is mostly noise."""
LEAST = 6
"""Trials with a score at a rung below which nothing is said of it."""


@dataclass(frozen=True, kw_only=True)
class RungNoise:
    """Of the rung after ``epoch`` epochs. ``seeds`` and ``trials``: standard deviations there, of runs of one
    configuration that differ in the seed, and of ``count`` trials. ``share``: the ratio of their squares, at most 1,
    with its interval, that of the seeds alone. ``runs`` and ``configs``: what the seeds' stands on; 0: the surrogate's,
    which counts as noise what it cannot model. ``better``: the first epoch with a score for which the share is below
    `MOSTLY`; None where there is none before the end, or none is known."""

    epoch: int
    seeds: float
    trials: float
    count: int
    share: float
    low: float
    high: float
    runs: int
    configs: int
    better: int | None

    @property
    def mostly(self) -> bool:
        """Whether most of what the rung ranks is luck."""
        return self.share > MOSTLY


Apart = tuple[float, float, float, int, int]
"""The seeds' standard deviation with its interval, runs and configurations."""


def rung_noise(
    study: Study, seeded: Study, surrogate: Surrogate | None = None, *, epoch: int | None = None
) -> RungNoise | None:
    """Of the first rung; None where what seeds differ by there is not known, or too few trials have a score there.

    For a later epoch the trials that are left are a selection, and differ less than all would. So, where a scheduler
    stopped trials, configurations are taken to differ there by as much as at the rung.

    Args:
        study: the search.
        seeded: runs of one configuration with several seeds: the search's or the confirmation's, of the same length.
        surrogate: one that predicts better than the mean; asked where no configuration has several seeds.
        epoch: of the rung, if it is not the study's own.
    """
    epochs = ladder(study.grace_epochs, study)
    if epoch is None and not epochs:
        return None
    rung = epochs[0] if epoch is None else epoch
    scores = np.array(list(study.at(rung).values()))
    apart = _apart(seeded, surrogate, rung, length=study.max_epochs)
    if apart is None or len(scores) < LEAST or rung >= study.max_epochs or not scores.std():
        return None
    spread = float(scores.std(ddof=1))
    share, low, high = (min(1.0, (one / spread) ** 2) for one in apart[:3])
    between = spread**2 - apart[0] ** 2
    selected = any(trial.state == "stopped" for trial in study.trials)
    better = None
    for later in sorted({later for trial in study.trials for later in trial.curve if rung < later < study.max_epochs}):
        then = _apart(seeded, surrogate, later, length=study.max_epochs)
        there = np.array(list(study.at(later).values()))
        if then is None or (not selected and len(there) < LEAST):
            continue
        whole = between + then[0] ** 2 if selected else float(there.var(ddof=1))
        if whole > 0 and then[0] ** 2 <= MOSTLY * whole:
            better = later
            break
    return RungNoise(
        epoch=rung,
        seeds=apart[0],
        trials=spread,
        count=len(scores),
        share=share,
        low=low,
        high=high,
        runs=apart[3],
        configs=apart[4],
        better=better,
    )


def _apart(seeded: Study, surrogate: Surrogate | None, epoch: int, *, length: int) -> Apart | None:
    same_length = all(trial.epochs <= length for trial in seeded.trials)
    found = seed_noise_at(seeded, epoch) if same_length else None
    if found is not None:
        return found.value, found.low, found.high, found.runs, found.configs
    if surrogate is None or epoch not in surrogate.levels:
        return None
    return (*summary(surrogate.apart[:, surrogate.levels.index(epoch)]), 0, 0)
