"""Importance and marginals against known ones: ours and Optuna's fANOVA on the same ASHA trials.

`python -m benchmarks.sensitivity run --store FILE` does repetitions and appends them to FILE, one a line, until all are
there or its time is up; `python -m benchmarks.sensitivity show --store FILE --out benchmarks/results/...` writes the
tables. A repetition is a study of its own: noise, searcher and seed differ, the objective stays.
"""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from analysis.stats.bootstrap import interval
from analysis.stats.sensitivity.anova_basis import Floats
from analysis.stats.sensitivity.cross_validation import check
from analysis.stats.sensitivity.effects import marginal
from analysis.stats.sensitivity.gp_likelihood import Model, Rows
from analysis.stats.sensitivity.sobol import indices, variances
from analysis.stats.sensitivity.stopped_early import stopped_early
from analysis.stats.sensitivity.surrogate import Surrogate, fit
from analysis.stats.sensitivity.surrogate_data import Data, gather, without
from analysis.stats.study import StudyTrials, Trial
from benchmarks.helpers.objectives import EPOCHS, TOP, Objective, ObjectiveCurves, objectives
from benchmarks.helpers.search_problems import study_of
from benchmarks.helpers.sensitivity_tables import GRACE, KINDS, render
from ipix_tune.config.dimension import describe
from ipix_tune.config.search_space import distribution
from ipix_tune.search.rungs import rungs
from ipix_tune.study.simulation.simulator import Simulation

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

SIZES, CONCURRENT = (60, 120, 200), 4
RESAMPLED = 100


def asha_study(
    objective: Objective, *, trials: int, seed: int, collapses: float = 0.0, searched: bool = True
) -> StudyTrials:
    """Trials of an objective under TPE and ASHA, in the form of the report's statistics.

    Args:
        collapses: the share of runs that collapse.
        searched: by TPE under ASHA; else drawn evenly, all at full length.
    """
    sampler, scheduler = ("tpe", "asha") if searched else ("random", "none")
    config = study_of(objective.search, sampler=sampler, scheduler=scheduler, trials=trials, seed=seed)
    config = config.model_copy(update={"scheduler": config.scheduler.model_copy(update={"grace_epochs": GRACE})})
    curves = ObjectiveCurves(objective=objective, seed=seed, collapses=collapses)
    outcome = Simulation(config, curves, max_epochs=EPOCHS, concurrent=CONCURRENT).run()
    return StudyTrials(
        name=objective.name,
        metric="val/miou",
        mode="max",
        max_epochs=EPOCHS,
        rungs=rungs(config, max_epochs=EPOCHS),
        grace_epochs=GRACE,
        reduction=config.scheduler.reduction,
        space={name: describe(dimension) for name, dimension in objective.search.items()},
        trials=tuple(
            Trial(
                run_id=entry.key,
                number=number,
                state=entry.state,
                error=None,
                retries=0,
                seed=0,
                epochs=max(entry.scores, default=0),
                values=dict(entry.values),
                curve=dict(entry.scores),
                runtime_s=0.0,
                ended_at=0.0,
            )
            for number, entry in enumerate(outcome.entries)
        ),
        split_hash=None,
        git_commit=None,
    )


def repetition(objective: Objective, *, trials: int, seed: int) -> dict[str, Any]:
    """Everything that is measured on one study, as plain data."""
    study = asha_study(objective, trials=trials, seed=seed)
    began = time.process_time()
    surrogate = fit(study)
    assert surrogate is not None
    found, checked = indices(surrogate), check(surrogate)
    took = time.process_time() - began
    shares = {
        kind: {name: (one.value, one.low, one.high) for name, one in getattr(found, kind).items()} for kind in KINDS
    }
    marginals = {}
    for name in objective.search:
        drawn = marginal(surrogate, name)
        truth = objective.marginal(name, drawn.places) - TOP
        inside = (drawn.low <= truth) & (truth <= drawn.high)
        marginals[name] = (float(inside.mean()), float(np.sqrt(np.mean((drawn.middle - truth) ** 2))))
    low, middle, high = np.quantile(surrogate.level, [0.025, 0.5, 0.975])
    curves, best = ObjectiveCurves(objective=objective, seed=seed), study.best()
    assert best is not None
    early = [
        (one.chance, bool((curves.curve(study.trials[one.number].values).scores[-1] or 0.0) > (best.score or 0.0)))
        for one in stopped_early(surrogate)
    ]
    return {
        "objective": objective.name,
        "trials": trials,
        "seed": seed,
        "complete": surrogate.complete,
        "rows": surrogate.rows,
        "cpu_s": took,
        **shares,
        "negligible": found.negligible,
        "verdicts": {name: found.verdict(name) for name in objective.search},
        "marginals": marginals,
        "level": (bool(low <= TOP <= high), float(middle - TOP)),
        "early": early,
        "skill": checked.skill,
        "covered": checked.covered,
        "resampled": resampled(surrogate),
        "optuna": optuna_shares(objective, study.trials),
        "optuna_complete": optuna_shares(objective, study.complete),
    }


