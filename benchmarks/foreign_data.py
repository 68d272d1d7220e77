"""`digits` as two folders of PNG files, `imgs/` and `masks/`, for programs that are not ours.

python -m benchmarks.foreign_data Pytorch-UNet/data
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from trainers.data.digits import DigitsConfig
from trainers.data.open import open_data
from trainers.interface.labels import IGNORE

IMAGES = 60

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    out: Annotated[Path, typer.Argument(help="Folder in which imgs/ and masks/ are made.")],
    images: Annotated[int, typer.Option(min=1, help="How many.")] = IMAGES,
) -> None:
    """Write scenes of the embedded data set, image and mask under one name. What has no label becomes background."""
    from PIL import Image

    given = {"name": "digits", "crop": 32, "batch_size": 1, "holdout": {"images": images, "source": "unlabelled"}}
    data = open_data(DigitsConfig.model_validate(given), final=False)
    for name in ("imgs", "masks"):
        (out / name).mkdir(parents=True, exist_ok=True)
    items = [item for item in (*data.labelled, *data.holdout) if item.mask is not None][:images]
    for number, item in enumerate(items):
        assert item.mask is not None
        Image.open(item.image).convert("RGB").save(out / "imgs" / f"{number:03d}.png")
        mask = np.asarray(Image.open(item.mask))
        Image.fromarray(np.where(mask == IGNORE, 0, mask).astype(np.uint8)).save(out / "masks" / f"{number:03d}.png")
    typer.echo(f"{len(items)} images and masks in {out}")


if __name__ == "__main__":
    app()
