"""One choice against another, as the search happened to try them: observational, not paired."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.stats.bootstrap import mean_difference
from analysis.stats.study import Study

LEAST = 3
"""Trials of each choice below which no interval is given."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Scores of two choices of ``name`` after ``epoch`` epochs. ``difference``: mean(first) - mean(second), with its
    95 % interval; None with fewer than `LEAST` trials of either."""

    name: str
    first: str
    second: str
    epoch: int
    first_scores: tuple[float, ...]
    second_scores: tuple[float, ...]
    difference: tuple[float, float, float] | None
    seeds: str


def compare(study: Study, name: str, *, first: str, second: str) -> Comparison | None:
    """At the largest budget at which both choices have `LEAST` trials, else the largest at which both have one; None
    where they have none in common."""
    by_epoch = {
        epoch: (scores_of(study, name, first, epoch), scores_of(study, name, second, epoch))
        for epoch in study.budgets()
    }
    for least in (LEAST, 1):
        shared = [epoch for epoch, (a, b) in by_epoch.items() if min(len(a), len(b)) >= least]
        if shared:
            epoch = max(shared)
            a, b = by_epoch[epoch]
            difference = None
            if least == LEAST:
                value, (low, high) = mean_difference(np.array(a), np.array(b))
                difference = (value, low, high)
            return Comparison(
                name=name,
                first=first,
                second=second,
                epoch=epoch,
                first_scores=tuple(a),
                second_scores=tuple(b),
                difference=difference,
                seeds=study.seeds_each(),
            )
    return None


def scores_of(study: Study, name: str, choice: Any, epoch: int) -> list[float]:
    """Of the trials with this choice that have a score after ``epoch`` epochs, whatever became of them."""
    return [trial.curve[epoch] for trial in study.trials if epoch in trial.curve and trial.values.get(name) == choice]
