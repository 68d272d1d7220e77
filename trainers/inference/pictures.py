"""Predictions as files: index PNGs, overlays, probabilities. Each is written whole or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainers.common.atomic import replacing
from trainers.common.errors import OutputError

OPACITY = 0.55
"""Opacity of a class's colour over the image."""
QUALITY = 90
"""JPEG quality of overlays."""


def write_mask(path: Path, classes: NDArray[np.uint8], palette: NDArray[np.uint8]) -> None:
    """Class indices (H, W) as a PNG with a palette (256, 3): programs show colours, and readers get the indices."""
    picture = Image.fromarray(classes, mode="P")
    picture.putpalette(palette.tobytes())
    _whole(path, lambda file: picture.save(file, format="png", compress_level=3))


def write_overlay(
    path: Path, pixels: NDArray[np.uint8], classes: NDArray[np.uint8], palette: NDArray[np.uint8], *, clear: int | None
) -> None:
    """The image (H, W, 3) under its classes' colours, as a JPEG.

    Args:
        clear: a class that gets no colour, such as the background.
    """
    share = np.full(256, OPACITY, np.float32)
    if clear is not None:
        share[clear] = 0
    weight = share[classes][..., None]
    mixed = pixels * (1 - weight) + palette[classes] * weight
    picture = Image.fromarray(np.rint(mixed).astype(np.uint8))
    _whole(path, lambda file: picture.save(file, format="jpeg", quality=QUALITY))


def write_probabilities(path: Path, shares: NDArray[np.float32], classes: tuple[str, ...]) -> None:
    """Probabilities (C, H, W) as float16 in an .npz file, under `probabilities`, and the classes' names, `classes`."""
    arrays = {"probabilities": shares.astype(np.float16), "classes": np.array(classes)}
    _whole(path, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]


def _whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            write(file)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written: {error.strerror or error}; mend that and run the same command again, which "
            "goes on from there"
        ) from error
