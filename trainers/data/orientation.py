"""How the pixels of a file are turned when they are shown: its EXIF orientation, and what Pillow has made of it."""

from typing import Any

from numpy.typing import NDArray
from PIL import Image

from trainers.data.layout import Item

ORIENTATION = 0x112
"""Tag of EXIF and of TIFF."""
INVERSE_TURN = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}


def turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Pixels (H, W, ...) as an EXIF orientation of 1 .. 8 says they are to be shown."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def orientation_of(image: Image.Image) -> int:
    """Of the file as it is stored, by its EXIF block or else its XMP packet; asked before the pixels are loaded, since
    Pillow then turns a TIFF. A damaged EXIF block says nothing, as in viewers."""
    if image.format == "PNG" and not {"exif", "Raw profile type exif"} & image.info.keys():
        packet = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp") or ""
        if "Orientation" not in (packet.decode(errors="replace") if isinstance(packet, bytes) else packet):
            return 1  # asking would decode it
    try:
        orientation = int(image.getexif().get(ORIENTATION, 1))
    except Exception:
        return 1
    return orientation if orientation in INVERSE_TURN else 1


def load_turned(image: Image.Image, item: Item) -> int:
    """Load the pixels; the orientation by which they are still to be turned."""
    orientation = orientation_of(image)
    image.load()
    if image.format == "PNG":
        orientation = orientation_of(image)
    ignored = item.decoding.exif == "ignore"
    if image.format == "TIFF":
        return INVERSE_TURN.get(orientation, 1) if ignored else 1
    return 1 if ignored else orientation
