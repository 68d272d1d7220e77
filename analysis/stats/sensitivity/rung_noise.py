"""How much of what a rung ranks is luck: what seeds differ by there, against what all trials differ by."""

import math
from dataclasses import dataclass

import numpy as np

from analysis.stats.distributions import chi_squared
from analysis.stats.rung_correlation import ladder
from analysis.stats.sensitivity.anova_basis import Floats
from analysis.stats.sensitivity.effects import summary
from analysis.stats.sensitivity.stopped_early import SeedNoise, own_noise_at, seed_noise_at
from analysis.stats.sensitivity.surrogate import Surrogate
from analysis.stats.study import StudyTrials

MOSTLY = 0.5
"""Share of the variance above which a rung is mostly noise."""
LEAST = 6
"""Trials with a score at a rung below which nothing is said of it."""


@dataclass(frozen=True, kw_only=True)
class Later:
    """The share of luck after ``epoch`` epochs, with its 95 % interval."""

    epoch: int
    share: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class RungNoise:
    """Of the rung after ``epoch`` epochs. ``seeds`` and ``trials``: standard deviations there, of runs of one
    configuration that differ in the seed, and of ``count`` trials. ``share``: the ratio of their squares, at most 1,
    with its interval. ``runs`` and ``configs``: what the seeds' stands on; 0: the surrogate's, which counts as noise
    what it cannot model. ``own``: what a seed does to all configurations alike is left out of the seeds'. ``better``:
    the first later epoch with a score for which the share is estimated to be at most `MOSTLY`; None where there is none
    before the end, or none is known."""

    epoch: int
    seeds: float
    trials: float
    count: int
    share: float
    low: float
    high: float
    runs: int
    configs: int
    own: bool
    better: Later | None

    @property
    def mostly(self) -> bool:
        """Whether most of what the rung ranks is luck, by the whole interval of the share."""
        return self.low > MOSTLY

    @property
    def open(self) -> bool:
        """Whether the interval leaves it open that most of what the rung ranks is luck."""
        return self.low <= MOSTLY < self.high


@dataclass(frozen=True, kw_only=True)
class _Apart:
    """What seeds differ by; the fields are those of `RungNoise`, the interval that of ``value``."""

    value: float
    low: float
    high: float
    runs: int = 0
    configs: int = 0
    own: bool = False


def rung_noise(
    study: StudyTrials, seeded: StudyTrials, surrogate: Surrogate | None = None, *, epoch: int | None = None
) -> RungNoise | None:
    """Of the first rung; None where what seeds differ by there is not known, or too few trials have a score there.

    Where the search's trials ran with one seed, what that seed does to all of them alike, such as an easy draw of
    labelled images, changes no rank: it is left out where configurations share seeds, so that it can be told apart.

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
    one_seed = len({trial.chance for trial in study.trials if trial.curve}) == 1
    apart = _apart(seeded, surrogate, rung, length=study.max_epochs, one_seed=one_seed)
    if apart is None or len(scores) < LEAST or rung >= study.max_epochs or not scores.std():
        return None
    spread, least, most = _spread(scores)
    share, low, high = _share((apart.value, apart.low, apart.high), (spread, least, most))
    between = (spread**2 - apart.value**2, max(0.0, least**2 - apart.high**2), most**2 - apart.low**2)
    selected = any(trial.state == "stopped" for trial in study.trials)
    better = None
    for later in sorted({later for trial in study.trials for later in trial.curve if rung < later < study.max_epochs}):
        then = _apart(seeded, surrogate, later, length=study.max_epochs, one_seed=one_seed)
        there = np.array(list(study.at(later).values()))
        if then is None or (not selected and len(there) < LEAST):
            continue
        own = (then.value, then.low, then.high)
        if not selected:
            at, below, above = _share(own, _spread(there))
        elif between[0] + then.value**2 > 0:
            others = zip(own, (between[0], between[2], between[1]), strict=True)
            at, below, above = (one**2 / (one**2 + other) if one else 0.0 for one, other in others)
        else:
            continue
        if at <= MOSTLY:
            better = Later(epoch=later, share=at, low=below, high=above)
            break
    return RungNoise(
        epoch=rung,
        seeds=apart.value,
        trials=spread,
        count=len(scores),
        share=share,
        low=low,
        high=high,
        runs=apart.runs,
        configs=apart.configs,
        own=apart.own,
        better=better,
    )


def _spread(scores: Floats) -> tuple[float, float, float]:
    """Standard deviation of independent scores, with its 95 % interval."""
    spread, freedom = float(scores.std(ddof=1)), len(scores) - 1
    least, most = (spread * math.sqrt(freedom / chi_squared(p, freedom)) for p in (0.975, 0.025))
    return spread, least, most


def _share(seeds: tuple[float, float, float], trials: tuple[float, float, float]) -> tuple[float, float, float]:
    """Ratio of two variances, at most 1, from the standard deviations with their intervals: the variances of the two
    logarithms are recovered from the interval limits and added (Zou and Donner 2008)."""
    (value, low, high), (spread, least, most) = seeds, trials
    if not value or not spread:
        return (0.0, 0.0, 0.0) if not value else (1.0, 0.0, 1.0)
    down = math.hypot(math.log(value / low), math.log(most / spread)) if low > 0 else math.inf
    up = math.hypot(math.log(high / value), math.log(spread / least))
    share = (value / spread) ** 2
    return min(1.0, share), min(1.0, share * math.exp(-2 * down)), min(1.0, share * math.exp(2 * up))


def _apart(
    seeded: StudyTrials, surrogate: Surrogate | None, epoch: int, *, length: int, one_seed: bool
) -> _Apart | None:
    if all(trial.epochs <= length for trial in seeded.trials):
        found: SeedNoise | None = own_noise_at(seeded, epoch) if one_seed else None
        own = found is not None
        found = found or seed_noise_at(seeded, epoch)
        if found is not None:
            return _Apart(
                value=found.value, low=found.low, high=found.high, runs=found.runs, configs=found.configs, own=own
            )
    if surrogate is None or epoch not in surrogate.levels:
        return None
    value, low, high = summary(surrogate.apart[:, surrogate.levels.index(epoch)])
    return _Apart(value=value, low=low, high=high)
