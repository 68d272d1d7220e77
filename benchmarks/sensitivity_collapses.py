"""The surrogate where runs collapse, and on what it does not model: is it usable, and do its intervals hold?

    python -m benchmarks.sensitivity_collapses --collapses 0.1              # 60 random trials a study, at full length
    python -m benchmarks.sensitivity_collapses --collapses 0.1 --searched   # 60 trials of TPE under ASHA
    python -m benchmarks.sensitivity_collapses --objective three --objective steep

A row is `--studies` studies of one objective of `benchmarks.helpers.objectives`; half a minute to two minutes of one
core each."""

from typing import Annotated

import numpy as np
import typer

from analysis.stats.sensitivity.cross_validation import check
from analysis.stats.sensitivity.effects import marginal
from analysis.stats.sensitivity.sobol import indices
from analysis.stats.sensitivity.surrogate import Surrogate, fit
from analysis.stats.study import StudyTrials
from benchmarks.helpers.objectives import TOP, Objective, beyond, objectives
from benchmarks.sensitivity import asha_study

FIRST_SEED = 300
SLACK = 1e-9
HEAD = (
    "| objective | usable | left out: 1 - error ratio | total | its width | first order | curves | by parameter "
    "| trials left out as collapsed |\n|---|---|---|---|---|---|---|---|---|"
)


def curves_held(surrogate: Surrogate, objective: Objective) -> dict[str, float]:
    """The share of places at which a parameter's curve holds the truth in its interval."""
    found = {}
    for name in objective.search:
        one = marginal(surrogate, name)
        truth = objective.marginal(name, one.places) - TOP
        found[name] = float(((one.low <= truth) & (truth <= one.high)).mean())
    return found


def row(objective: Objective, studies: list[StudyTrials]) -> str:
    """One line of the table."""
    usable, skill, lost = 0, [], []
    held: dict[str, list[float]] = {"total": [], "first": []}
    width, curves = [], []
    for study in studies:
        surrogate = fit(study)
        assert surrogate is not None
        checked, found = check(surrogate), indices(surrogate)
        usable += checked.usable
        skill.append(checked.skill[0])
        lost.append(len(surrogate.collapsed))
        for kind, truth in (("total", objective.total()), ("first", objective.first())):
            shares = getattr(found, kind)
            held[kind] += [one.low - SLACK <= truth[name] <= one.high + SLACK for name, one in shares.items()]
        width += [one.high - one.low for one in found.total.values()]
        curves.append(curves_held(surrogate, objective))
    by_name = ", ".join(f"{name} {np.mean([one[name] for one in curves]):.0%}" for name in objective.search)
    whole = np.mean([list(one.values()) for one in curves])
    return (
        f"| {objective.name} | {usable} of {len(studies)} | {np.mean(skill):.2f} | {np.mean(held['total']):.0%} "
        f"| {np.mean(width):.0%} | {np.mean(held['first']):.0%} | {whole:.0%} | {by_name} | {np.mean(lost):.1f} |"
    )


def main(
    studies: Annotated[int, typer.Option(min=1, help="Of each objective.")] = 6,
    trials: Annotated[int, typer.Option(min=12)] = 60,
    collapses: Annotated[float, typer.Option(min=0, max=1, help="Share of runs that collapse.")] = 0.0,
    searched: Annotated[
        bool, typer.Option("--searched", help="By TPE under ASHA; else random, at full length.")
    ] = False,
    objective: Annotated[list[str] | None, typer.Option(help="May be given several times; default: all four.")] = None,
) -> None:
    """Print the table."""
    known = {one.name: one for one in (*objectives(), *beyond())}
    typer.echo(HEAD)
    for name in objective or [one.name for one in objectives()]:
        made = [
            asha_study(known[name], trials=trials, seed=FIRST_SEED + seed, collapses=collapses, searched=searched)
            for seed in range(studies)
        ]
        typer.echo(row(known[name], made))


if __name__ == "__main__":
    typer.run(main)
