"""`ipix-tune model-card RUN...`: the card beside a run's weights, written anew or shown."""

from pathlib import Path
from typing import Annotated

import typer

from trainers.common.errors import ConfigError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def model_card(
    runs: Annotated[
        list[Path], typer.Argument(help="A run's folder; further ones are runs of the same config with other seeds.")
    ],
    show: Annotated[bool, typer.Option("--show", help="Print the card, and write nothing.")] = False,
) -> None:
    """Write README.md beside a run's weights: what trained it, on what, how well, and how sure that is."""
    from trainers.inference.model_card import model_card as text_of
    from trainers.inference.model_card import seed_runs, write_card

    beside = seed_runs(runs) if len(runs) > 1 else ()
    if show:
        typer.echo(text_of(runs[0], beside=beside))
        return
    for run in runs:
        path = write_card(run, beside=beside)
        if path is None:
            raise ConfigError(f"{run / 'README.md'} is not ours, and is not overwritten; move it, or take --show")
        typer.echo(str(path))
