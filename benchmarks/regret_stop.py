"""When `budget.stop: regret` and `budget.no_improvement` end a search, and what that loses, by simulation.

`python -m benchmarks.regret_stop --raw RAW.jsonl --trials 400 --out TABLES.md`. RAW keeps what has been measured, so
that the command can be stopped and started again.

Every repetition is a problem of `benchmarks.anytime`. Our search (TPE under ASHA with its quota) has so many trials,
and all rules are asked as it goes on. A stop is false if the search to its end finds a configuration that is worth
more, by more than seeds differ by, than the best at the stop. Trials that run then may still find it: they are not
waited for here, so that stops look worse than they are.
"""

import json
import math
import platform
import random
import statistics
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from threadpoolctl import threadpool_limits

from benchmarks.anytime import FAMILIES, Asked, Problem
from benchmarks.helpers.command_line import called, run_command, written
from benchmarks.helpers.recorded_digits import RecordedDigits, shipped
from benchmarks.helpers.search_problems import CONCURRENT, EPOCHS
from benchmarks.helpers.trained_curves import TrainedCurves, space_of
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import BudgetConfig, StudyConfig
from ipix_tune.search.budget import budget_of
from ipix_tune.study.simulation.curve import JITTER, Curves
from ipix_tune.study.simulation.simulator import Simulated, Simulation

TRAINED, SEEDS = 8, 5
RULES: dict[str, dict[str, Any]] = {
    "stop: regret": {"stop": "regret"},
    "no_improvement: {trials: 30}": {"no_improvement": {"trials": 30}},
    "no_improvement: {trials: 60}": {"no_improvement": {"trials": 60}},
}
Row = dict[str, Any]


def noise_of(curves: Curves) -> float:
    """Standard deviation between seeds: of a formula its jitter, else the median over good configurations with several
    seeds each."""
    if isinstance(curves, TrainedCurves):
        return _noise_of_trainings(curves.family, curves.name)
    if isinstance(curves, RecordedDigits):
        return _noise_of_recorded()
    return 100 * JITTER


@cache
def _noise_of_trainings(family: str, name: str) -> float:
    """Of `TRAINED` configurations, drawn evenly, with `SEEDS` seeds each."""
    space, rng = space_of(family), random.Random(1)
    drawn = [space.sample(rng) for _ in range(TRAINED)]
    seeds = [TrainedCurves(family, name, 200_000 + seed) for seed in range(SEEDS)]
    return _among_the_better([[one.curve(values).scores[-1] or 0.0 for one in seeds] for values in drawn])


@cache
def _noise_of_recorded() -> float:
    ends: dict[int, list[float]] = defaultdict(list)
    for row in shipped():
        if len(row["scores"]) == EPOCHS:
            ends[row["configuration"]].append(row["scores"][-1])
    return _among_the_better([one for one in ends.values() if len(one) > 1])


