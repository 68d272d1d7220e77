"""What the header of an image file says, without decoding it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Header:
    """What the header of an image file says.

    Args:
        size: (height, width) of the pixels as they are read, turned where they are turned.
        kind: mode and depth in words, such as "16-bit grey".
        turned: EXIF orientation by which the pixels are turned, 1: they are not.
        by_pixels: only the pixels tell whether the file can be read.
    """

    size: tuple[int, int]
    kind: str
    turned: int
    by_pixels: bool
