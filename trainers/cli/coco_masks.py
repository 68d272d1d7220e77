"""`ipix-tune coco-masks`: class masks from the outlines of COCO's instance JSON."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def coco_masks(
    annotations: Annotated[
        list[Path], typer.Argument(help="Files such as instances_train2017.json; several share their categories.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the masks, and of classes.txt.")],
    empty_is_background: Annotated[
        bool, typer.Option("--empty-is-background", help="Images without annotations are background, not unlabelled.")
    ] = False,
) -> None:
    """Paint the masks of all images of COCO's instance JSON."""
    from trainers.data.coco_json import read_instances, write_masks

    for line in write_masks(read_instances(annotations), out, empty_is_background=empty_is_background):
        typer.echo(line)
