"""How good a search's best configuration is after so many epochs, up to a target that is hard to reach.

    python -m benchmarks.anytime run --raw RAW.jsonl           # goes on where it was left
    python -m benchmarks.anytime table --raw RAW.jsonl --out benchmarks/results/anytime_202611.md

Families and problems are those of `benchmarks.search_quality`, with the recorded trainings on `digits` as a fifth. The
target is what the best of many random configurations, trained in full, is worth (`TARGETS`); regret is how far the
search's best is from it, as a share of the way from their median. A search's best is the configuration with the best
score after the last epoch, as a user would take it, and what counts is what that one is worth: a formula without its
jitter, of a real training the mean of other seeds. A run ends at the target or after `BUDGET` epochs.

The searches of other projects are in `benchmarks.peers`; they are measured by the same functions.
"""

import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from optuna.samplers import BaseSampler
from threadpoolctl import threadpool_limits

from benchmarks.helpers.anytime_tables import BASE, BASE_AGAIN, MEDIAN_OF, REFERENCE, TARGETS, plot, render
from benchmarks.helpers.anytime_tables import BUDGET as BUDGET  # given on to whoever races beside
from benchmarks.helpers.anytime_tables import FAMILIES as FAMILIES
from benchmarks.helpers.anytime_tables import Raw as Raw
from benchmarks.helpers.member import Member
from benchmarks.helpers.search_problems import CONCURRENT, EPOCHS, study_of, truth
from ipix_tune.config.dimension_config import Dimension
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.search.samplers import optuna_sampler
from ipix_tune.study.simulation.curve import Curve, Curves
from ipix_tune.study.simulation.simulator import Simulated, Simulation
from ipix_tune.trainer.resources import Value

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A trial of full length: epochs of all trials until it ended, its own last score, and what it is worth."""

    epochs: int
    score: float
    worth: float


@dataclass(kw_only=True)
class Race:
    """What a search came to: the trials of full length in the order in which they ended, and the epochs of all.
    ``seconds``: of CPU time, trainings and the rest of the simulation included."""

    target: float
    ended: list[Ended] = field(default_factory=list)
    epochs: int = 0
    seconds: float = 0.0

    @property
    def won(self) -> bool:
        """Whether what a user would take is worth the target."""
        return bool(self.ended) and max(self.ended, key=lambda end: end.score).worth >= self.target


class Problem(Member):
    """One member of a family, its target, and races on it."""

    def worth(self, values: Mapping[str, Value]) -> float:
        return truth(self.curves, values)

    def reference(self) -> dict[str, float]:
        """The target, and the median of random configurations' scores."""
        wanted, space = TARGETS[self.family], SearchSpace(self.study(sampler="random", scheduler="none", trials=1))
        rng = random.Random(self.seed)
        drawn = [space.sample(rng) for _ in range(max(wanted.random, MEDIAN_OF))]
        scores = [self.curves.curve(values).scores[-1] or 0.0 for values in drawn]
        leading = sorted(range(wanted.random), key=scores.__getitem__, reverse=True)[: wanted.confirmed]
        target = max(self.worth(drawn[number]) for number in leading)
        return {"target": target, "median": statistics.median(scores[:MEDIAN_OF])}

    def race(self, study: StudyConfig, target: float, *, sampler: BaseSampler | None = None) -> Race:
        """A study in virtual time, until its best is worth ``target``."""
        race, asked, begun = Race(target=target), Asked(self.curves), time.process_time()

        def over(outcome: Simulated) -> bool:
            if len(outcome.ended) > len(race.ended):
                curve = outcome.ended[-1]
                worth = self.worth(asked.values[id(curve)])
                race.ended.append(Ended(epochs=outcome.epochs, score=curve.scores[-1] or 0.0, worth=worth))
            return race.won or outcome.epochs >= BUDGET

        simulation = Simulation(study, asked, max_epochs=EPOCHS, concurrent=CONCURRENT, sampler=sampler)
        race.epochs = simulation.run(until=over).epochs
        race.seconds = time.process_time() - begun
        return race

    def study(self, search: Mapping[str, Dimension] | None = None, **settings: Any) -> StudyConfig:
        """A study of this problem; ``settings`` as `study_of` has them."""
        given: dict[str, Any] = {"sampler": "tpe", "scheduler": "asha", "trials": BUDGET, "seed": self.seed} | settings
        return study_of(self.plain if search is None else search, **given)


class Asked:
    """Curves that remember which values they answered."""

    def __init__(self, curves: Curves) -> None:
        self._curves = curves
        self.search = curves.search
        self.values: dict[int, Mapping[str, Value]] = {}
        self._kept: list[Curve] = []

    def curve(self, values: Mapping[str, Value]) -> Curve:
        found = self._curves.curve(values)
        self._kept.append(found)
        self.values[id(found)] = dict(values)
        return found


