"""What a study will cost and whether it fits, computed before it starts. Pure functions; only `render` draws."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from analysis.stats.best import SEEDS
from analysis.stats.constraints import allowed
from ipix_tune.config.dimension import describe_range
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import BudgetConfig, StudyConfig
from ipix_tune.execution.resources import Fit, amounts, fit_resources
from ipix_tune.search.rungs import expected_epochs, rungs
from ipix_tune.study.confirm_budget import price
from ipix_tune.trainer.interface import Timing
from ipix_tune.trainer.resources import Value
from trainers.common.object_uri import without_query

PRIORED = ("tpe", "surrogate")
"""Samplers that draw from priors too."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A study before it starts. ``epochs_expected`` is None where nothing is known of it. ``device``: a line about that
    of a trial."""

    study: StudyConfig
    trials: int
    grid_size: int | None
    max_epochs: int
    rungs: tuple[int, ...]
    epochs_at_most: int
    epochs_expected: float | None
    fit: Fit | None
    device: str
    sample: dict[str, Value]


def make_plan(
    study: StudyConfig,
    *,
    cluster: Mapping[str, float] | None = None,
    nodes: Sequence[Mapping[str, float]] = (),
) -> Plan:
    """The plan of a study that `studyfile.load` accepted.

    Raises:
        ResourceError: the cluster cannot hold one trial.
    """
    space = SearchSpace(study)
    sample = space.sample(random.Random(study.sampler.seed))
    drawn = space.to_config(sample)
    max_epochs = space.trainer.max_epochs(drawn)
    grid_size = None
    trials = study.budget.trials
    if study.sampler.name == "grid":
        grid = space.grid_points()
        grid_size = len(grid)
        trials = min(trials, grid_size + sum(point not in grid for point in study.points))
    levels = rungs(study, max_epochs=max_epochs)
    return Plan(
        study=study,
        trials=trials,
        grid_size=grid_size,
        max_epochs=max_epochs,
        rungs=levels,
        epochs_at_most=trials * max_epochs,
        epochs_expected=expected_epochs(
            trials,
            rungs=levels,
            max_epochs=max_epochs,
            reduction=study.scheduler.reduction,
            brackets=study.scheduler.brackets,
        )
        if levels and study.scheduler.name == "asha"
        else None,
        fit=None if cluster is None else fit_resources(study.resources, cluster=cluster, nodes=nodes),
        device=space.trainer.device(drawn, study.resources),
        sample=sample,
    )


def render(
    plan: Plan,
    *,
    data: Sequence[str] = (),
    warm: Sequence[str] = (),
    memory: Sequence[str] = (),
    cost: Timing | None = None,
    warnings: Sequence[str] = (),
) -> RenderableType:
    """The plan as `--dry-run` prints it; ``data`` are lines about the data set, ``warm`` about earlier studies,
    ``memory`` about what a trial takes."""
    study = plan.study
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("study", f"{study.name} in {without_query(study.storage)}/{study.name}")
    for i, line in enumerate(_objective(plan)):
        table.add_row("" if i else "objective", line)
    for i, (name, bound) in enumerate(study.bounds.items()):
        when = "after the last epoch" if bound["at_end"] else "after every epoch"
        table.add_row("" if i else "constraints", f"{name}: {allowed(bound)} {when}")
    for line in data:
        table.add_row("data" if line is data[0] else "", line)
    table.add_row("trials", _trials(plan))
    for i, line in enumerate(warm):
        table.add_row("" if i else "warm start", line)
    table.add_row("rungs", _rungs(plan))
    table.add_row("epochs", f"at most {plan.epochs_at_most} ({plan.trials} x {plan.max_epochs})")
    if plan.epochs_expected is not None and plan.epochs_expected < plan.epochs_at_most:
        table.add_row("", f"about {plan.epochs_expected:.0f} expected, if trials reach the rungs in random order")
    table.add_row("resources", _resources(plan))
    table.add_row("device", plan.device)
    for i, line in enumerate(memory):
        table.add_row("" if i else "memory", line)
    for i, line in enumerate(_cost_lines(plan, cost)):
        table.add_row("" if i else "cost", line)
    for i, line in enumerate(_confirmation(plan, cost)):
        table.add_row("" if i else "confirm", line)
    for line in warnings:
        table.add_row("warning", Text(line))
    return Group(table, Text(), _space_table(plan))


def _objective(plan: Plan) -> list[str]:
    objective = plan.study.objective
    asked = f"{objective.mode} {objective.metric}"
    second = objective.second_objective
    if second is None:
        return [f"{asked}, last epoch, {_seeds(plan)}"]
    both = f"{asked} against {second.mode} {second.metric}, last epoch, {_seeds(plan)}"
    stops = "" if plan.study.scheduler.name == "none" else f"; trials are stopped by {objective.metric} alone"
    return [both, f"no single winner: the report shows the Pareto front{stops}"]


def _seeds(plan: Plan) -> str:
    searched = [name for name in SEEDS if name in plan.study.search]
    if not searched:
        return "1 seed per configuration"
    every = "value" if len(searched) == 1 else "combination"
    return f"each configuration once for every {every} of {', '.join(searched)}"


def _trials(plan: Plan) -> str:
    study = plan.study
    parts = [f"{plan.trials} by {study.sampler.name}, {len(study.points)} of them given as points"]
    if plan.grid_size is not None:
        parts.append(f"the grid has {plan.grid_size} configurations")
    if believed := sum(dimension.prior is not None for dimension in study.search.values()):
        unused = "" if study.sampler.name in PRIORED else f", which {study.sampler.name} does not use"
        parts.append(f"priors on {believed} of {len(study.search)} dimensions{unused}")
    return "; ".join([*parts, *_ends(study.budget)])


def _ends(budget: BudgetConfig) -> list[str]:
    """What may end the search before it has had all its trials."""
    parts = []
    if budget.hours is not None:
        parts.append(f"no new one after {budget.hours:g} h")
    if budget.epochs is not None:
        parts.append(f"no new one after {budget.epochs} epochs of all trials together")
    if budget.gpu_hours is not None:
        parts.append(f"no new one after {budget.gpu_hours:g} GPU hours")
    if (rule := budget.no_improvement) is not None:
        parts.append(f"no new one after {rule.trials} in a row that are no better by more than {rule.by:g}")
    if budget.stop == "regret":
        parts.append("no new one once what is left to gain is below what seeds differ by (budget.stop: regret)")
    return parts


def _rungs(plan: Plan) -> str:
    stops = [rung for rung in plan.rungs if rung < plan.max_epochs]
    if not stops:
        return f"none: every trial runs all {plan.max_epochs} epochs"
    listed = ", ".join(map(str, stops))
    scheduler = plan.study.scheduler
    if scheduler.name == "freeze_thaw":
        return f"after epoch {listed} of {plan.max_epochs} a trial is frozen; the surrogate says which goes on"
    kinds = "" if scheduler.brackets == 1 else f"; {scheduler.brackets} brackets, the first judged at all rungs"
    return f"after epoch {listed} of {plan.max_epochs}; about 1 in {scheduler.reduction} goes on{kinds}"


def _resources(plan: Plan) -> str:
    resources = plan.study.resources
    gpus = f" + {resources.gpus_per_worker:g} GPU" if resources.gpus_per_worker else ""
    wanted = f"{resources.workers} x ({resources.cpus_per_worker:g} CPU{gpus}) a trial"
    if plan.fit is None:
        return f"{wanted}; how many at once is not known yet"
    has = {name: plan.fit.cluster.get(name, 0) for name in plan.fit.per_trial}
    return f"{wanted}, {plan.fit.concurrent} at once on {amounts(has)}"


def _confirmation(plan: Plan, cost: Timing | None) -> list[str]:
    """What the confirmation adds at most; the arms are known only after the search."""
    asked = price(plan.study, max_epochs=plan.max_epochs)
    if asked is None:
        return []
    when = "after the search" if asked.confirm.after_search else "with ipix-tune confirm"
    lines = [f"{when}, at most {line}" if i == 0 else line for i, line in enumerate(asked.lines())]
    if cost is not None:
        at_once = min(plan.fit.concurrent, asked.arms) if plan.fit is not None else 1
        low, high = (_duration(hours / at_once) for hours in cost.trial_hours(asked.epochs_at_most))
        lines.append(f"at most: {low} to {high} with {at_once} at once, without start-up times")
    return lines


def _cost_lines(plan: Plan, cost: Timing | None) -> list[str]:
    if cost is None:
        return ["not measured (--dry-run=measure times a few steps)"]
    lines = [cost.words]
    at_once = min(plan.fit.concurrent, plan.trials) if plan.fit is not None else 1
    for label, epochs in (("expected", plan.epochs_expected), ("at most", plan.epochs_at_most)):
        if epochs is not None:
            low, high = (_duration(hours / at_once) for hours in cost.trial_hours(epochs))
            lines.append(f"{label}: {low} to {high} with {at_once} at once, without start-up times")
    return lines


def _duration(hours: float) -> str:
    return f"{hours:.3g} h" if hours >= 1 else f"{hours * 60:.2g} min"


def _space_table(plan: Plan) -> Table:
    table = Table(title="search space, and one configuration drawn from it", title_justify="left")
    table.add_column("key")
    table.add_column("range")
    table.add_column("only if")
    table.add_column("drawn", justify="right")
    for name, dimension in SearchSpace(plan.study).dimensions.items():
        conditions = ", ".join(f"{key}: {value}" for key, value in (dimension.only_if or {}).items())
        value = plan.sample.get(name, "inactive")
        drawn = f"{value:.4g}" if isinstance(value, float) else str(value)
        table.add_row(name, Text(describe_range(dimension)), conditions, drawn)
    return table
