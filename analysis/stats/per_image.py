"""On how many held-out images one configuration is better than another, and on which."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.ingest.held_out import HeldOut
from analysis.stats.per_class import by_seed, rival
from analysis.stats.study import StudyTrials, Trial

Reader = Callable[[Trial], HeldOut | None]
"""Gives what a run found on each held-out image."""


@dataclass(frozen=True, kw_only=True)
class ImageChange:
    """One image: mean IoU over its classes in percent, of both configurations and over the shared seeds."""

    name: str
    first: float
    second: float

    @property
    def change(self) -> float:
        """First minus second, in points."""
        return self.first - self.second


@dataclass(frozen=True, kw_only=True)
class ImageChanges:
    """``images``: the largest gain of ``first`` first. ``runs``: the two runs of the first shared seed."""

    first: Trial
    second: Trial
    seeds: int
    images: tuple[ImageChange, ...]
    runs: tuple[HeldOut, HeldOut]

    @property
    def better(self) -> int:
        """Images on which ``first`` is better."""
        return sum(one.change > 0 for one in self.images)

    @property
    def worse(self) -> int:
        """Images on which ``second`` is better."""
        return sum(one.change < 0 for one in self.images)

    @property
    def median(self) -> float:
        """The median change, in points."""
        return float(np.median([one.change for one in self.images]))


def image_scores(found: HeldOut) -> NDArray[np.float64]:
    """(n,) mean IoU of each image in percent, over the classes that occur in its prediction or truth; NaN where all
    its pixels are ignored."""
    right, wrong, missed = found.counts.transpose(1, 0, 2).astype(float)
    union = right + wrong + missed
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(100 * np.nansum(right / union, axis=1) / (union > 0).sum(axis=1))


def baseline(study: StudyTrials, best: Trial) -> Trial | None:
    """What the best configuration is held against: where seeds are shared as :func:`rival` says, else the study's first
    trial, which a study's points make the defaults, or the next best where that is the best itself or did not come to
    the end; None where no other configuration did."""
    found = rival(study, best)
    if found is not None:
        return found
    ranked = [study.runs_of(one)[0] for one in study.ranked]
    able = [trial for trial in (study.trials[0], *ranked) if trial in study.complete]
    return next((trial for trial in able if trial.settings != best.settings), None)


def image_changes(study: StudyTrials, first: Trial, second: Trial, read: Reader) -> ImageChanges | None:
    """Image by image, the mean over the seeds that both ran to the end with. None where no seed is shared, or a run has
    no file of its held-out images."""
    one, other = by_seed(study, first), by_seed(study, second)
    pairs = [(read(one[seed]), read(other[seed])) for seed in sorted(one.keys() & other.keys(), key=str)]
    known = [(ours, theirs) for ours, theirs in pairs if ours is not None and theirs is not None]
    known = [(ours, theirs) for ours, theirs in known if ours.epoch == theirs.epoch == study.max_epochs]
    if not known:
        return None
    scores: dict[str, list[tuple[float, float]]] = {}
    for ours, theirs in known:
        beside = dict(zip(theirs.names, image_scores(theirs), strict=True))
        for name, score in zip(ours.names, image_scores(ours), strict=True):
            if name in beside and not math.isnan(score) and not math.isnan(beside[name]):
                scores.setdefault(name, []).append((float(score), float(beside[name])))
    images = [
        ImageChange(name=name, first=float(np.mean(column[0])), second=float(np.mean(column[1])))
        for name, values in scores.items()
        if len(values) == len(known)
        for column in [np.array(values).T]
    ]
    if not images:
        return None
    return ImageChanges(
        first=first,
        second=second,
        seeds=len(known),
        images=tuple(sorted(images, key=lambda image: -image.change)),
        runs=known[0],
    )
