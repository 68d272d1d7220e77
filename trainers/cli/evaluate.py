"""`ipix-tune evaluate RUN_OR_CHECKPOINT --list test.txt`: all scores, with intervals over images."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trainers.cli.model_options import (
    Device,
    Flip,
    Model,
    Overrides,
    Scales,
    Sliding,
    Threads,
    Weights,
    Window,
    augmentation_of,
    config_overrides,
    headline,
    image_bar,
    plain,
    which,
)
from trainers.common.errors import ConfigError
from trainers.common.home import expanded

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
PARTS = ("holdout", "val")


@app.command()
def evaluate(
    model: Model,
    listed: Annotated[
        str | None, typer.Option("--list", help="Split file of images and masks, read as the run reads its own.")
    ] = None,
    part: Annotated[
        str | None,
        typer.Option("--on", help="In place of --list: holdout or val, the images that the run was scored on."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for tables and the confusion matrix as a picture; default: none.")
    ] = None,
    weights: Weights = None,
    sliding: Sliding = None,
    window: Window = None,
    scales: Scales = "1",
    flip: Flip = None,
    device: Device = None,
    threads: Threads = None,
    overrides: Overrides = None,
) -> None:
    """Score a trained network."""
    from trainers.inference.evaluate import evaluate as scored
    from trainers.inference.evaluate import run_images
    from trainers.inference.images import listed_images
    from trainers.inference.model import load_model
    from trainers.inference.tables import told, write_evaluation

    if (listed is None) == (part is None):
        raise ConfigError("give --list FILE, or --on holdout or --on val for the images that the run was scored on")
    if part is not None and part not in PARTS:
        raise ConfigError(f"--on {part}: allowed are {' and '.join(PARTS)}")
    augmentation = augmentation_of(scales, flip)
    loaded = load_model(
        model,
        weights=which(weights),
        device=device,
        overrides=config_overrides(sliding=sliding, window=window, threads=threads, given=overrides),
    )
    images = listed_images(loaded, listed, labelled=True) if listed else run_images(loaded, part)  # type: ignore[arg-type]
    console = Console(markup=False, emoji=False)
    say = plain(console)
    say(headline(loaded, len(images.items), views=augmentation.views))
    for line in images.said:
        say(line)
    with image_bar(console) as bar:
        task = bar.add_task("scoring", total=len(images.items))
        found = scored(
            loaded,
            images,
            augmentation=augmentation,
            on_image=lambda done, total: bar.update(task, completed=done, total=total),
        )
    for line in told(loaded, found):
        say(line)
    if out is not None:
        which_images = f"the run's {part} images" if part else str(listed)
        for path in write_evaluation(expanded(out), loaded, found, listed=which_images):
            say(str(path))