def optuna_shares(objective: Objective, trials: Iterable[Trial]) -> dict[str, float]:
    """Main effects by Optuna's fANOVA, which add up to 1, with every trial's last score as its result."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found = optuna.create_study()
    for trial in trials:
        found.add_trial(
            optuna.trial.create_trial(
                params=trial.values,
                distributions={name: distribution(objective.search[name]) for name in trial.values},
                value=trial.score,
            )
        )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    shares: dict[str, float] = optuna.importance.get_param_importances(found, evaluator=evaluator)
    return shares


def resampled(surrogate: Surrogate) -> dict[str, dict[str, tuple[float, float]]]:
    """For comparison: percentile intervals from the surrogate's mean, fitted anew to resampled trials."""
    data = gather(surrogate.study)
    assert data is not None
    data = without(data, surrogate.out)
    rng = np.random.default_rng(0)
    weights = np.stack(
        [
            _mean_weights(data, surrogate.mode, rng.integers(len(data.trials), size=len(data.trials)))
            for _ in range(RESAMPLED)
        ]
    )
    pieces, table = variances(data.basis, weights)
    shares = table / table.sum(axis=1, keepdims=True)
    found: dict[str, dict[str, tuple[float, float]]] = {"first": {}, "total": {}}
    for i, name in enumerate(data.basis.names):
        found["first"][name] = interval(shares @ np.array([float(piece == {i}) for piece in pieces]))
        found["total"][name] = interval(shares @ np.array([float(i in piece) for piece in pieces]))
    return found


def _mean_weights(data: Data, theta: Floats, drawn: Any) -> Floats:
    chosen = [np.flatnonzero(data.rows.who == trial) for trial in drawn]
    picked = np.concatenate(chosen)
    rows = Rows(
        who=np.repeat(np.arange(len(drawn)), [len(one) for one in chosen]),
        distance=data.rows.distance[picked],
        scores=data.rows.scores[picked],
        singles=tuple(one[drawn] for one in data.rows.singles),
        extra=data.rows.extra[picked],
    )
    model = Model(data.basis, rows)
    hyper = model.hyper(theta)
    pull = np.linalg.solve(model.covariance(hyper), rows.scores)
    by_trial = np.add.reduceat(pull, rows.starts)
    found: Floats = model.prior_variances(hyper) * (data.basis.joined(rows.singles).T @ by_trial)
    return found


@app.command()
def run(
    store: Annotated[Path, typer.Option(help="Results so far, one repetition a line.")],
    repetitions: Annotated[int, typer.Option(min=1)] = 20,
    minutes: Annotated[float, typer.Option(help="No new repetition after this time.")] = 7.0,
    part: Annotated[int, typer.Option(help="Of two: which of the repetitions, by parity; -1: all.")] = -1,
) -> None:
    """Do the repetitions that are missing."""
    ends = time.monotonic() + 60 * minutes
    done = {(row["objective"], row["trials"], row["seed"]) for row in read(store)}
    wanted = [(trials, seed) for sizes in (SIZES[:2], SIZES[2:]) for seed in range(repetitions) for trials in sizes]
    for trials, seed in wanted:
        for objective in objectives():
            if (objective.name, trials, seed) in done or (part >= 0 and seed % 2 != part):
                continue
            if time.monotonic() > ends:
                return
            row = repetition(objective, trials=trials, seed=seed)
            with store.open("a") as file:
                file.write(json.dumps(row) + "\n")
    print("all done")


def read(store: Path) -> list[dict[str, Any]]:
    """All repetitions that are stored."""
    return [json.loads(line) for line in store.read_text().splitlines()] if store.exists() else []


@app.command()
def show(
    store: Annotated[list[Path], typer.Option(help="May be given several times.")],
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
    command: Annotated[str, typer.Option(help="What the file says of how it was made.")] = "",
) -> None:
    """Print, or write, the tables of what is stored."""
    text = render([row for one in store for row in read(one)], command=command)
    if out is not None:
        out.write_text(text)
    print(text)


if __name__ == "__main__":
    app()
