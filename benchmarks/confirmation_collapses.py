"""Verdicts when runs collapse, and under other noise that is not normal: the confirmation's race on simulated seeds.

    python -m benchmarks.confirmation_collapses run            # goes on where it stopped
    python -m benchmarks.confirmation_collapses render --out benchmarks/results/confirmation_collapses_202611.md

Each cell races `benchmarks.helpers.confirmation_races`, under the present rule and under that of commit 76f6436, on the
same scores."""

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from analysis.stats.confirm.lost_runs import SPREADS
from analysis.stats.confirm.new_run import LEVEL as NEW_RUN
from analysis.stats.confirm.race_plan import RacePlan
from analysis.stats.confirm.results import LEVEL, mean_of
from analysis.stats.confirm.seed_race import leader, progress
from analysis.stats.proportions import exact_interval
from benchmarks.helpers.collapse_scenarios import DEPTH, EFFECTS, EXTENSIONS, RATES, SCENARIOS, WINNERS
from benchmarks.helpers.confirmation_cells import enough
from benchmarks.helpers.confirmation_races import Races, races

Array = NDArray[np.float64]
NOISE, SEEDS, FIRST, DELTA, ERROR, SHARED = 0.45, 10, 3, 0.3, 0.05, 0.3
PIECES = Path("studies/confirmation-collapses")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def scores_in(
    scenario: str, rng: np.random.Generator, *, repetitions: int, arms: int, effect: float = 0.0, seeds: int = SEEDS
) -> Array:
    """(repetitions, arms, seeds): noise of standard deviation `NOISE`, the first arm better by ``effect``. "In one arm"
    is the first; shared: with the same seeds in all. Skewed: a long tail (exponential) of bad seeds."""
    shared = 0.9 if scenario.endswith(".9") else SHARED
    size = (repetitions, arms, seeds)
    own, common = rng.standard_normal(size), rng.standard_normal((repetitions, 1, seeds))
    tail = 1 - rng.standard_exponential(size)
    if scenario.startswith("skewed"):
        own = np.concatenate((tail[:, :1], own[:, 1:]), axis=1) if scenario.endswith("one arm") else tail
    found = NOISE * (math.sqrt(shared) * common + math.sqrt(1 - shared) * own)
    if scenario.startswith("variance"):
        found[:, 0] *= 2 if "4:1" in scenario else 4
    found[:, 0] += effect
    if scenario.startswith("rounded"):
        step = float(scenario.split()[-1])
        found = np.round((found + rng.uniform(0, 1, (repetitions, 1, 1))) / step) * step
    if scenario.startswith("collapses"):
        lost = rng.random(size) < float(scenario.split()[2]) / 100
        if scenario.endswith("one arm"):
            lost[:, 1:] = False
        if scenario.endswith("shared"):
            lost[:] = lost[:, :1]
        found -= lost * rng.uniform(*DEPTH, size)
    return np.asarray(found)


def is_false(kind: NDArray[np.int_], effect: float) -> NDArray[np.bool_]:
    """Which verdicts, as `Races.kind` has them, are wrong where the first arm is better by ``effect``."""
    better, worse, equivalent = (kind == one for one in (1, -1, 0))
    return np.asarray((better & (effect <= 0)) | (worse & (effect >= 0)) | (equivalent & (abs(effect) >= DELTA)))


def plan_of(pairs: list[tuple[int, int]]) -> RacePlan:
    names = tuple((f"arm {one}", f"arm {other}") for one, other in pairs)
    return RacePlan(delta=DELTA, error=ERROR, first_seeds=FIRST, max_seeds=SEEDS, comparisons=names)


def verdicts(
    scenario: str,
    *,
    comparisons: int,
    effect: float,
    repetitions: int,
    before: bool,
    spreads: float = SPREADS,
    extensions: tuple[int, ...] = (),
) -> dict[str, Any]:
    """The first arm, better by ``effect``, against each of so many others, which are equal; the plan is extended where
    something is still undecided at its end."""
    rng = np.random.default_rng([SCENARIOS.index(scenario), comparisons, int(effect * 10)])
    plan = replace(plan_of([(0, other) for other in range(1, comparisons + 1)]), extensions=extensions)
    table = scores_in(scenario, rng, repetitions=repetitions, arms=comparisons + 1, effect=effect, seeds=plan.seeds)
    found = races(plan, table, before=before, spreads=spreads)
    kinds = {"better": 1, "worse": -1, "equivalent": 0, "undecided": 9}
    known = np.isfinite(found.low)
    return {
        "scenario": scenario, "comparisons": comparisons, "effect": effect, "n": repetitions, "spreads": spreads,
        **{name: int((found.kind == one).any(axis=1).sum()) for name, one in kinds.items()},
        "false": int(is_false(found.kind, effect).any(axis=1).sum()),
        "covered": int(((found.low <= effect) & (effect <= found.high)).all(axis=1).sum()),
        "outside": int((known & ((found.estimate < found.low) | (found.estimate > found.high))).any(axis=1).sum()),
        "new": 0 if before else _covers(found, table, _better_in_new_run(scenario, effect=effect)),
        "lost": float(found.lost[:, 0].sum() / found.seen[:, 0].sum()),
        "runs": float(found.seen.sum() / repetitions),
    }  # fmt: skip


