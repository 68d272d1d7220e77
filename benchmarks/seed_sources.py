"""Do the intervals of "What makes seeds differ?" hold, and is a source that adds nothing said to add something?

    python -m benchmarks.seed_sources     # prints the table; some five minutes of one core

Every repetition draws the normal scores of one crossed grid over three seeds, of which `analysis.stats.seed_sources`
splits the variance, and compares with what they were drawn from.
"""

import math
import os
import platform
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Annotated, Any

import numpy as np
import typer

from analysis.stats.seed_sources import CONFIGURATION, TOGETHER, Split, splits
from analysis.stats.variance_split import Floats, Source

SEEDS = ("draw", "init", "order")


@dataclass(frozen=True, kw_only=True)
class Design:
    """One crossed grid: ``variances`` of the sources, of which the share ``own`` is each configuration's own."""

    levels: tuple[int, int, int]
    configurations: int
    variances: Mapping[Source, float]
    own: float = 0.5

    @property
    def factors(self) -> tuple[str, ...]:
        """Names of the axes of the scores."""
        return (CONFIGURATION, *SEEDS) if self.configurations > 1 else SEEDS

    def truth(self, source: Source) -> float:
        """The variance that a part stands for."""
        if source == TOGETHER:
            return sum(value for name, value in self.variances.items() if len(name) > 1)
        return self.variances.get(source, 0.0)

    def __str__(self) -> str:
        given = ", ".join(f"{' × '.join(name)} {value:g}" for name, value in self.variances.items())
        return f"{' × '.join(map(str, self.levels))} | {self.configurations} | {given}"


DRAW, INIT, ORDER = [(name,) for name in SEEDS]
DESIGNS = (
    Design(levels=(3, 3, 3), configurations=1, variances={DRAW: 4, INIT: 1, SEEDS: 1}),
    Design(levels=(3, 3, 3), configurations=2, variances={DRAW: 4, INIT: 1, ("init", "order"): 0.5, SEEDS: 1}, own=0.3),
    Design(levels=(2, 2, 2), configurations=2, variances={DRAW: 1, SEEDS: 1}),
    Design(levels=(5, 3, 3), configurations=3, variances={ORDER: 2, ("draw", "init"): 1, SEEDS: 1}, own=0.1),
    Design(levels=(3, 3, 3), configurations=2, variances={SEEDS: 1}),
)


def drawn(design: Design, rng: np.random.Generator) -> Floats:
    """Scores of one grid, an axis for each of its factors."""
    scores = np.zeros((design.configurations, *design.levels))
    for source, variance in design.variances.items():
        shape = [count if name in source else 1 for name, count in zip(SEEDS, design.levels, strict=True)]
        scores = scores + math.sqrt(variance * (1 - design.own)) * rng.standard_normal([1, *shape])
        scores = scores + math.sqrt(variance * design.own) * rng.standard_normal([design.configurations, *shape])
    return scores if design.configurations > 1 else scores[0]


def rates(design: Design, repetitions: int) -> tuple[list[float], list[float], list[float]]:
    """Of a run and, with several configurations, of a pair: how often the interval of the standard deviation holds, how
    often those of the shares do, and how often a source that adds nothing is shown to add something. A list each."""
    rng = np.random.default_rng(0)
    sd: dict[str, list[bool]] = defaultdict(list)
    share: dict[tuple[str, Source], list[bool]] = defaultdict(list)
    false: dict[tuple[str, Source], list[bool]] = defaultdict(list)
    total = sum(design.variances.values())
    for _ in range(repetitions):
        run, pair = splits(drawn(design, rng), design.factors)
        found: Sequence[tuple[str, Split | None, float]] = (("run", run, total), ("pair", pair, 2 * design.own * total))
        for name, split, variance in found:
            if split is None:
                continue
            sd[name].append(split.sd.low <= math.sqrt(variance) <= split.sd.high)
            for part in split.parts:
                true = design.truth(part.source)
                share[name, part.source].append(part.share.low - 1e-9 <= true / total <= part.share.high + 1e-9)
                if not true:
                    false[name, part.source].append(part.shown)
    return _means(sd), _means(share), _means(false)


def _means(kind: Mapping[Any, Sequence[bool]]) -> list[float]:
    return [float(np.mean(one)) for one in kind.values()]


def span(values: Sequence[float]) -> str:
    """Smallest and largest in percent."""
    low, high = (f"{100 * value:.1f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def main(repetitions: Annotated[int, typer.Option(min=100)] = 2000) -> None:
    """Print the table."""
    lines = [
        '# "What makes seeds differ?": how often its intervals hold',
        "",
        f"{repetitions} crossed grids of normal scores a row. Values of the seeds of labelled draw, initialisation and "
        "order; configurations; variances of the sources and their interactions, other ones 0. In percent, from the "
        "smallest to the largest over sources, runs and pairs; nominal 95.",
        "",
        "| values | configurations | variances | interval of the standard deviation holds | of a share | a source that "
        "adds nothing is shown |",
        "|---|---|---|---|---|---|",
    ]
    for design in DESIGNS:
        sd, share, false = rates(design, repetitions)
        lines.append(f"| {design} | {span(sd)} | {span(share)} | {span(false) if false else '–'} |")
    lines += [
        "",
        "Command: `python -m benchmarks.seed_sources`.",
        f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, numpy {version('numpy')}, scipy "
        f"{version('scipy')}; {platform.machine()}, one of {os.cpu_count()} cores.",
    ]
    typer.echo("\n".join(lines))


if __name__ == "__main__":
    typer.run(main)
