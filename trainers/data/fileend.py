"""Whether a file has the end that its format has: one that was cut off is found without decoding all of them."""

from pathlib import Path
from typing import Any

from PIL import Image, TiffImagePlugin

TAIL = 2**16
"""Bytes in which a JPEG's end is looked for: programs of cameras write something behind it."""
JPEG_END, PNG_END, GIF_END = b"\xff\xd9", b"IEND", b";"
STRIPS, TILES = (273, 279), (324, 325)
"""Tags of TIFF: where its parts lie, and how long they are."""


def may_be_cut_off(path: Path, image: Image.Image) -> bool:
    """Whether the end of an image file is not where it should be, so that only decoding tells whether it is whole. Of
    formats that do not mark their end: False.

    Args:
        path: the file.
        image: the same, opened by Pillow.

    Raises:
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:

        def last(count: int) -> bytes:
            file.seek(max(0, size - count))
            return file.read()

        def number(at: int) -> int:
            file.seek(at)
            return int.from_bytes(file.read(4), "little")

        if image.format in ("JPEG", "MPO"):  # a preview in the header has an end too
            return JPEG_END not in last(min(TAIL, size // 2))
        if image.format == "PNG":
            return last(8)[:4] != PNG_END
        if image.format == "GIF":
            return last(1) != GIF_END
        if image.format == "WEBP":
            return number(4) + 8 > size
        if image.format == "BMP":
            return number(2) > size
    return isinstance(image, TiffImagePlugin.TiffImageFile) and any(end > size for end in _ends(image))


def _ends(image: TiffImagePlugin.TiffImageFile) -> list[int]:
    """Where the parts of a TIFF end."""
    found: list[int] = []
    for where, length in (STRIPS, TILES):
        starts, counts = (_several(image.tag_v2.get(tag, ())) for tag in (where, length))
        found += [start + count for start, count in zip(starts, counts, strict=False)]
    return found


def _several(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple) else (int(value),)
