"""The tables of `benchmarks.sensitivity`: how often intervals hold the true shares, how wide they are, and what
Optuna's importances make of the same trials."""

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np

from analysis.stats.bootstrap import interval
from analysis.stats.sensitivity.anova_basis import Floats
from analysis.stats.sensitivity.sobol import NEGLIGIBLE
from benchmarks.helpers.objectives import EPOCHS, JITTER, RUN, SPREAD, Objective, objectives

GRACE = 3
"""Epochs of the first rung."""
KINDS = ("first", "total", "shapley")


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
