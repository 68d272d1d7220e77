"""Tags of a TIFF file."""

from typing import Any

from PIL import Image, TiffImagePlugin


def tiff_tag(image: Image.Image, tag: int, default: int) -> int:
    """The first value of a tag, as a number; ``default`` where the image has no such tag or is no TIFF."""
    return int(first(image.tag_v2.get(tag, default))) if isinstance(image, TiffImagePlugin.TiffImageFile) else default


def first(value: Any) -> Any:
    """The first of several values; a single value as it is."""
    return value[0] if isinstance(value, tuple) and value else value
