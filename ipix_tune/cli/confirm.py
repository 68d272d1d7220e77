"""`ipix-tune confirm studies/voc`: is the best trial better, or lucky? Paired seeds, then verdicts."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ipix_tune.cli.exit_codes import run as run_app
from ipix_tune.storage.study_folder import load_study

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def confirm(
    study: Annotated[Path, typer.Argument(help="Folder of a study that was searched, or its study file.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a value of the study file, such as confirm.max_seeds=6; repeatable.",
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="HOST:PORT of a Ray cluster, or auto. Default: RAY_ADDRESS, else a Ray started on this machine."
        ),
    ] = None,
    more_seeds: Annotated[
        int,
        typer.Option(
            "--more-seeds",
            metavar="N",
            help="Extend a confirmation that has ended by N seeds.",
            min=0,
        ),
    ] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a confirmation that has begun.")] = False,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="With --resume: run failed trials once more, from their checkpoints."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and what it costs at most, and run nothing.")
    ] = False,
) -> None:
    """Re-train the best configs, the defaults and their ablations with paired seeds, until the verdicts are in."""
    from ipix_tune.config.confirm_section import ConfirmError
    from ipix_tune.execution.echo import say
    from ipix_tune.study.run_confirm import confirm as confirm_study
    from ipix_tune.study.run_confirm import describe
    from ipix_tune.study.run_search import finish

    console = Console(markup=False, emoji=False)
    if retry_failed and not resume:
        raise ConfirmError("--retry-failed belongs to --resume: a confirmation that begins has no failed runs")
    config = load_study(study, overrides or [])
    if dry_run:
        for line in describe(config, more_seeds=more_seeds):
            say(console, line)
        return
    given = [*(f"--set={one}" for one in overrides or []), *([f"--address={address}"] if address else [])]
    again = shlex.join(["ipix-tune", "confirm", str(study), *given, "--resume"])
    outcome = confirm_study(
        config,
        resume=resume,
        address=address,
        console=console,
        more_seeds=more_seeds,
        retry_failed=retry_failed,
        on_begun=lambda: say(console, f"after any interruption go on with: {again}"),
    )
    made = finish(config, outcome, console=console)
    if outcome.cut_short is not None:
        say(console, outcome.cut_short)
        say(console, f"go on with: {again}")
    if outcome.by_user:
        sys.exit(130)
    if outcome.cut_short is not None or outcome.scored == 0 or not made:
        sys.exit(1)


if __name__ == "__main__":
    run_app(app)
