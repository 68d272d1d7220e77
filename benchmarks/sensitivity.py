"""Importance and marginals against known ones: ours and Optuna's fANOVA on the same ASHA trials.

`python -m benchmarks.sensitivity run --store FILE` does repetitions and appends them to FILE, one a line, until all are
there or its time is up; `python -m benchmarks.sensitivity show --store FILE --out benchmarks/results/...` writes the
tables. A repetition is a study of its own: noise, searcher and seed differ, the objective stays.
"""

import json
import platform
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from analysis.stats.bootstrap import interval
from analysis.stats.sensitivity.anova_basis import Floats
from analysis.stats.sensitivity.cross_validation import check
from analysis.stats.sensitivity.effects import marginal
from analysis.stats.sensitivity.gp_likelihood import Model, Rows
from analysis.stats.sensitivity.sobol import NEGLIGIBLE, indices, variances
from analysis.stats.sensitivity.stopped_early import stopped_early
from analysis.stats.sensitivity.surrogate import Data, Surrogate, fit, gather, without
from analysis.stats.study import Study, Trial
from benchmarks.helpers.objectives import EPOCHS, JITTER, RUN, SPREAD, TOP, Objective, ObjectiveCurves, objectives
from benchmarks.helpers.search_problems import study_of
from ipix_tune.config.dimension import describe, distribution
from ipix_tune.search.rungs import rungs
from ipix_tune.simulation.simulator import Simulation

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

SIZES, GRACE, CONCURRENT = (60, 120, 200), 3, 4
RESAMPLED = 100
KINDS = ("first", "total", "shapley")


