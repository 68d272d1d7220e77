"""`ipix-tune predict RUN_OR_CHECKPOINT IMAGES --out DIR`: masks of images by a trained network."""

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

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def predict(
    model: Model,
    images: Annotated[list[Path] | None, typer.Argument(help="Image files, or folders of them.")] = None,
    out: Annotated[
        Path, typer.Option(help="Folder of the masks. What an earlier call left there is continued.")
    ] = Path("predictions"),
    listed: Annotated[
        str | None,
        typer.Option("--list", help="In place of images: a split file, read as the run reads its own (data.root)."),
    ] = None,
    weights: Weights = None,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also write the images with their classes' colours over them.")
    ] = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write the probabilities, float16 (C, H, W) in .npz files.")
    ] = False,
    sliding: Sliding = None,
    window: Window = None,
    scales: Scales = "1",
    flip: Flip = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Batch size, of images of equal size. Default: as the run evaluates.")
    ] = None,
    device: Device = None,
    threads: Threads = None,
    voc_server: Annotated[
        str | None,
        typer.Option(help="comp5_test or comp6_test: write masks in the folders that Pascal VOC's server expects."),
    ] = None,
    overrides: Overrides = None,
    redo: Annotated[
        bool,
        typer.Option(
            "--redo", help="Make all predictions again, and replace what other weights or options wrote into --out."
        ),
    ] = False,
) -> None:
    """Predict images."""
    from trainers.inference.images import given_images, listed_images
    from trainers.inference.model import load_model
    from trainers.inference.write import Outputs, write_predictions

    if (images is None or not images) == (listed is None):
        raise ConfigError("give images (files or folders), or --list FILE, and not both")
    outputs = Outputs(overlay=overlay, probabilities=probabilities, voc_server=voc_server)
    augmentation = augmentation_of(scales, flip)
    loaded = load_model(
        model,
        weights=which(weights),
        device=device,
        overrides=config_overrides(sliding=sliding, window=window, threads=threads, given=overrides),
    )
    found = given_images(loaded, images, without=out) if images else listed_images(loaded, str(listed))
    console = Console(markup=False, emoji=False)
    say = plain(console)
    say(headline(loaded, len(found.items), views=augmentation.views))
    if found.passed_over:
        say(f"{len(found.passed_over)} files are no images by their ending, first: {found.passed_over[0]}")
    with image_bar(console) as bar:
        task = bar.add_task("predicting", total=len(found.items))
        try:
            written = write_predictions(
                loaded,
                found,
                out,
                outputs=outputs,
                augmentation=augmentation,
                batch_size=batch_size,
                redo=redo,
                on_image=lambda done, total: bar.update(task, completed=done, total=total),
                on_fault=lambda text: say(f"not predicted: {text}"),
            )
        except KeyboardInterrupt:
            typer.echo(f"interrupted: the same command goes on with {out}", err=True)
            raise typer.Exit(130) from None
    faults = f"{len(written.faults)} could not be read"
    say(f"{written.predicted} predicted, {written.there} were there already, {faults}: {out}")
    if voc_server is not None:
        say(f"for the server: tar -czf results.tgz -C {out} results")
    if written.faults:
        raise typer.Exit(1)
