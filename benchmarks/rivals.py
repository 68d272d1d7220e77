"""How often "Which method?" says that a leader is apart from another where all are equal.

    python -m benchmarks.rivals          # some five minutes of one core

Each repetition draws normal scores for `CHOICES` equal choices and asks `analysis.stats.all_choices` for the leader's
intervals; it is an error if any of them excludes 0.
"""

import math
from itertools import product
from typing import Annotated

import numpy as np
import typer

from analysis.stats.all_choices import differences
from analysis.stats.two_choices import Tried

CHOICES = 15
COUNTS = {"3 each": [3] * 15, "4 each": [4] * 15, "6 each": [6] * 15, "3, 5 and 9": [3] * 5 + [5] * 5 + [9] * 5}
UNEQUAL = 0.7
"""Standard deviation of the logarithm of the choices' standard deviations, where these differ."""


def wrong(counts: list[int], spreads: np.ndarray, rng: np.random.Generator) -> bool:
    """Whether the leader of one repetition is apart from any other."""
    groups = [list(rng.normal(0, spread, count)) for spread, count in zip(spreads, counts, strict=True)]
    groups.sort(key=lambda own: -sum(own) / len(own))
    arms: list[Tried] = [{(("number", str(number)),): {0: score} for number, score in enumerate(own)} for own in groups]
    return any(not low <= 0 <= high for _, low, high in differences(arms, furthest=math.inf))


def main(repetitions: Annotated[int, typer.Option(min=100)] = 2000) -> None:
    """Print the table."""
    typer.echo("| scores | standard deviations | leaders wrongly apart |\n|---|---|---|")
    for (name, counts), unequal in product(COUNTS.items(), (False, True)):
        rng = np.random.default_rng(0)
        spreads = np.exp(rng.normal(0, UNEQUAL, CHOICES)) if unequal else np.ones(CHOICES)
        share = np.mean([wrong(counts, spreads, rng) for _ in range(repetitions)])
        typer.echo(f"| {name} | {'differ' if unequal else 'equal'} | {share:.1%} ({repetitions} repetitions) |")


if __name__ == "__main__":
    typer.run(main)