def baseline(one: Problem, target: float, *, seed: int) -> Race:
    """Optuna's own TPE under plain ASHA, as one would run them without this tool."""
    study = one.study(quota=False, seed=seed)
    return one.race(study, target, sampler=optuna_sampler(study.sampler))


SEARCHES: dict[str, Callable[[Problem, float], Race]] = {
    "random": lambda one, target: one.race(one.study(sampler="random", scheduler="none"), target),
    BASE: lambda one, target: baseline(one, target, seed=one.seed),
    BASE_AGAIN: lambda one, target: baseline(one, target, seed=one.seed + 100_000),
    "ours, no prior": lambda one, target: one.race(one.study(), target),
    "ours, no prior, quota: false": lambda one, target: one.race(one.study(quota=False), target),
    "ours, surrogate": lambda one, target: one.race(one.study(sampler="surrogate"), target),
    "ours, freeze and thaw": lambda one, target: one.race(
        one.study(sampler="surrogate", scheduler="freeze_thaw"), target
    ),
    "ours, freeze and thaw, good prior": lambda one, target: one.race(
        one.study(one.priors[True], sampler="surrogate", scheduler="freeze_thaw"), target
    ),
    "ours, freeze and thaw, misleading prior": lambda one, target: one.race(
        one.study(one.priors[False], sampler="surrogate", scheduler="freeze_thaw"), target
    ),
    "ours, good prior": lambda one, target: one.race(one.study(one.priors[True]), target),
    "ours, misleading prior": lambda one, target: one.race(one.study(one.priors[False]), target),
}
"""By the name in the tables: a search on a problem until its target."""


def read_raw(file: Path) -> Raw:
    """What has been measured; a line that was cut off is left out."""
    text = file.read_text() if file.exists() else ""
    rows = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return {(row["family"], row["seed"], row["search"]): row for row in rows}


def write_row(raw: Raw, file: Path, row: dict[str, Any]) -> None:
    """Add a row, on disk too."""
    raw[row["family"], row["seed"], row["search"]] = row
    with file.open("a") as stream:
        stream.write(json.dumps(row) + "\n")
    shown = {name: value for name, value in row.items() if name != "ended"}
    print(json.dumps(shown), file=sys.stderr, flush=True)


def reference_of(raw: Raw, file: Path, one: Problem) -> dict[str, Any]:
    """The problem's target and median, measured once."""
    key = (one.family, one.seed, REFERENCE)
    if key not in raw:
        write_row(raw, file, {"family": one.family, "seed": one.seed, "search": REFERENCE, **one.reference()})
    return raw[key]


def as_row(one: Problem, search: str, race: Race) -> dict[str, Any]:
    """A race as a line of the raw file. ``reached``: epochs until the target; null: never."""
    return {
        "family": one.family,
        "seed": one.seed,
        "search": search,
        "reached": race.epochs if race.won else None,
        "epochs": race.epochs,
        "seconds": round(race.seconds, 2),
        "ended": [[end.epochs, round(end.score, 4), round(end.worth, 4)] for end in race.ended],
    }


@app.command()
def run(
    raw: Annotated[Path, typer.Option(help="JSON lines, read and added to.")],
    families: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(FAMILIES),
    searches: Annotated[str, typer.Option(help="Separated by semicolons.")] = ";".join(SEARCHES),
    repetitions: Annotated[int, typer.Option(min=1)] = 10,
    first_seed: Annotated[int, typer.Option(min=0, help="Seeds 1000 and up are for tuning.")] = 0,
) -> None:
    """Run what is missing, all families and searches of a repetition before the next."""
    found = read_raw(raw)
    for seed in range(first_seed, first_seed + repetitions):
        for family in families.split(","):
            wanted = [name for name in searches.split(";") if (family, seed, name) not in found]
            if not wanted:
                continue
            one = Problem(family, seed)
            with threadpool_limits(1):
                target = reference_of(found, raw, one)["target"]
                for name in wanted:
                    write_row(found, raw, as_row(one, name, SEARCHES[name](one, target)))


@app.command()
def table(
    raw: Annotated[list[Path], typer.Option(help="Files of `run` and of `benchmarks.peers`.")],
    out: Annotated[Path, typer.Option(help="Markdown file to write; the plot goes beside it.")],
) -> None:
    """Write the tables and the curves of what has been measured."""
    found = {key: row for file in raw for key, row in read_raw(file).items()}
    out.write_text(render(found, command=" ".join(["python -m benchmarks.anytime", *sys.argv[1:]])))
    plot(found, out.with_suffix(".png"))
    typer.echo(out.read_text())


if __name__ == "__main__":
    app()
