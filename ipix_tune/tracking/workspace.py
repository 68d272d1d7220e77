"""A workspace of a study on W&B, made with its package wandb-workspaces."""

import json
import math
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.stats.best import SEEDS
from ipix_tune.config.dimension import every_value
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.storage.atomic import replace_bytes
from ipix_tune.storage.study_identity import identity
from ipix_tune.tracking.client import ask_server
from ipix_tune.tracking.runs import score_key
from trainers.common.errors import UserError

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Section, Workspace


FILE = "wandb_workspace.json"
"""File in the study's folder with {entity, project, name, id} of the view, which a second save replaces."""
DISTANCE = "interpixel.distance"


def workspace(study: StudyConfig, *, entity: str, group: str, rungs: Sequence[int], max_epochs: int) -> "Workspace":
    """The workspace of the runs of ``group``; nothing is asked of any server.

    Args:
        study: whose runs.
        entity: of W&B.
        group: of the study's runs.
        rungs: epochs at which the scheduler decides.
        max_epochs: full length of a trial.

    Raises:
        UserError: wandb-workspaces is not installed.
    """
    try:
        from wandb_workspaces import expr
        from wandb_workspaces import workspaces as ws
    except ImportError:
        raise UserError("wandb-workspaces is not installed; pip install 'ipix-tune[workspaces]'") from None
    return ws.Workspace(
        entity=entity,
        project=study.logging.project,
        name=study.name,
        sections=sections(study, rungs=rungs, max_epochs=max_epochs),
        runset_settings=ws.RunsetSettings(
            filters=expr.And(expr.Metric("Group") == group, expr.Metric("JobType") == "search")
        ),
    )


def sections(study: StudyConfig, *, rungs: Sequence[int], max_epochs: int) -> "list[Section]":
    """Objective, parameters, KL against CR (where the distance is searched), rungs (where there are any)."""
    from wandb_workspaces.reports.v2 import interface as panels
    from wandb_workspaces.workspaces import Section

    metric = study.objective.metric
    heights = sorted({*rungs, max_epochs})
    parameters = [
        panels.ParallelCoordinatesPlotColumn(
            panels.Config(f"trainer.{name}"), display_name=name, log=dimension.kind.startswith("log") or None
        )
        for name, dimension in study.search.items()
    ]
    scored = panels.ParallelCoordinatesPlotColumn(panels.SummaryMetric(metric))
    found = [
        Section(
            name="Objective",
            is_open=True,
            panels=[panels.LinePlot(title=f"{metric} by epoch, {_seeds_each(study)}", x="epoch", y=[metric])],
        ),
        Section(
            name="Parameters",
            is_open=True,
            panels=[
                panels.ParallelCoordinatesPlot(title="Parameters and last score", columns=[*parameters, scored]),
                panels.ParameterImportancePlot(with_respect_to=metric),
            ],
        ),
    ]
    if DISTANCE in study.search:
        by_distance: dict[str, Any] = {"groupby": panels.Config(f"trainer.{DISTANCE}"), "groupby_rangefunc": "stddev"}
        full = f"{metric} after all {max_epochs} epochs: mean and deviation of trials, not of seeds"
        found.append(
            Section(
                name="KL against CR",
                is_open=True,
                panels=[
                    panels.LinePlot(
                        title=f"{metric} by epoch: mean and deviation of the trials still running",
                        x="epoch",
                        y=[metric],
                        groupby_aggfunc="mean",
                        **by_distance,
                    ),
                    panels.BarPlot(title=full, metrics=[score_key(max_epochs)], groupby_aggfunc="mean", **by_distance),
                ],
            )
        )
    if rungs:
        columns = [
            panels.ParallelCoordinatesPlotColumn(panels.SummaryMetric(score_key(epoch)), display_name=f"epoch {epoch}")
            for epoch in heights
        ]
        steps = [
            panels.ScatterPlot(
                title=f"{metric}: epoch {early} against epoch {late}",
                x=panels.SummaryMetric(score_key(early)),
                y=panels.SummaryMetric(score_key(late)),
            )
            for early, late in pairwise(heights)
        ]
        title = f"{metric} at each rung and at full length"
        found.append(
            Section(
                name="Rungs",
                is_open=True,
                panels=[panels.ParallelCoordinatesPlot(title=title, columns=columns), *steps],
            )
        )
    return found


def _seeds_each(study: StudyConfig) -> str:
    """With how many seeds a configuration runs: all combinations of those that a grid searches, else one."""
    space = SearchSpace(study).dimensions
    seeds = math.prod(len(every_value(space[name])) for name in SEEDS if name in space)
    return f"{seeds} seed{'s' * (seeds != 1)} each"


def specification(made: "Workspace") -> dict[str, Any]:
    """What would be sent to W&B as the view's content."""
    spec: dict[str, Any] = made._to_model().spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    return spec


def save(folder: Path, study: StudyConfig, *, rungs: Sequence[int], max_epochs: int) -> str:
    """Save the study's workspace, over the one that was saved before; returns its address.

    Raises:
        UserError: wandb-workspaces is not installed, W&B is off, or the server does not answer or refuses.
    """
    import wandb

    group = identity(folder, study)
    workspace(study, entity="", group=group, rungs=rungs, max_epochs=max_epochs)
    mode = os.environ.get("WANDB_MODE", "online")
    if mode != "online":
        raise UserError(f"WANDB_MODE is {mode}, and a workspace is saved on a W&B server; unset it, or give --out FILE")
    try:
        ask_server()
    except OSError as error:
        raise UserError(f"no W&B server answers ({error}); try again later, or give --out FILE") from None
    try:
        entity = study.logging.entity or wandb.Api().default_entity or ""
        made = workspace(study, entity=entity, group=group, rungs=rungs, max_epochs=max_epochs)
        place = {"entity": made.entity, "project": made.project}
        before = json.loads((folder / FILE).read_bytes()) if (folder / FILE).exists() else {}
        if place == {name: before.get(name) for name in place}:
            made._internal_name, made._internal_id = before["name"], before["id"]
        made.save()
    except Exception as error:
        raise UserError(f"W&B does not save the workspace: {error}") from None
    view = {**place, "name": made._internal_name, "id": made._internal_id}
    replace_bytes(folder / FILE, json.dumps(view, indent=2).encode())
    return str(made.url)
