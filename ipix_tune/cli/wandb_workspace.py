"""`ipix-tune wandb-workspace STUDY`: a saved workspace of the study on W&B."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ipix_tune.cli.exit_codes import run
from ipix_tune.config.load_study import load
from ipix_tune.storage.study_folder import STUDY
from ipix_tune.storage.study_identity import identity
from ipix_tune.study.plan import make_plan
from ipix_tune.tracking.workspace import save, specification, workspace
from trainers.common.errors import UserError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def wandb_workspace(
    study: Annotated[Path, typer.Argument(help="A study's folder.")],
    out: Annotated[
        Path | None, typer.Option(help="Write the workspace's specification to this JSON file, and send nothing.")
    ] = None,
) -> None:
    """Save a workspace of the study on W&B: score, parameters, the inter-pixel distances, rungs (WANDB_BASE_URL and
    WANDB_API_KEY say where and as whom). It shows the runs that are there: see wandb-sync."""
    if not (study / STUDY).is_file():
        raise UserError(f"{study}: no study here; give a study's folder, such as studies/voc")
    config = load(study / STUDY)
    plan = make_plan(config)
    if out is None:
        typer.echo(f"workspace: {save(study, config, rungs=plan.rungs, max_epochs=plan.max_epochs)}")
        return
    entity = config.logging.entity or ""
    made = workspace(config, entity=entity, group=identity(study, config), rungs=plan.rungs, max_epochs=plan.max_epochs)
    spec = specification(made)
    try:
        out.write_text(json.dumps(spec, indent=2) + "\n")
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror}") from None
    typer.echo(f"specification: {out}")


if __name__ == "__main__":
    run(app)
