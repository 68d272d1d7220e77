"""`ipix-tune wandb-workspace STUDY`: a saved workspace of the study on W&B, made with its package wandb-workspaces."""

import json
import math
import os
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from analysis.stats.best import SEEDS
from ipix_tune.atomic import replace_bytes
from ipix_tune.config import StudyConfig
from ipix_tune.console import run
from ipix_tune.dimensions import every_value
from ipix_tune.folder import STUDY
from ipix_tune.identity import identity
from ipix_tune.plan import make_plan
from ipix_tune.provenance import count_seeds
from ipix_tune.space import SearchSpace
from ipix_tune.studyfile import load
from ipix_tune.tracking import ask_server, score_key
from trainers.errors import UserError

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Section, Workspace

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

FILE = "wandb_workspace.json"
"""In the study's folder: {entity, project, name, id} of the view, which a second save replaces."""
DISTANCE = "interpixel.distance"


def workspace(study: StudyConfig, *, entity: str, group: str) -> "Workspace":
    """The workspace of the runs of ``group``; nothing is asked of any server.

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
        sections=sections(study),
        runset_settings=ws.RunsetSettings(
            filters=expr.And(expr.Metric("Group") == group, expr.Metric("JobType") == "search")
        ),
    )


def sections(study: StudyConfig) -> "list[Section]":
    """Objective, parameters, KL against CR (where the distance is searched), rungs (where there are any)."""
    from wandb_workspaces.reports.v2 import interface as panels
    from wandb_workspaces.workspaces import Section

    metric, plan = study.objective.metric, make_plan(study)
    heights = sorted({*plan.rungs, plan.max_epochs})
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
        full = f"{metric} after all {plan.max_epochs} epochs: mean and deviation of trials, not of seeds"
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
                    panels.BarPlot(
                        title=full, metrics=[score_key(plan.max_epochs)], groupby_aggfunc="mean", **by_distance
                    ),
                ],
            )
        )
    if plan.rungs:
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
    return f"{count_seeds(math.prod(len(list(every_value(space[name]))) for name in SEEDS if name in space))} each"


def specification(made: "Workspace") -> dict[str, Any]:
    """What would be sent to W&B as the view's content."""
    spec: dict[str, Any] = made._to_model().spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    return spec


def save(folder: Path, study: StudyConfig) -> str:
    """Save the study's workspace, over the one that was saved before; returns its address.

    Raises:
        UserError: wandb-workspaces is not installed, W&B is off, or the server does not answer or refuses.
    """
    import wandb

    group = identity(folder, study)
    workspace(study, entity="", group=group)
    mode = os.environ.get("WANDB_MODE", "online")
    if mode != "online":
        raise UserError(f"WANDB_MODE is {mode}, and a workspace is saved on a W&B server; unset it, or give --out FILE")
    try:
        ask_server()
    except OSError as error:
        raise UserError(f"no W&B server answers ({error}); try again later, or give --out FILE") from None
    try:
        entity = study.logging.entity or wandb.Api().default_entity or ""
        made = workspace(study, entity=entity, group=group)
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


@app.command()
def wandb_workspace(
    study: Annotated[Path, typer.Argument(help="A study's folder.")],
    out: Annotated[Path | None, typer.Option(help="Write the specification here as JSON, and send nothing.")] = None,
) -> None:
    """Save a workspace of the study on W&B: objective, parameters, KL against CR, rungs (WANDB_BASE_URL and
    WANDB_API_KEY say where and as whom). It shows the runs that are there: see wandb-sync."""
    if not (study / STUDY).is_file():
        raise UserError(f"{study}: no study here; give a study's folder, such as studies/voc")
    config = load(study / STUDY)
    if out is None:
        typer.echo(f"workspace: {save(study, config)}")
        return
    entity = config.logging.entity or ""
    spec = specification(workspace(config, entity=entity, group=identity(study, config)))
    try:
        out.write_text(json.dumps(spec, indent=2) + "\n")
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror}") from None
    typer.echo(f"specification: {out}")


if __name__ == "__main__":
    run(app)
