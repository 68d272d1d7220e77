"""Do the score intervals of a final recipe hold for the arm that a race chose? Equal arms, so that the winner is chosen
by luck alone, the race stopping when it is decided.

`python -m benchmarks.prediction --races 1000` prints the table of `benchmarks/results/prediction_202611.md`.
"""

from typing import Annotated

import numpy as np
import typer

from analysis.stats.confirm.lost_runs import lost_runs, typical_runs
from analysis.stats.confirm.prediction import predict
from analysis.stats.confirm.race_plan import RacePlan
from analysis.stats.confirm.seed_race import progress

NOISE, DELTA, FIRST, SEEDS, RUNS = 0.45, 0.3, 3, 10, 3
ARMS = (2, 5, 10)
COLLAPSES = (0.0, 0.1)
"""Share of runs that lose 5 to 10 points."""


def race(rng: np.random.Generator, arms: int, collapses: float) -> dict[str, dict[int, float]]:
    """The scores of a race over equal arms, round after round, until it is over."""
    names = [f"arm {number}" for number in range(arms)]
    pairs = tuple((names[0], other) for other in names[1:])
    plan = RacePlan(delta=DELTA, first_seeds=FIRST, max_seeds=SEEDS, comparisons=pairs)
    scores: dict[str, dict[int, float]] = {name: {} for name in names}
    while wanted := progress(scores, plan).wanted:
        for arm, seed in wanted:
            fall = rng.uniform(5, 10) if rng.random() < collapses else 0.0
            scores[arm][seed] = 70 + rng.normal(0, NOISE) - fall
    return scores


def inside(rng: np.random.Generator, scores: dict[str, dict[int, float]]) -> tuple[bool, bool] | None:
    """Whether one new typical run, and the mean of `RUNS` of them, of the arm with the best mean of typical runs are in
    their intervals; None where there is no interval."""
    typical = typical_runs(scores, lost_runs(scores, delta=DELTA))
    best = max(typical.values(), key=lambda of_arm: np.mean(list(of_arm.values())))
    found = predict(list(best.values()), runs=RUNS, arms=len(scores))
    if found is None:
        return None
    new = rng.normal(70, NOISE, RUNS)
    return found.one[0] <= new[0] <= found.one[1], found.mean[0] <= new.mean() <= found.mean[1]


def main(races: Annotated[int, typer.Option(min=10)] = 1000, seed: int = 0) -> None:
    """Print the coverage of both intervals, for the arm that leads."""
    typer.echo(f"| arms | runs that collapse | races | one new run | mean of {RUNS} |\n|---|---|---|---|---|")
    for arms in ARMS:
        for collapses in COLLAPSES:
            rng = np.random.default_rng(seed)
            found = [inside(rng, race(rng, arms, collapses)) for _ in range(races)]
            told = [one for one in found if one is not None]
            one, mean = (100 * sum(side) / len(told) for side in zip(*told, strict=True))
            typer.echo(f"| {arms} | {collapses:.0%} | {len(told)} | {one:.1f} % | {mean:.1f} % |")


if __name__ == "__main__":
    typer.run(main)