def _among_the_better(ends: list[list[float]]) -> float:
    """Median standard deviation of the configurations with the better half of the means."""
    return statistics.median(map(statistics.stdev, sorted(ends, key=statistics.fmean)[len(ends) // 2 :]))


def measure(family: str, seed: int, trials: int) -> list[Row]:
    """The rows of one problem."""
    one = Problem(family, seed)
    noise, curves, study = noise_of(one.curves), Asked(one.curves), one.study(trials=trials)
    simulation = Simulation(study, curves, max_epochs=EPOCHS, concurrent=CONCURRENT)
    rules = {name: _limited(study, rule, noise) for name, rule in RULES.items()}
    asked = {
        name: budget_of(limited, SearchSpace(limited), simulation.trials, max_epochs=EPOCHS)
        for name, limited in rules.items()
    }
    stops: dict[str, Row] = {}

    def best_worth(outcome: Simulated) -> float:
        """What the configuration with the best last score is worth."""
        if not outcome.ended:
            return -math.inf
        return one.worth(curves.values[id(max(outcome.ended, key=lambda end: end.scores[-1] or 0.0))])

    def look(outcome: Simulated) -> bool:
        for name, budget in asked.items():
            if name not in stops and simulation.trials.started < trials and budget.converged() is not None:
                stops[name] = {
                    "trials": simulation.trials.started,
                    "epochs": outcome.epochs,
                    "worth": best_worth(outcome),
                    "stopped": True,
                }
        return False

    whole = simulation.run(until=look)
    reached = best_worth(whole)
    end = {"trials": trials, "epochs": whole.epochs, "worth": reached, "stopped": False}
    return [
        {"family": family, "seed": seed, "rule": name, "of": whole.epochs, "reached": reached, "noise": noise}
        | stops.get(name, end)
        for name in RULES
    ]


def _limited(study: StudyConfig, rule: Mapping[str, Any], noise: float) -> StudyConfig:
    """The study with a rule; what counts as an improvement is as much as seeds differ by."""
    values = {name: {**one, "by": noise} if isinstance(one, dict) else one for name, one in rule.items()}
    budget = BudgetConfig.model_validate({"trials": study.budget.trials, **values})
    return study.model_copy(update={"budget": budget})


def render(rows: list[Row], *, command: str) -> str:
    """The table as Markdown."""
    lines = [
        "# When to stop, by simulation",
        "",
        f"{CONCURRENT} trials at once, {EPOCHS} epochs each in full. `stopped`: problems on which the rule ended the",
        "search. `trials`: median at the stop. `false`: problems on which the search to its end found what is worth",
        "more than the best at the stop, by more than the seeds' standard deviation. `epochs`: median share of the",
        "whole search's that were spent. `lost`: median and largest loss, in the seeds' standard deviations. The last",
        "two are over all problems.",
        "",
        "| family | problems | rule | stopped | trials | false | epochs | lost |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for family in dict.fromkeys(row["family"] for row in rows):
        for rule in RULES:
            own = [row for row in rows if row["family"] == family and row["rule"] == rule]
            lost = [(row["reached"] - row["worth"]) / row["noise"] for row in own]
            stops = [row["trials"] for row in own if row["stopped"]]
            lines.append(
                f"| {family} | {len(own)} | `{rule}` | {len(stops)} | {statistics.median(stops) if stops else '–'} "
                f"| {sum(one > 1 for one in lost)} | {statistics.median(row['epochs'] / row['of'] for row in own):.2f} "
                f"| {statistics.median(lost):.2f}, {max(lost):.2f} |"
            )
    versions = ", ".join(f"{name} {version(name)}" for name in ("optuna", "ray", "numpy", "scipy"))
    return "\n".join(
        [
            *lines,
            "",
            f"Command: `{command}`; 2 cores, no GPU.",
            f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, {versions}.",
            "",
        ]
    )


def main(
    raw: Annotated[Path, typer.Option(help="JSON lines, read and added to.")],
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
    families: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(FAMILIES),
    trials: Annotated[int, typer.Option(min=1, help="Of a search to its end.")] = 400,
    repetitions: Annotated[int, typer.Option(min=1)] = 10,
    first_seed: Annotated[int, typer.Option(min=0, help="Seeds 1000 and up are for tuning.")] = 0,
) -> None:
    """Measure what is missing and print, or write, the table."""
    rows = [json.loads(line) for line in raw.read_text().splitlines()] if raw.exists() else []
    known = {(row["family"], row["seed"]) for row in rows}
    for seed in range(first_seed, first_seed + repetitions):
        for family in families.split(","):
            if (family, seed) in known:
                continue
            with threadpool_limits(1):
                found = measure(family, seed, trials)
            rows += found
            with raw.open("a") as stream:
                stream.writelines(json.dumps(row) + "\n" for row in found)
    written(render(rows, command=called("regret_stop")), out)


if __name__ == "__main__":
    run_command(main)
