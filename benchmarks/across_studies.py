"""Does the interval over studies hold? Coverage of three ways to pool paired effects of few studies with few seeds.

    python -m benchmarks.across_studies --out PATH

A study's true effect is normal around the mean over studies; its seeds' differences are normal around that, with a
spread of the study's own. Intervals at 95 % for the mean over studies."""

import itertools
import math
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import scipy
import typer
from numpy.typing import NDArray
from scipy import stats

from benchmarks.confirmation_collapses import plan_of, scores_in
from benchmarks.helpers.confirmation_races import races

Array = NDArray[np.float64]
REPEATS, DRAWS = 4000, 200
STUDIES, SEEDS, SPREADS = (2, 3, 5, 10), (3, 10), (0.0, 0.3, 1.0)
NOISE = 0.45
"""Median standard deviation of a paired difference between seeds; between studies it varies by a factor of e^0.5."""
MEANS = (0.0, 0.3, 0.6, 1.0)
"""Mean effects of studies whose confirmations end early."""


def differences(rng: np.random.Generator, *, studies: int, seeds: int, spread: float) -> Array:
    """(repeats, studies, seeds), with the mean over studies at 0."""
    effects = spread * rng.standard_normal((REPEATS, studies, 1))
    noise = NOISE * np.exp(0.5 * rng.standard_normal((REPEATS, studies, 1)))
    return effects + noise * rng.standard_normal((REPEATS, studies, seeds))


def each_counts_once(found: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Student's t over the studies' means, as `analysis.stats.across_studies.pooled`."""
    means = found.mean(axis=2)
    count = means.shape[1]
    half = stats.t.ppf(0.975, count - 1) * means.std(axis=1, ddof=1) / math.sqrt(count)
    return means.mean(axis=1) - half, means.mean(axis=1) + half


def weighted(found: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Random effects by precision: Paule and Mandel's variance between studies, Hartung and Knapp's interval."""
    means, within = found.mean(axis=2), found.var(axis=2, ddof=1) / found.shape[2]
    count = means.shape[1]

    def q(between: Array) -> Array:
        weights = 1 / (within + between[:, None])
        centre = (weights * means).sum(axis=1) / weights.sum(axis=1)
        return np.asarray((weights * (means - centre[:, None]) ** 2).sum(axis=1))

    low, high = np.zeros(len(means)), np.full(len(means), 100.0)
    for _ in range(60):
        middle = (low + high) / 2
        above = q(middle) > count - 1
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    weights = 1 / (within + low[:, None])
    centre = (weights * means).sum(axis=1) / weights.sum(axis=1)
    error = np.sqrt(q(low) / (count - 1) / weights.sum(axis=1))
    half = stats.t.ppf(0.975, count - 1) * error
    return centre - half, centre + half


def stratified(found: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Percentile bootstrap of the seeds within each study."""
    repeats, studies, seeds = found.shape
    means = np.empty((DRAWS, repeats))
    for draw in range(DRAWS):
        picked = rng.integers(seeds, size=(repeats, studies, seeds))
        means[draw] = np.take_along_axis(found, picked, axis=2).mean(axis=(1, 2))
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return low, high


WAYS: dict[str, Callable[[Array, np.random.Generator], tuple[Array, Array]]] = {
    "each study once, t": each_counts_once,
    "by precision, Hartung-Knapp": weighted,
    "bootstrap of seeds": stratified,
}


def ended_early(rng: np.random.Generator) -> list[str]:
    """Rows of the second table."""
    plan = plan_of([(0, 1)])
    rows = []
    for studies, mean, spread in itertools.product(STUDIES, MEANS, SPREADS[:2]):
        count = REPEATS * studies
        scores = scores_in("Gaussian", rng, repetitions=count, arms=2)
        scores[:, 0] += mean + spread * rng.standard_normal((count, 1))
        cells = []
        for found in (races(plan, scores).estimate[:, 0], (scores[:, 0] - scores[:, 1]).mean(axis=1)):
            low, high = each_counts_once(found.reshape(REPEATS, studies, 1), rng)
            holds = np.mean((low <= mean) & (mean <= high))
            cells.append(f"{found.mean() - mean:+.3f} | {100 * holds:.1f}")
        rows.append(f"| {studies} | {mean:g} | {spread:g} | {' | '.join(cells)} |")
    return rows


def main(out: Annotated[Path, typer.Option(help="The page.")]) -> None:
    """Simulate, and write the page."""
    rng = np.random.default_rng(0)
    rows = []
    for studies in STUDIES:
        for seeds in SEEDS:
            for spread in SPREADS:
                found = differences(rng, studies=studies, seeds=seeds, spread=spread)
                cells = []
                for way in WAYS.values():
                    low, high = way(found, rng)
                    holds = np.mean((low <= 0) & (high >= 0))
                    cells.append(f"{100 * holds:.1f} ({np.median(high - low):.2f})")
                rows.append(f"| {studies} | {seeds} | {spread:g} | " + " | ".join(cells) + " |")
    early = ended_early(rng)
    head = f"| studies | seeds | spread of effects | {' | '.join(WAYS)} |"
    machine = f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}; 2 cores, no GPU"
    page = f"""# One answer over several studies: does its interval hold?

`python -m benchmarks.across_studies --out FILE`; {time.strftime("%Y-%m-%d")}; {machine}.

Simulated: {REPEATS:,} comparisons a row. A study's effect is normal around a mean of 0 with the spread of its row; its
paired differences between seeds have a standard deviation of {NOISE} at the median, which varies between studies by a
factor of e^0.5 (one standard deviation). Shown is how often the interval of 95 % holds the mean over studies, in
percent (standard error at most 0.8 at 50 %, 0.35 at 95 %), and its median width.

{head}
| ---: | ---: | ---: | ---: | ---: | ---: |
""" + "\n".join(rows)
    page += """

## Confirmations that end early

A confirmation ends as soon as it is decided, the sooner the larger its difference looks, so that its estimate is a
little too large. The same, of studies that race two arms (noise 0.45, 3 to 10 seeds, delta 0.3) as `ipix-tune confirm`
does, each counted once: by how much the mean over studies is off on average, and how often its interval holds; beside
it the same with all 10 seeds of every study.

| studies | mean effect | spread of effects | off by | holds | all seeds: off by | holds |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: |
""" + "\n".join(early)
    out.write_text(page + "\n")


if __name__ == "__main__":
    typer.run(main)
