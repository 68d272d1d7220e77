"""`ipix-tune evaluate RUN_OR_CHECKPOINT --list test.txt`: all scores, with intervals over images."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from trainers.cli.model_options import augmentation_of, config_overrides, headline, which
from trainers.common.errors import ConfigError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
PARTS = ("holdout", "val")


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A run's folder, a study's trials/<key>, or a checkpoint (.pt).")],
    listed: Annotated[
        str | None, typer.Option("--list", help="Split file of images and masks, read as the run reads its own.")
    ] = None,
    part: Annotated[
        str | None, typer.Option("--on", help="Instead: holdout or val, the images that the run itself was scored on.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for tables and the confusion matrix as a picture; default: none.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Of a folder: last, or best on held-out images.")] = None,
    sliding: Annotated[
        bool | None,
        typer.Option(
            "--sliding/--whole", help="Windows at 2/3 stride, or whole images; default: as the run evaluates."
        ),
    ] = None,
    window: Annotated[
        int | None, typer.Option(min=16, help="Side of the windows in pixels; default: data.crop.")
    ] = None,
    scales: Annotated[
        str, typer.Option(help="Test-time augmentation: sizes that are averaged over, such as 0.75,1,1.25.")
    ] = "1",
    flip: Annotated[
        list[str] | None, typer.Option(help="Test-time augmentation: horizontal, vertical; repeatable.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda; default: as the config says.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; default: as the config says. May move last bits.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Laid over the run's config: data.*, evaluation.*, precision.*."
        ),
    ] = None,
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
    console = Console()

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True, markup=False)

    say(headline(loaded, len(images.items), views=augmentation.views))
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} images"),
        TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
    with bar:
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
        for path in write_evaluation(out.expanduser(), loaded, found, listed=which_images):
            say(str(path))
