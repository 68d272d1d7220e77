"""`--dry-run`: everything short of a trial. Opens the data, builds the model, fits the cluster, prints the plan."""

from collections.abc import Mapping, Sequence

from rich.console import RenderableType

from ipix_tune.config.dead_dimensions import check_dead_dimensions
from ipix_tune.config.device_grant import few_images, granted, idle_gpus, shares
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.execution.preflight import check_run
from ipix_tune.search.warm_start import describe_warm_start
from ipix_tune.study.earlier_noise import describe_rung_noise
from ipix_tune.study.memory_forecast import gpu_bytes_here, plan_memory
from ipix_tune.study.plan import make_plan, render
from ipix_tune.study.step_timing import measure


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
    configs = [granted(space.to_config(values), study.resources) for values in (*study.points[:1], plan.sample)]
    data, steps = check_run(configs[0], workers=study.resources.workers)
    if (share := shares(configs[0], study.resources)) is not None:
        data = [*data, share]
    threads = max(1, int(study.resources.cpus_per_worker))
    cost = measure(configs, steps_per_epoch=steps, threads=threads) if measured else None
    warnings = check_dead_dimensions(space)
    asked = space.to_config(plan.sample).precision.device
    if (idle := idle_gpus(asked, study.resources, cluster or {})) is not None:
        warnings = [*warnings, idle]
    warm = [*describe_warm_start(study, space), *describe_rung_noise(study, max_epochs=plan.max_epochs)]
    if (few := few_images(configs[0], study.resources)) is not None:
        warnings = [*warnings, few]
    memory, too_much = plan_memory(configs[0], study.resources, steps_per_epoch=steps, gpu_bytes=gpu_bytes_here())
    if too_much is not None:
        warnings = [*warnings, too_much]
    return render(plan, data=data, warm=warm, memory=memory, cost=cost, warnings=warnings)