def _better_in_new_run(scenario: str, *, effect: float) -> float:
    """P(first arm better than second), ties half, by 400,000 draws; two runs that both collapse are tied."""
    draws = scores_in(scenario, np.random.default_rng(1), repetitions=40_000, arms=2, effect=effect)
    least = -DEPTH[0] / 2 if scenario.startswith("collapses") else -math.inf
    first, second = np.maximum(draws[:, 0], least), np.maximum(draws[:, 1], least)
    return float((first > second).mean() + (first == second).mean() / 2)


def _covers(found: Races, table: Array, chance: float) -> int:
    """Races in which the interval of P(better in a new run), of the first comparison, holds the truth."""
    ranks = np.where(found.lost, -np.inf, table)
    both = found.seen[:, 0] & found.seen[:, 1]
    wins, ties = (ranks[:, 0] > ranks[:, 1]) & both, (ranks[:, 0] == ranks[:, 1]) & both
    counted = zip(wins.sum(axis=1), (wins | ties).sum(axis=1), both.sum(axis=1), strict=True)
    intervals = (exact_interval(int(least), int(of), level=NEW_RUN, most=int(most)) for least, most, of in counted)
    return sum(low <= chance <= high for low, high in intervals)


def winner(scenario: str, *, arms: int, repetitions: int, before: bool) -> dict[str, Any]:
    """Arms that are equal: how often the interval of the mean of the one that leads covers its true mean."""
    rng = np.random.default_rng([SCENARIOS.index(scenario), arms, 99])
    plan = plan_of([(0, other) for other in range(1, arms)])
    covered = led = 0
    for row in scores_in(scenario, rng, repetitions=repetitions, arms=arms):
        scores = {f"arm {arm}": dict(enumerate(map(float, of_arm))) for arm, of_arm in enumerate(row)}
        if before:
            best = max(scores, key=lambda arm: math.fsum(scores[arm].values()))
            mean = mean_of(scores[best])
        else:
            now = progress(scores, plan)
            leads = leader(scores, now, plan)
            mean = None if leads is None else mean_of(dict(now.typical[leads]), level=1 - (1 - LEVEL) / arms)
        if mean is not None:
            led += 1
            covered += mean.low <= 0 <= mean.high
    return {"scenario": scenario, "arms": arms, "n": led, "covered": covered}


def cells(repetitions: int) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Names and simulations, under the rule of commit 76f6436 and under the present one."""
    for before in (False, True):
        when = "before" if before else "after"
        for comparisons in (1, 10):
            for effect in EFFECTS if comparisons == 1 else (0.0, 0.4):
                for scenario in SCENARIOS:
                    sized = partial(verdicts, scenario, comparisons=comparisons, repetitions=repetitions)
                    name = f"{when}-{comparisons}-{effect}-{scenario}"
                    yield name, partial(sized, effect=effect, before=before)
        for comparisons in (1, 10):
            for rate in RATES:
                yield (
                    f"means-{when}-{comparisons}-{100 * rate:g}",
                    partial(
                        verdicts, f"collapses of {100 * rate:g} % in one arm", comparisons=comparisons,
                        effect=rate * sum(DEPTH) / 2, repetitions=repetitions, before=before,
                    ),
                )  # fmt: skip
        for arms in (5, 10):
            for scenario in WINNERS:
                cell = partial(winner, scenario, arms=arms, repetitions=repetitions // 4, before=before)
                yield f"winner-{when}-{arms}-{scenario}", cell
    for comparisons in (1, 10):
        yield f"enough-{comparisons}", partial(enough, comparisons=comparisons)
    for effect in (0.0, 0.6):
        for scenario in SCENARIOS:
            cell = partial(verdicts, scenario, comparisons=1, effect=effect, repetitions=repetitions, before=False)
            yield f"extended-{effect}-{scenario}", partial(cell, extensions=EXTENSIONS)
    for spreads in (4.0, 6.0):
        for effect in (0.0, 0.6):
            for scenario in SCENARIOS:
                cell = partial(verdicts, scenario, comparisons=1, effect=effect, repetitions=repetitions, before=False)
                yield f"spreads-{spreads}-{effect}-{scenario}", partial(cell, spreads=spreads)


@app.command("run")
def run(
    pieces: Annotated[Path, typer.Option(help="Folder of the cells' results.")] = PIECES,
    repetitions: Annotated[int, typer.Option(min=100, help="Of each cell.")] = 2000,
    only: Annotated[str, typer.Option(help="Cells whose name begins so.")] = "",
) -> None:
    """Simulate the cells that are not there yet."""
    pieces.mkdir(parents=True, exist_ok=True)
    for name, simulate in cells(repetitions):
        path = pieces / f"{name.replace(' ', '_').replace('%', 'percent')}.json"
        if path.exists() or not name.startswith(only):
            continue
        began = time.perf_counter()
        found = simulate()
        path.write_text(json.dumps(found | {"took_s": time.perf_counter() - began}))
        print(f"{name}: {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)


@app.command("render")
def render(
    out: Annotated[Path, typer.Option(help="Markdown file to write.")],
    pieces: Annotated[Path, typer.Option(help="Folder of the cells' results.")] = PIECES,
) -> None:
    """Before and after side by side, above what a person wrote under `## What this says`."""
    from benchmarks.helpers.confirmation_collapses_tables import page

    found = {path.stem: json.loads(path.read_text()) for path in sorted(pieces.glob("*.json"))}
    kept = out.read_text().partition("## What this says")[1:] if out.exists() else ()
    out.write_text(page(found) + "".join(kept))


if __name__ == "__main__":
    app()
