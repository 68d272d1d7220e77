"""What may be wrong with mask files though their values can be read: palettes whose colours say something else than the
indices, formats that do not keep values, and one mask for several images."""

from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainers.data.layout import Item
from trainers.data.opening import MeaningError, opened
from trainers.interface.labels import IGNORE

Colour = tuple[int, int, int]
LOSSY = ("JPEG", "MPO")


class MaskFiles:
    """Looks at masks one by one; `warnings` is what there is to say of them all.

    Args:
        num_classes: indices are below it, or 255.
    """

    def __init__(self, num_classes: int) -> None:
        self._num_classes = num_classes
        self._index_of: dict[Colour, tuple[int, Path]] = {}
        self._images: dict[Path, set[Path]] = defaultdict(set)
        self._lossy: list[Path] = []
        self._by_colour: str | None = None
        self._differ: str | None = None

    def add(self, item: Item, values: NDArray[np.uint8]) -> None:
        """Look at the mask of an item.

        Args:
            values: what was read from it, (H, W).

        Raises:
            MeaningError: its palette is grey, and its greys are class indices in another order than its indices.
        """
        assert item.mask is not None
        self._images[item.mask].add(item.image)
        with opened(item.mask, item) as image:
            if image.format in LOSSY or image.info.get("compression") == "jpeg":
                self._lossy.append(item.mask)
            palette = image.getpalette("RGB") if image.mode == "P" else None
        if palette is None or item.decoding.label_map is not None or item.label_ids:
            return
        used = (int(index) for index in np.flatnonzero(np.bincount(values.ravel(), minlength=IGNORE + 1)))
        colours: dict[int, Colour] = {
            index: (palette[3 * index], palette[3 * index + 1], palette[3 * index + 2])
            for index in used
            if 3 * index + 2 < len(palette)
        }
        if (greys := self._others(colours, {(v, v, v): v for v in range(256)}, sure=False)) is not None:
            index, value = greys
            raise MeaningError(
                f"{item.mask}: is a palette image whose index {index} is the grey {value} (named in "
                f"{item.where or item.name}), as where a program has sorted a palette anew: whether {index} or {value} "
                "is the class is not known. Write the mask without a palette, or name its indices in data.label_map "
                f"({_entry(index, index)}) or its colours ({_entry(_hex((value,) * 3), value)})"
            )
        if self._by_colour is None and (found := self._others(colours, VOC_INDEX, sure=True)) is not None:
            index, value = found
            self._by_colour = (
                f"warning: {item.mask}: index {index} has the colour {_hex(colours[index])}, which is that of class "
                f"{value} in the palette of Pascal VOC; programs that sort a palette anew change the indices. Where "
                f"the colours are right, say so in data.label_map: {_entry(_hex(colours[index]), value)}"
            )
        self._compare(item.mask, colours)

    def _others(self, colours: dict[int, Colour], table: dict[Colour, int], *, sure: bool) -> tuple[int, int] | None:
        """An index that has the colour of another class, and that class, where all colours that occur are in a table
        from colours to classes, and they cannot be a palette that was only made to be looked at.

        Args:
            sure: the table's colours are not chosen by chance; else one of them must stand where it belongs, or be a
                class other than 0.
        """
        meant = {index: table[colour] for index, colour in colours.items() if colour in table}
        wrong = {index: value for index, value in meant.items() if index != value}
        if len(meant) < len(colours) or len(set(meant.values())) < len(meant) or not wrong:
            return None
        if any(value >= self._num_classes and value != IGNORE for value in wrong.values()):
            return None
        in_place = any(index == value > 0 for index, value in meant.items())
        if in_place or any(0 < value < self._num_classes for value in wrong.values()) or (sure and max(wrong.values())):
            return next(iter(sorted(wrong.items(), key=lambda one: (one[1] == 0, one))))
        return None

    def _compare(self, mask: Path, colours: dict[int, Colour]) -> None:
        """Whether one colour has one index in all masks."""
        once = {colour: index for index, colour in colours.items() if list(colours.values()).count(colour) == 1}
        for colour, index in once.items():
            other, where = self._index_of.setdefault(colour, (index, mask))
            if other != index and self._differ is None:
                self._differ = (
                    f"warning: the colour {_hex(colour)} is index {other} in {where} and {index} in {mask}: the "
                    "palettes of the masks differ. Where the colours are right and not the indices, name them in "
                    f"data.label_map, as in {_entry(_hex(colour), '...')}"
                )

    @property
    def warnings(self) -> list[str]:
        """Lines for people."""
        lines = [one for one in (self._by_colour, self._differ) if one is not None]
        if self._lossy:
            lines.append(
                f"warning: {len(self._lossy)} masks are compressed as JPEG, which does not keep values, first "
                f"{self._lossy[0]}: near edges they may hold other classes; store masks as PNG"
            )
        shared = {mask: images for mask, images in self._images.items() if len(images) > 1}
        if shared:
            mask, images = next(iter(shared.items()))
            first, second = sorted(images)[:2]
            count = len(set().union(*shared.values()))
            lines.append(
                f"warning: {count} images have a mask that another image has too, first {mask} ({first.name}, "
                f"{second.name}): see whether the lists name the right masks"
            )
        return lines


def _hex(colour: tuple[int, ...]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _entry(key: str | int, value: str | int) -> str:
    shown = f'"{key}"' if isinstance(key, str) else key
    return f"{{{shown}: {'ignore' if value == IGNORE else value}, ...}}"


def _voc_colours() -> dict[Colour, int]:
    """Index by colour in the palette of Pascal VOC: the bits of the index, dealt in turn to red, green and blue."""
    table: dict[Colour, int] = {}
    for index in range(256):
        channels = [sum((index >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3)) for channel in range(3)]
        table[channels[0], channels[1], channels[2]] = index
    return table


VOC_INDEX = _voc_colours()
