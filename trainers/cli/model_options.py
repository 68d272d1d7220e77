"""What the commands on trained models share: their options, what these say as keys of the run's config, and how they
show what they do."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from trainers.common.errors import ConfigError

if TYPE_CHECKING:
    from trainers.inference.augmented import Augmentation
    from trainers.inference.model import LoadedModel
    from trainers.inference.sources import Which

Model = Annotated[Path, typer.Argument(help="A run's folder, a study's trials/<key>, or a checkpoint (.pt).")]
Weights = Annotated[
    str | None,
    typer.Option(help="Which weights of a run's folder: last (epoch), or best (on held-out images)."),
]
Sliding = Annotated[
    bool | None,
    typer.Option(
        "--sliding/--whole",
        help="Sliding windows with a stride of 2/3 of their side, or whole images. Default: as the run evaluates.",
    ),
]
Window = Annotated[int | None, typer.Option(min=16, help="Side of the windows in pixels; default: data.crop.")]
Scales = Annotated[str, typer.Option(help="Test-time augmentation: average over these sizes, such as 0.75,1,1.25.")]
Flip = Annotated[
    list[str] | None,
    typer.Option(help="Test-time augmentation: horizontal, vertical; repeatable, both are four views."),
]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda; default: as the config says.")]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="CPU threads; default: as the config says. Another number may change the last digits."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a value of the run's config, in data, evaluation or precision; repeatable.",
    ),
]


def which(weights: str | None) -> "Which | None":
    """``--weights``. Raises ConfigError where it is neither last nor best."""
    if weights is None or weights == "last" or weights == "best":
        return weights  # type: ignore[return-value]
    raise ConfigError(f"--weights {weights}: allowed are last and best")


def config_overrides(
    *, sliding: bool | None, window: int | None, threads: int | None, given: list[str] | None
) -> tuple[str, ...]:
    """What the options say, as ``--set`` would; what was set by name comes last.

    Raises:
        ConfigError: windows were asked for by their size and whole images too.
    """
    if window is not None and sliding is False:
        raise ConfigError("--window belongs to --sliding: whole images have no windows")
    found = []
    if sliding is not None or window is not None:
        found.append(f"evaluation.mode={'whole' if sliding is False else 'sliding'}")
    if window is not None:
        found.append(f"data.crop={window}")
    if threads is not None:
        found.append(f"precision.cpu_threads={threads}")
    return (*found, *(given or ()))


def augmentation_of(scales: str, flips: list[str] | None) -> "Augmentation":
    """``--scales`` and ``--flip``. Raises ConfigError."""
    from trainers.inference.augmented import Augmentation

    try:
        numbers = tuple(float(one) for one in scales.replace(" ", "").split(","))
    except ValueError:
        raise ConfigError(f"--scales {scales}: numbers apart by commas, such as 0.75,1,1.25") from None
    return Augmentation(scales=numbers, flips=tuple(flips or ()))  # type: ignore[arg-type]


def headline(model: "LoadedModel", images: int, *, views: int = 1) -> str:
    """Which weights are used on how many images, and how they are seen."""
    config = model.config
    seen = f"windows of {config.data.crop} pixels" if config.evaluation.mode == "sliding" else "whole images"
    at = "" if config.evaluation.scale == 1 else f" at {config.evaluation.scale:g} of their size"
    often = "" if views == 1 else f", {views} views each"
    threads = config.precision.cpu_threads
    on = f"cpu, {threads} thread{'s' if threads > 1 else ''}" if model.device.type == "cpu" else model.device.type
    return (
        f"{model.path}: epoch {model.epoch}, {config.method.name}, {model.num_classes} classes; {images} "
        f"image{'' if images == 1 else 's'}, {seen}{at}{often} ({on})"
    )


def plain(console: Console) -> Callable[[str], None]:
    """Prints lines as they are: no markup, no colours of numbers, no breaks."""

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True, markup=False)

    return say


def image_bar(console: Console) -> Progress:
    """How many images are done, on a terminal."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} images"),
        TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
