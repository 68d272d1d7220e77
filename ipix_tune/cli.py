"""The console script `ipix-tune`: one name for the command lines of the parts, loaded only when called."""

import importlib
import sys

import typer

from ipix_tune.console import run

app = typer.Typer(
    name="ipix-tune",
    help="Hyperparameter studies of semi-supervised segmentation: search, report, export, train.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_FORWARD = {"allow_extra_args": True, "ignore_unknown_options": True}


def _forward(ctx: typer.Context, module: str) -> None:
    """Hand all arguments, `--help` included, to the command line of ``module``."""
    command = importlib.import_module(module).app
    run(command, args=ctx.args, prog_name=f"ipix-tune {ctx.info_name}")


@app.command(context_settings=_FORWARD, add_help_option=False)
def sweep(ctx: typer.Context) -> None:
    """Run a study file on Ray: --dry-run, --smoke, --resume, --set key=value."""
    _forward(ctx, "ipix_tune.sweep")


@app.command(context_settings=_FORWARD, add_help_option=False)
def confirm(ctx: typer.Context) -> None:
    """Is the best config better, or lucky? Paired seeds until the verdicts are in: --resume, --dry-run."""
    _forward(ctx, "ipix_tune.confirm")


@app.command(context_settings=_FORWARD, add_help_option=False)
def simulate(ctx: typer.Context) -> None:
    """Run a study on learning curves instead of trainings: --curves, --concurrent, --out."""
    _forward(ctx, "ipix_tune.simulate")


@app.command(context_settings=_FORWARD, add_help_option=False)
def report(ctx: typer.Context) -> None:
    """Tables, plots and report.html from a study's W&B logs."""
    _forward(ctx, "analysis.report")


@app.command(context_settings=_FORWARD, add_help_option=False)
def export(ctx: typer.Context) -> None:
    """Write the best training config of a study, with where it came from."""
    _forward(ctx, "ipix_tune.export")


@app.command(context_settings=_FORWARD, add_help_option=False)
def train(ctx: typer.Context) -> None:
    """Train one config here, or with --workers through Ray Train."""
    _forward(ctx, "ipix_tune.train")


@app.command(context_settings=_FORWARD, add_help_option=False)
def validate(ctx: typer.Context) -> None:
    """Check a study file or a training config without starting anything."""
    _forward(ctx, "ipix_tune.validate")


@app.command(context_settings=_FORWARD, add_help_option=False)
def repair(ctx: typer.Context) -> None:
    """Log again what a study's W&B files lack of what its record knows."""
    _forward(ctx, "ipix_tune.repair")


@app.command(context_settings=_FORWARD, add_help_option=False)
def wandb_sync(ctx: typer.Context) -> None:
    """Send runs that were logged to disk only to the W&B server."""
    _forward(ctx, "ipix_tune.wandb_sync")


@app.command(context_settings=_FORWARD, add_help_option=False)
def wandb_workspace(ctx: typer.Context) -> None:
    """Save a workspace of a study on W&B: objective, parameters, KL against CR, rungs."""
    _forward(ctx, "ipix_tune.wandb_workspace")


def main() -> None:
    """Entry point of the console script."""
    run(app, args=sys.argv[1:], prog_name="ipix-tune")


if __name__ == "__main__":
    main()
