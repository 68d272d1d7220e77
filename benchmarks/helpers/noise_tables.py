"""The page of `benchmarks/noise.py`: the variance split, what each remedy gains, and how many scenes are enough."""

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from analysis.stats.variance_split import components, remaining
from benchmarks.helpers.scored_training import Counts, miou

Scores = NDArray[np.float64]
Cell = tuple[int, ...]

READINGS = {
    "last evaluation": ("last0",),
    "mean of the last 2": ("last0", "last1"),
    "mean of the last 3": ("last0", "last1", "last2"),
    "averaged weights, decay 0.97": ("ema0.97",),
    "averaged weights, decay 0.99": ("ema0.99",),
}
SCENES = (25, 50, 100, 200, 400)
SUBSETS = 200


class Design:
    """The counts of one method's crossed design."""

    def __init__(self, counts: Mapping[Cell, Mapping[str, Counts]], *, levels: int) -> None:
        self._counts, self.levels = counts, levels

    @cached_property
    def scenes(self) -> int:
        """Scenes that every run was scored on."""
        return int(next(iter(self._counts.values()))["last0"].shape[1])

    def scores(self, names: Sequence[str], scenes: NDArray[np.int64] | slice = slice(None)) -> Scores:
        """mIoU of every cell, % (levels, levels, levels): the mean over evaluations of these names."""
        found = np.empty((self.levels,) * 3)
        for cell, counts in self._counts.items():
            found[cell] = np.mean([miou(counts[name], scenes) for name in names])
        return found


def within_lists(scores: Scores) -> float:
    """Standard deviation of runs that share their labelled list (the first axis)."""
    return float(np.sqrt(scores.reshape(len(scores), -1).var(axis=1, ddof=1).mean()))


def with_differences(designs: Mapping[str, Scores]) -> dict[str, Scores]:
    """The methods, and the paired differences from the first."""
    first = next(iter(designs))
    return {**designs, **{f"{name} - {first}": one - designs[first] for name, one in designs.items() if name != first}}


def by_scenes(designs: Mapping[str, Design], scenes: int, rng: np.random.Generator) -> dict[str, float]:
    """`within_lists` of all columns when every run is scored on the same few scenes: root mean square over random
    choices of them."""
    squares: dict[str, list[float]] = {}
    for _ in range(SUBSETS):
        chosen = rng.choice(next(iter(designs.values())).scenes, size=scenes, replace=False)
        scores = {method: design.scores(("last0",), chosen) for method, design in designs.items()}
        for name, one in with_differences(scores).items():
            squares.setdefault(name, []).append(within_lists(one) ** 2)
    return {name: float(np.sqrt(np.mean(found))) for name, found in squares.items()}


def render(designs: Mapping[str, Design], factors: Sequence[str]) -> str:
    """The page as Markdown."""
    levels = next(iter(designs.values())).levels
    scenes = next(iter(designs.values())).scenes
    last = {method: design.scores(("last0",)) for method, design in designs.items()}
    lines = [
        "# What makes seeds differ, and what makes them differ less",
        "",
        f"`digits`, the training of `benchmarks/noise.yaml` (600 steps, 12 labelled scenes), mIoU in % on {scenes} "
        f"scenes of held-out scans. Crossed design: {levels} labelled lists x {levels} initialisations x {levels} "
        f"orders, {levels**3} runs of each method.",
        "",
        "## The variance of a run, by source",
        "",
        f"Variance components by the method of moments, in mIoU². Each source alone rests on {levels - 1} "
        "degrees of freedom, so these are rough; a component below 0 means that none was seen.",
        "",
        *_split(last, factors),
        "",
        "## What makes the seeds differ less",
        "",
        "Standard deviation (SD) of runs with the labelled list fixed, and what a comparison needs: seeds in "
        "proportion to the squared SD, relative to the score after the last evaluation.",
        "",
        *_remedies(designs),
        "",
        "## Held-out scenes",
        "",
        "SD of runs with the labelled list fixed, when all are scored on the same few scenes (root mean square over "
        f"{SUBSETS} random choices of them).",
        "",
        *_scenes(designs),
        "",
        "Commands: `python -m benchmarks.noise run --folder studies/noise`, then `table`.",
        f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, torch {version('torch')}; "
        f"{platform.machine()}, {os.cpu_count()} cores, no GPU.",
        "",
    ]
    return "\n".join(lines)


def _split(last: Mapping[str, Scores], factors: Sequence[str]) -> list[str]:
    columns = with_differences(last)
    splits = {name: components(scores, factors) for name, scores in columns.items()}
    rows = ["| source | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for source in next(iter(splits.values())):
        words = " x ".join(source) + (" (and all else)" if len(source) == len(factors) else "")
        rows.append(f"| {words} | " + " | ".join(f"{split[source]:.2f}" for split in splits.values()) + " |")
    totals = [max(remaining(split, fixed=[]), 0) ** 0.5 for split in splits.values()]
    listed = [within_lists(scores) for scores in columns.values()]
    means = [f"{scores.mean():.2f}" for scores in columns.values()]
    rows.append("| **SD, everything new** | " + " | ".join(f"{value:.2f}" for value in totals) + " |")
    rows.append("| **SD, labelled list fixed** | " + " | ".join(f"{value:.2f}" for value in listed) + " |")
    rows.append("| mean | " + " | ".join(means) + " |")
    return rows


def _remedies(designs: Mapping[str, Design]) -> list[str]:
    rows: list[str] = []
    base: dict[str, float] = {}
    for reading, names in READINGS.items():
        scores = with_differences({method: design.scores(names) for method, design in designs.items()})
        if not rows:
            heads = [f"{name}: mean, SD, seeds" for name in scores]
            rows = ["| score | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
            base = {name: within_lists(one) for name, one in scores.items()}
        cells = [
            f"{one.mean():.2f}, {within_lists(one):.2f}, x {(within_lists(one) / base[name]) ** 2:.2f}"
            for name, one in scores.items()
        ]
        rows.append(f"| {reading} | " + " | ".join(cells) + " |")
    return rows


def _scenes(designs: Mapping[str, Design]) -> list[str]:
    rng = np.random.default_rng(0)
    every = next(iter(designs.values())).scenes
    rows: list[str] = []
    for scenes in (*(count for count in SCENES if count < every), every):
        found = by_scenes(designs, scenes, rng)
        if not rows:
            rows = ["| scenes | " + " | ".join(found) + " |", "|---|" + "---|" * len(found)]
        rows.append(f"| {scenes} | " + " | ".join(f"{value:.2f}" for value in found.values()) + " |")
    return rows
