"""Does `ipix-tune simulate` say what the real run did? The same study, on Ray and simulated on its own curves.

    python -m benchmarks.simulation_agrees run --work FOLDER --case tpe-1
    python -m benchmarks.simulation_agrees report --work FOLDER --out benchmarks/results/simulation_agrees_202611.md

`run` trains the study on the digits, then every configuration that it asked for once more without a scheduler, so that
there are whole curves; both go on where they were interrupted. `report` simulates the study file on these curves.
"""

import dataclasses
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console

from analysis.ingest import tables
from analysis.ingest.read_study import read_study
from analysis.stats.best import standings
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.search.trial_record import TrialRecord
from ipix_tune.search.trial_store import TrialStore
from ipix_tune.storage.study_folder import study_folder
from ipix_tune.study import run_search as studies
from ipix_tune.study.simulation.recorded_curves import recorded_curves
from ipix_tune.study.simulation.simulator import Simulated, Simulation

EPOCHS = 9
CASES = {"tpe-1": ("tpe", 1), "random-2": ("random", 2), "tpe-2": ("tpe", 2)}
"""Sampler and trials at once."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def study_of(storage: Path, *, sampler: str, concurrent: int, trials: int) -> StudyConfig:
    """A study of the digits whose trials take seconds."""
    return StudyConfig.model_validate(
        {
            "name": f"{sampler}-{concurrent}",
            "storage": str(storage),
            "trainer": {
                "data": {
                    "name": "digits",
                    "crop": 32,
                    "batch_size": 2,
                    "holdout": {"images": 8, "source": "unlabelled"},
                },
                "method": {"name": "unimatch"},
                "model": {"backbone": "small", "weights": "none"},
                "schedule": {"epochs": EPOCHS, "steps_per_epoch": 4},
            },
            "search": {
                "interpixel.alpha": {"loguniform": [0.01, 10]},
                "interpixel.distance": {"choice": ["kl", "cr"]},
                "optim.lr": {"loguniform": [0.001, 0.2]},
            },
            "sampler": {"name": sampler, "seed": 3, "startup_trials": 4},
            "scheduler": {"name": "asha", "grace_epochs": 1, "reduction": 3},
            "budget": {"trials": trials},
            "resources": {"cpus_per_worker": 1, "concurrent": concurrent},
            "keep_checkpoints": "none",
            "logging": {"mode": "offline"},
        }
    )


def whole(study: StudyConfig) -> StudyConfig:
    """The same configurations, each at full length."""
    points = [entry.values for entry in entries(study)]
    return StudyConfig.model_validate(
        {
            **study.model_dump(mode="json"),
            "name": f"{study.name}-whole",
            "points": points,
            "sampler": {"name": "random"},
            "scheduler": {"name": "none"},
            "budget": {"trials": len(points)},
        }
    )


def entries(study: StudyConfig) -> list[TrialRecord]:
    """The trials of a study that ran, as its journal has them."""
    place = study_folder(study)
    return TrialStore(place, study, SearchSpace(study), total=0).entries()


def train(study: StudyConfig) -> Path:
    """Run a study, or what is left of it; once it is whole its tables are written."""
    place = study_folder(study)
    outcome = studies.run(study, resume=place.exists(), address=None, console=Console(quiet=True))
    if outcome.cut_short is not None:
        raise SystemExit(3)
    found = read_study(place).tables
    tables.save(found, place)
    return place


def simulated(study: StudyConfig, curves: Path) -> Simulated:
    """The study on the curves of another's tables."""
    concurrent = study.resources.concurrent
    assert concurrent is not None
    source = recorded_curves(curves, study, epochs=EPOCHS)
    return Simulation(study, source, max_epochs=EPOCHS, concurrent=concurrent).run()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far a real run and its simulation agree; shares of the trials."""

    same_configs: float
    """Trials that were asked for with the same values, by number."""
    same_ends: float
    """Of the configurations that both asked for, those that stopped after the same epoch."""
    epochs: tuple[int, int]
    """Of all trials, really and simulated."""
    best: tuple[float, float]
    """Last score of the best trial of full length."""
    same_best: bool
    """Whether that is the same configuration."""
    same_scores: bool
    """Whether every epoch that both trained of a configuration has the same score, bit for bit."""


def agreement(real: list[TrialRecord], virtual: list[TrialRecord], *, sign: int = 1) -> Agreement:
    """Compare what became of two runs of one study."""
    pairs = list(zip(real, virtual, strict=True))
    ours, theirs = ({_name(entry): entry for entry in found} for found in (real, virtual))
    both = ours.keys() & theirs.keys()
    last = [{name: max(entry.scores) for name, entry in found.items()} for found in (ours, theirs)]
    best = [_best(found, sign=sign) for found in (real, virtual)]
    return Agreement(
        same_configs=sum(a.values == b.values for a, b in pairs) / len(pairs),
        same_ends=sum(last[0][name] == last[1][name] for name in both) / len(both),
        epochs=(sum(last[0].values()), sum(last[1].values())),
        best=(best[0].scores[EPOCHS], best[1].scores[EPOCHS]),
        same_best=best[0].values == best[1].values,
        same_scores=all(
            ours[name].scores[epoch] == theirs[name].scores[epoch]
            for name in both
            for epoch in ours[name].scores.keys() & theirs[name].scores.keys()
        ),
    )


def _name(entry: TrialRecord) -> tuple[Any, ...]:
    return tuple(sorted(entry.values.items()))


def _best(found: list[TrialRecord], *, sign: int) -> TrialRecord:
    by_number = {entry.scored.number: entry for entry in found if entry.scored is not None}
    scored = [entry.scored for entry in by_number.values() if entry.scored is not None]
    best = standings(scored, max_epochs=EPOCHS, sign=sign).best
    assert best is not None
    return by_number[best.number]


@app.command("run")
def run_case(
    work: Annotated[Path, typer.Option(help="Folder of the studies.")],
    case: Annotated[str, typer.Option(help=", ".join(CASES))],
    trials: Annotated[int, typer.Option()] = 20,
) -> None:
    """Train a case: the study, and its configurations at full length."""
    sampler, concurrent = CASES[case]
    study = study_of(work.absolute(), sampler=sampler, concurrent=concurrent, trials=trials)
    train(study)
    train(whole(study))


@app.command()
def report(
    work: Annotated[Path, typer.Option(help="As for run.")],
    out: Annotated[Path, typer.Option(help="The Markdown file.")],
    trials: Annotated[int, typer.Option()] = 20,
) -> None:
    """Simulate what was trained, and compare."""
    rows = {}
    for case, (sampler, concurrent) in CASES.items():
        study = study_of(work.absolute(), sampler=sampler, concurrent=concurrent, trials=trials)
        place = study_folder(study)
        if (place.parent / f"{study.name}-whole" / "tables").exists():
            virtual = simulated(study, place.parent / f"{study.name}-whole")
            rows[case] = agreement(entries(study), virtual.entries)
    text = render(rows, trials=trials)
    out.write_text(text)
    typer.echo(text)


def render(rows: Mapping[str, Agreement], *, trials: int) -> str:
    """The figures as Markdown."""
    lines = [
        "# Does the simulation say what the real run did?",
        "",
        f"Studies of the digits on Ray, {trials} trials of {EPOCHS} epochs, ASHA (rungs after 1 and 3), one seed each; "
        "then the same study file simulated on the whole curves of the same configurations.",
        "",
        "| sampler, trials at once | same configuration asked, by number | same scores | same last epoch | "
        "epochs of all trials, real and simulated | best at full length, real and simulated |",
        "|---|---|---|---|---|---|",
    ]
    for case, one in rows.items():
        sampler, concurrent = CASES[case]
        same = "the same configuration" if one.same_best else "another configuration"
        lines.append(
            f"| {sampler}, {concurrent} | {one.same_configs:.0%} | {'bit for bit' if one.same_scores else 'not all'} | "
            f"{one.same_ends:.0%} | {one.epochs[0]}, {one.epochs[1]} | {one.best[0]:.2f}, {one.best[1]:.2f}: {same} |"
        )
    versions = ", ".join(f"{name} {version(name)}" for name in ("ray", "optuna", "torch"))
    return "\n".join(
        [
            *lines,
            "",
            '"Same last epoch" counts the configurations that both asked for. With several trials at once ASHA judges '
            "by the results that have arrived, and in which order they arrive is a matter of start-up times and of "
            "what else the machine does, which the simulation leaves out.",
            "",
            f"Commands: `python -m benchmarks.simulation_agrees run --work FOLDER --case CASE` for {', '.join(rows)}; "
            "`python -m benchmarks.simulation_agrees report --work FOLDER --out FILE`.",
            f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, {versions}; {platform.machine()}, "
            f"{psutil.cpu_count()} CPU cores, no GPU.",
            "",
        ]
    )


if __name__ == "__main__":
    app()