def asha_study(objective: Objective, *, trials: int, seed: int, collapses: float = 0.0, searched: bool = True) -> Study:
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
    return Study(
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


def render(rows: list[dict[str, Any]], *, command: str) -> str:
    """The tables as Markdown."""
    known = {objective.name: objective for objective in objectives()}
    groups = {
        (name, trials): [row for row in rows if (row["objective"], row["trials"]) == (name, trials)]
        for name in known
        for trials in sorted({row["trials"] for row in rows})
    }
    groups = {key: group for key, group in groups.items() if group}
    lines = [
        "# Sensitivity on known ground truth",
        "",
        f"Trials of TPE under ASHA (rungs at {GRACE}, {3 * GRACE} of {EPOCHS} epochs) on objectives whose indices and",
        f"marginals are known (`benchmarks/helpers/objectives.py`): standard deviation over the space {SPREAD} "
        "points, noise",
        f"of a run {RUN} and of an epoch {JITTER}, and curves whose pace depends on a parameter (in `g` the dead one).",
        "Intervals are 95 % ones. A repetition is a study with noise and searcher of its own. In brackets: 95 % of the",
        "mean over repetitions, by resampling them.",
        "",
        "## Intervals of importance",
        "",
        "How often an interval held the truth, over parameters and repetitions; `resampled` are percentile intervals",
        "of the same surrogate's mean, fitted anew to resampled trials with its hyperparameters held (total indices).",
        "",
        "| objective | trials | repetitions | at full length | first order | total | Shapley | mean width (total) "
        "| resampled | its width |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (name, trials), group in groups.items():
        held = {kind: [_held(row, known[name], kind) for row in group] for kind in KINDS}
        theirs = [_held_by_resampling(row, known[name]) for row in group]
        lines.append(
            f"| {name} | {trials} | {len(group)} | {np.mean([row['complete'] for row in group]):.0f} "
            + "".join(f"| {_rate(held[kind])} " for kind in KINDS)
            + f"| {_width([row['total'] for row in group])} | {_rate(theirs)} "
            f"| {_width([row['resampled']['total'] for row in group])} |"
        )
    pooled = {kind: [_held(row, known[row["objective"]], kind) for row in rows] for kind in KINDS}
    lines += [
        "",
        f"All {len(rows)} repetitions: "
        + ", ".join(f"{kind} {_rate(pooled[kind])}" for kind in KINDS)
        + f"; resampled {_rate([_held_by_resampling(row, known[row['objective']]) for row in rows])}.",
        "",
        "## The dead parameter, and errors against Optuna's fANOVA",
        "",
        "`dead`: total index at most 5 % with a chance of 90 %; `matters`: not 0 for sure, which is wrong here;",
        "`open`: neither. Wrongly dead: of the parameters whose true total index is above 5 %, how many. Repetitions",
        "from before the chance was stored have no verdict. Errors: mean absolute difference from the true first-order",
        "indices, each set scaled to add up to 1 as Optuna does, over the parameters that Optuna rates (it leaves out",
        "those with a condition), in %.",
        "Optuna has every trial's last score: at face value all trials, or the completed ones alone.",
        "",
        "| objective | trials | dead / open / matters | wrongly dead | our total index of it | its upper end "
        "| Optuna's share of it | error: ours | Optuna, face value | Optuna, complete only | ours closer |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (name, trials), group in groups.items():
        judged = [row["verdicts"] for row in group if "negligible" in row]
        said = [one[known[name].dead] for one in judged]
        alive = [one for one, total in known[name].total().items() if total > NEGLIGIBLE]
        wrong = [verdicts[one] == "dead" for verdicts in judged for one in alive]
        errors = {kind: [_error(row, known[name], kind) for row in group] for kind in ("ours", *_THEIRS)}
        closer = sum(a < b for a, b in zip(errors["ours"], errors["optuna"], strict=True))
        lines.append(
            f"| {name} | {trials} | {' / '.join(str(said.count(one)) for one in ('dead', 'open', 'matters'))} "
            f"| {sum(wrong)} of {len(wrong)} "
            + "".join(f"| {_mean([100 * row['total'][known[name].dead][i] for row in group])} % " for i in (0, 2))
            + f"| {_mean([100 * row['optuna'][known[name].dead] for row in group])} % "
            + "".join(f"| {_mean(one)} " for one in errors.values())
            + f"| {closer} of {len(group)} |"
        )
    lines += [
        "",
        "## Marginals, cross-validation, and what was stopped too early",
        "",
        "Marginals, as differences from the mean over the space: how often a curve's interval held the truth, over",
        "places, parameters and repetitions, and the root mean square error of the curves in points. Mean over the",
        "space: how often its interval held it, and by how many points it was too high. Left out: the share of",
        "left-out scores inside their intervals. Stopped: runs that would have beaten the incumbent, expected by the",
        "surrogate and true, a repetition; Brier score of the chances, and of one who knows the true rate only.",
        "",
        "| objective | trials | marginals held | their error | mean held | too high by | left out held "
        "| stopped: expected | true | Brier | of the rate | CPU s of fit and check |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (name, trials), group in groups.items():
        chances = [np.array(row["early"], dtype=float).reshape(-1, 2) for row in group]
        whole = np.concatenate(chances)
        held_and_error = [np.mean(list(row["marginals"].values()), axis=0) for row in group]
        rate = whole[:, 1].mean()
        lines.append(
            f"| {name} | {trials} | {_rate([float(one[0]) for one in held_and_error])} "
            f"| {_mean([float(one[1]) for one in held_and_error], 2)} "
            f"| {_rate([float(row['level'][0]) for row in group])} | {_mean([row['level'][1] for row in group], 2)} "
            f"| {_rate([row['covered'] for row in group])} "
            f"| {_mean([one[:, 0].sum() for one in chances], 2)} | {_mean([one[:, 1].sum() for one in chances], 2)} "
            f"| {np.mean((whole[:, 0] - whole[:, 1]) ** 2):.4f} | {rate * (1 - rate):.4f} "
            f"| {np.median([row['cpu_s'] for row in group]):.1f} |"
        )
    versions = ", ".join(f"{one} {version(one)}" for one in ("numpy", "scipy", "optuna", "scikit-learn", "ray"))
    lines += [
        "",
        "CPU seconds are the process' own on a machine that others used at the same time (2 cores, no GPU).",
        "",
        f"Command: `{command}`.",
        f"{datetime.now(UTC):%Y-%m-%d}; 2 cores, no GPU; Python {platform.python_version()}, {versions}.",
        "",
    ]
    return "\n".join(lines)


_THEIRS = ("optuna", "optuna_complete")
_SLACK = 1e-9


def _held(row: Mapping[str, Any], objective: Objective, kind: str) -> float:
    """Share of the parameters whose interval holds the truth."""
    truth: Mapping[str, float] = getattr(objective, kind)()
    return float(np.mean([low - _SLACK <= truth[name] <= high + _SLACK for name, (_, low, high) in row[kind].items()]))


def _held_by_resampling(row: Mapping[str, Any], objective: Objective) -> float:
    """The same of the resampled intervals, rounded outwards to whole percent as ours are."""
    truth, found = objective.total(), row["resampled"]["total"]
    return float(
        np.mean(
            [np.floor(100 * low) <= 100 * truth[name] <= np.ceil(100 * high) for name, (low, high) in found.items()]
        )
    )


def _error(row: Mapping[str, Any], objective: Objective, kind: str) -> float:
    """Mean absolute error of the first-order indices, scaled to add up to 1, in percent."""
    names = list(row["optuna"])
    found = {name: row["first"][name][0] for name in names}
    if kind != "ours":
        found = {name: row[kind].get(name, 0.0) for name in names}
    truth = objective.first()
    scales = [sum(one[name] for name in names) or 1.0 for one in (found, truth)]
    return float(100 * np.mean([abs(found[name] / scales[0] - truth[name] / scales[1]) for name in names]))


def _width(found: list[Mapping[str, Any]]) -> str:
    return f"{100 * np.mean([one[-1] - one[-2] for row in found for one in row.values()]):.0f} %"


def _rate(values: list[float]) -> str:
    low, high = interval(_means(values))
    return f"{100 * np.mean(values):.0f} % [{100 * low:.0f}, {100 * high:.0f}]"


def _mean(values: list[float], digits: int = 1) -> str:
    low, high = interval(_means(values))
    return f"{np.mean(values):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _means(values: list[float]) -> Floats:
    drawn = np.array(values)[np.random.default_rng(0).integers(len(values), size=(2000, len(values)))]
    means: Floats = drawn.mean(axis=1)
    return means


if __name__ == "__main__":
    app()
