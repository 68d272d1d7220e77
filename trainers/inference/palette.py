"""Colours of classes in index PNGs and overlays."""

import numpy as np
from numpy.typing import NDArray

from trainers.data.maskfiles import VOC_INDEX
from trainers.interface.labels import IGNORE

VOID = (224, 224, 192)
"""Colour of pixels that are 255 = ignore, as in Pascal VOC's masks."""
_CITYSCAPES = "804080 f423e8 464646 66669c be9999 999999 faaa1e dcdc00 6b8e23 98fb98 4682b4 dc143c ff0000 00008e 000046"
_CITYSCAPES += " 003c64 005064 0000e6 770b20"


def palette_of(data_set: str) -> NDArray[np.uint8]:
    """The colours of the indices 0 .. 255, (256, 3) uint8: Cityscapes' own for its 19 classes, else those of Pascal
    VOC, in which every index has another colour.

    Args:
        data_set: `data.name`.
    """
    colours = np.zeros((256, 3), np.uint8)
    for colour, index in VOC_INDEX.items():
        colours[index] = colour
    if data_set == "cityscapes":
        for index, colour_code in enumerate(_CITYSCAPES.split()):
            colours[index] = list(bytes.fromhex(colour_code))
    colours[IGNORE] = VOID
    return colours
