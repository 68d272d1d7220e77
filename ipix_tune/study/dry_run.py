"""`--dry-run`: everything short of a trial. Opens the data, builds the model, fits the cluster, prints the plan."""

from collections.abc import Mapping, Sequence

from rich.console import RenderableType

from ipix_tune.config.dead_dimensions import check_dead_dimensions
from ipix_tune.config.kinds_of_trial import check_kinds
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.search.warm_start import describe_warm_start
from ipix_tune.study.earlier_noise import describe_rung_noise
from ipix_tune.study.plan import Plan, make_plan, render


def dry_run(
    study: StudyConfig,
    *,
    cluster: Mapping[str, float] | None,
    nodes: Sequence[Mapping[str, float]] = (),
    measured: bool = False,
) -> RenderableType:
    """The plan, ready to print.

    Args:
        cluster, nodes: as for `resources.fit_resources`; None where it is not known.
        measured: also time a few steps of the first point and of a drawn configuration.

    Raises:
        UserError: the study cannot run: data, weights, batch, resources, earlier studies.
    """
    plan = make_plan(study, cluster=cluster, nodes=nodes)
    space = SearchSpace(study)
    trainer, drawn = space.trainer, [space.to_config(values) for values in (*study.points[:1], plan.sample)]
    check_kinds(study, space)
    found = trainer.plan(
        [trainer.granted(config, study.resources) for config in drawn], study.resources, measured=measured
    )
    warnings = check_dead_dimensions(space)
    if (idle := trainer.idle(drawn[-1], study.resources, cluster or {})) is not None:
        warnings = [*warnings, idle]
    if plan.fit is not None and plan.fit.idle is not None:
        warnings = [*warnings, plan.fit.idle]
    warnings = [*warnings, *many_at_once(plan)]
    warm = [*describe_warm_start(study, space), *describe_rung_noise(study, max_epochs=plan.max_epochs)]
    return render(
        plan,
        data=found.lines,
        warm=warm,
        memory=found.memory,
        cost=found.timing,
        warnings=[*warnings, *found.warnings],
    )


def many_at_once(plan: Plan) -> list[str]:
    """A warning where much of a search is chosen before any trial has a score, beyond its first, random trials."""
    sampler = plan.study.sampler
    if plan.fit is None or sampler.name in ("grid", "random"):
        return []
    blind = min(plan.fit.concurrent, plan.trials)
    if blind <= max(sampler.startup_trials, plan.trials / 4):
        return []
    return [
        f"{blind} of {plan.trials} trials start before any has a score, so the search learns less from each; raise "
        "budget.trials, or let each trial take more (resources.workers). What fewer at once would find: "
        "ipix-tune simulate STUDY.yaml --curves power --concurrent N"
    ]
