"""What earlier versions read otherwise, for the checkpoints that they left."""

from collections.abc import Iterable
from typing import Literal

from trainers.data.layout import Item
from trainers.data.opening import CorruptError, opened
from trainers.data.orientation import orientation_of
from trainers.data.pixels import highest_shade


def read_otherwise(items: Iterable[Item], *, exif: Literal["apply", "ignore"]) -> str | None:
    """The first file whose pixels are not what they were before there was `data.exif`, and why; None: all are.

    Opens the headers of all images and masks. A file that cannot be opened is passed over.

    Args:
        items: of all lists.
        exif: as the run sets it.
    """
    for item in items:
        for path in (item.image, item.mask):
            if path is None:
                continue
            try:
                with opened(path, item) as image:
                    orientation = orientation_of(image)
                    turned = orientation != 1 and (image.format == "TIFF") == (exif == "ignore")
                    if turned:
                        return f"{path} by its EXIF orientation ({orientation})"
                    if path == item.image and image.mode.startswith(("I", "F")):
                        return f"{path} by its depth (mode {image.mode}), which was cut off at 255"
                    if path == item.mask and highest_shade(image) < 255:
                        return f"{path} by its depth of 2 or 4 bits, which was spread over 0 .. 255"
            except CorruptError:
                continue
    return None
