"""Of a confirmation that was run: would the mean over its last evaluations have been the quieter score?"""

import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import stats

from analysis.stats.variance_split import components

Scores = NDArray[np.float64]


def curves(study: Path, metric: str = "val/miou") -> Scores:
    """Scores (arms, seeds, evaluations) of the confirmation in a study's `tables/`, of the seeds that every arm has.

    Raises:
        ValueError: it has no confirmation of two arms and two common seeds.
    """
    runs = pq.read_table(study / "tables" / "runs.parquet").to_pylist()
    history = pq.read_table(study / "tables" / "history.parquet").to_pylist()
    keys = {row["run_id"]: (row["arm"], row["arm_seed"]) for row in runs if row.get("arm") is not None}
    found: dict[tuple[str, int], dict[int, float]] = {}
    for row in history:
        if row["run_id"] in keys and row.get(metric) is not None:
            found.setdefault(keys[row["run_id"]], {})[row["epoch"]] = row[metric]
    arms = sorted({arm for arm, _ in found})
    seeds = sorted(seed for seed in {seed for _, seed in found} if all((arm, seed) in found for arm in arms))
    if len(arms) < 2 or len(seeds) < 2:
        raise ValueError(f"{study}: no confirmation of two configurations with two common seeds")
    return np.array([[[score for _, score in sorted(found[arm, seed].items())] for seed in seeds] for arm in arms])


def residuals(scores: Scores) -> Scores:
    """What is left of scores (arms, seeds) without the arms' and the seeds' means: the noise of paired differences."""
    found: Scores = scores - scores.mean(axis=0) - scores.mean(axis=1, keepdims=True) + scores.mean()
    return found


def paired_sd(scores: Scores) -> float:
    """Standard deviation of the difference of two arms with one seed, over all pairs of arms."""
    degrees = (scores.shape[0] - 1) * (scores.shape[1] - 1)
    return math.sqrt(2 * float((residuals(scores) ** 2).sum()) / degrees)


def variance_ratio(scores: Scores, reference: Scores) -> tuple[float, float, float]:
    """Var(scores) / Var(reference) of paired differences, and its 95 % interval for normal noise (Morgan 1939, Pitman
    1939: the correlation of sum and difference is 0 where two variances are equal)."""
    one, other = residuals(scores).ravel(), residuals(reference).ravel()
    degrees = (scores.shape[0] - 1) * (scores.shape[1] - 1)
    ratio = float((one @ one) / (other @ other))
    correlation = float(one @ other / math.sqrt((one @ one) * (other @ other)))
    quantile = float(stats.t.ppf(0.975, degrees - 1))
    spread = 1 + 2 * quantile**2 * (1 - correlation**2) / (degrees - 1)
    factor = spread + math.sqrt(spread**2 - 1)
    return ratio, ratio / factor, ratio * factor


def render(study: Path, *, most: int = 3) -> str:
    """A table as Markdown: for the mean of the last 1, 2, ... evaluations, level, noise and seeds needed."""
    found = curves(study)
    arms, seeds, evaluations = found.shape
    last = found[..., -1]
    split = components(last, ("configuration", "seed"))
    shared, own = split["seed",], split["configuration", "seed"]
    rows = [
        f"{arms} configurations, {seeds} paired seeds, {evaluations} evaluations a run.",
        "",
        f"Variance of the last score over seeds: {shared:.1f} mIoU² that all configurations of a seed share, which "
        f"pairing removes, and {own:.1f} of each run's own.",
        "",
        "| score | mean | SD of a paired difference | seeds needed, 95 % interval |",
        "|---|---|---|---|",
    ]
    for count in range(1, min(most, evaluations) + 1):
        scores = found[..., -count:].mean(axis=-1)
        ratio, low, high = variance_ratio(scores, last)
        seeds_needed = "x 1" if count == 1 else f"x {ratio:.2f} ({low:.2f} to {high:.2f})"
        name = "last evaluation" if count == 1 else f"mean of the last {count}"
        rows.append(f"| {name} | {scores.mean():.2f} | {paired_sd(scores):.2f} | {seeds_needed} |")
    return "\n".join([*rows, ""])
