"""`ipix-tune init --images DIR --masks DIR`: looks at a folder of images and masks, and writes a study of it."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ipix_tune.cli.exit_codes import run

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def init(
    images: Annotated[Path, typer.Option(help="Folder of the images; folders in it count too.")],
    masks: Annotated[
        Path | None, typer.Option(help="Folder of the masks, called as their images; it may be the same one.")
    ] = None,
    annotations: Annotated[
        list[Path] | None,
        typer.Option(help="COCO's instance JSON instead of --masks; its outlines are painted into STUDY-masks/."),
    ] = None,
    labelled: Annotated[
        int | None,
        typer.Option(min=1, help="How many images keep their labels; default: all, where there are images without."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The study file to write, or a folder for it.")] = Path("study.yaml"),
    name: Annotated[str | None, typer.Option(help="Name of the study; default: that of the folder.")] = None,
    classes: Annotated[
        str | None, typer.Option(help="Names of the classes in the order of their indices: background,cat,dog.")
    ] = None,
    label_map: Annotated[
        str | None,
        typer.Option(
            help="Which class each mask value is, where values are not classes: '{0: 0, 255: 1}', or reduce_zero."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other images.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the study file and its lists.")] = False,
) -> None:
    """Write a first study of images and masks."""
    from ipix_tune.study.first_study import begin

    names = None if classes is None else tuple(one.strip() for one in classes.split(",") if one.strip())
    given = ["ipix-tune", "init", *(one for one in sys.argv[2:] if one != "--force")]
    lines = begin(
        images=images,
        masks=masks,
        annotations=tuple(annotations or ()),
        labelled=labelled,
        out=out,
        name=name,
        names=names,
        label_map=_label_map(label_map),
        seed=seed,
        force=force,
        command=shlex.join(given),
        progress=_progress,
    )
    for line in lines:
        typer.echo(line)


def _label_map(text: str | None) -> Any:
    """The text of --label-map as a value of `data.label_map`."""
    if text is None:
        return None
    from pydantic import TypeAdapter, ValidationError

    from trainers.common.errors import ConfigError
    from trainers.common.yaml_file import parse_value
    from trainers.data.labelmap import LabelMapConfig

    try:
        return TypeAdapter(LabelMapConfig).validate_python(parse_value(text, source="--label-map"))
    except ValidationError as error:
        raise ConfigError(f"--label-map: {str(error).splitlines()[-2].strip()}; write '{{0: 0, 255: 1}}'") from None


def _progress(files: int) -> Callable[[], object]:
    """A bar on the terminal, none where the output goes elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True, markup=False, emoji=False)
    if not console.is_terminal:
        return lambda: None
    bar = Progress(console=console, transient=True)
    task = bar.add_task(f"looking at {files} files", total=files)
    bar.start()
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        bar.advance(task)
        if done == files:
            bar.stop()

    return step


if __name__ == "__main__":
    run(app)
