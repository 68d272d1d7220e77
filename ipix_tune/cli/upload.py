"""`ipix-tune wandb-sync STUDY`: send runs that were logged to disk only to the W&B server."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from ipix_tune.cli.exit_codes import run
from ipix_tune.tracking.client import ask_server
from trainers.common.errors import UserError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def unsent(folder: Path) -> list[Path]:
    """Run folders of a study that W&B's client has not marked as sent, oldest first.

    Raises:
        UserError: there are no W&B files.
    """
    found = sorted([*folder.glob("wandb/offline-run-*"), *folder.glob("wandb/run-*")], key=lambda path: path.name[-40:])
    if not found:
        raise UserError(f"{folder}: no W&B runs below {folder / 'wandb'}; give a study's or a training's folder")
    return [path for path in found if list(path.glob("*.wandb")) and not list(path.glob("*.wandb.synced"))]


@app.command()
def wandb_sync(
    study: Annotated[Path, typer.Argument(help="Folder of a study, or of a final training.")],
    project: Annotated[str | None, typer.Option(help="Send to this project instead of the runs' own.")] = None,
    entity: Annotated[str | None, typer.Option(help="Send to this entity instead of the runs' own.")] = None,
) -> None:
    """Send a study's runs to W&B (WANDB_BASE_URL and WANDB_API_KEY say where and as whom). What was sent is not sent
    again."""
    runs = unsent(study)
    if not runs:
        typer.echo(f"{study}: all runs have been sent")
        return
    try:
        ask_server()
    except OSError as error:
        raise UserError(f"no W&B server answers ({error}); {len(runs)} runs stay on disk, nothing is lost") from None
    options = [*(["--project", project] if project else []), *(["--entity", entity] if entity else [])]
    command = [sys.executable, "-m", "wandb", "sync", "--yes", "--include-online", *options]
    done = subprocess.run([*command, *(str(path.resolve()) for path in runs)], cwd=study)  # it logs where it runs
    left = unsent(study)
    typer.echo(f"{len(runs) - len(left)} of {len(runs)} runs sent")
    if done.returncode or left:
        raise UserError(f"{len(left)} runs are not sent; what W&B said stands above. Run this again, nothing is lost")


if __name__ == "__main__":
    run(app)
