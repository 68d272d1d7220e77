"""What the values or colours of masks mean, as far as masks show it: class indices, 0 and 255, greys, colours."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from trainers.common.errors import DataError
from trainers.data.maskfiles import VOC_INDEX
from trainers.data.survey.class_files import ClassFile
from trainers.data.survey.looking import SeenMask
from trainers.interface.labels import IGNORE

LabelMap = dict[str, int | Literal["ignore"]]
VOID = 0xE0E0C0
"""Colour of Pascal VOC's void."""
DENSE_BELOW = 32
"""Masks whose values are all below it hold class indices, also where few of them occur."""
FEW = 5e-4
MANY_COLOURS = 32
"""With at least so many colours, those that cover less than the share `FEW` of all pixels are blurred borders."""
_VOC = {red << 16 | green << 8 | blue: index for (red, green, blue), index in VOC_INDEX.items()}


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """How masks are read.

    Args:
        label_map: as `data.label_map`; None: they hold class indices.
        classes: names by class index.
        said: what was concluded, in lines for people.
    """

    label_map: LabelMap | None
    classes: tuple[str, ...]
    said: tuple[str, ...]


def meaning_of(
    masks: Mapping[Path, SeenMask], *, file: ClassFile | None = None, names: Sequence[str] | None = None
) -> Meaning:
    """What the masks' values mean.

    Args:
        masks: all masks that belong to an image.
        file: names of classes that lie beside them.
        names: given by the user, and taken before those of the file.

    Raises:
        DataError: they show one class only, or values that cannot be classes; says what to do.
    """
    _refuse_lossy(masks)
    of_colours = any(one.kind == "colours" for one in masks.values())
    label_map, count, said = _by_colour(masks, file) if of_colours else _by_value(masks)
    if count < 2:
        raise DataError(f"the masks show one class only ({said[0]}); there is nothing to tell apart")
    if count > IGNORE:
        raise DataError(f"the masks show {count} classes, and {IGNORE} are the most; are these instances, not classes?")
    classes, more = _named(count, label_map, file, names)
    return Meaning(label_map=label_map, classes=classes, said=(*said, *more))


def _refuse_lossy(masks: Mapping[Path, SeenMask]) -> None:
    blurred = [path for path, one in masks.items() if one.lossy and len(one.pixels) > 2]
    if blurred:
        raise DataError(
            f"{len(blurred)} of {len(masks)} masks are JPEG files, which do not keep values (first {blurred[0]}, with "
            f"{len(masks[blurred[0]].pixels)} values); save masks as PNG, those of two classes cut at 128"
        )


def _total(pixels: Sequence[Mapping[int, int]]) -> Counter[int]:
    total: Counter[int] = Counter()
    for one in pixels:
        total.update(one)
    return total


def _by_value(masks: Mapping[Path, SeenMask]) -> tuple[LabelMap | None, int, list[str]]:
    total = _total([one.pixels for one in masks.values()])
    values = sorted(total)
    shown = f"masks hold the values {_listed(values)}"
    if values == [0, IGNORE]:
        return {"0": 0, "255": 1}, 2, [f"{shown}: 0 is class 0 and 255 is class 1"]
    if values == [0, 1, IGNORE] and not any({1, IGNORE} <= one.pixels.keys() for one in masks.values()):
        return {"0": 0, "1": 1, "255": 1}, 2, [f"{shown}, and no mask both 1 and 255: both are read as class 1"]
    indices = [value for value in values if value != IGNORE]
    if not indices:
        return None, 1, [shown]
    if indices[0] == 0 and (indices[-1] < DENSE_BELOW or 2 * len(indices) > indices[-1]) and indices[-1] < IGNORE:
        said = [f"{shown}, read as class indices" + ("; 255 is ignored" if IGNORE in total else "")]
        if unseen := sorted(set(range(indices[-1])) - set(indices)):
            said.append(f"no mask shows class {_listed(unseen)}")
        return None, indices[-1] + 1, said
    taken = values if _evenly(values) else indices
    label_map: LabelMap = {str(value): place for place, value in enumerate(taken)}
    ignored = "; 255 is ignored" if IGNORE in total and IGNORE not in taken else ""
    return label_map, len(taken), [f"{shown}, read as classes in that order (data.label_map){ignored}"]


def _evenly(values: Sequence[int]) -> bool:
    """Whether they are spread evenly up to 255, as greys to look at are."""
    gaps = [after - before for before, after in pairwise(values)]
    return values[-1] == IGNORE and bool(gaps) and max(gaps) - min(gaps) <= 2


def _by_colour(masks: Mapping[Path, SeenMask], file: ClassFile | None) -> tuple[LabelMap, int, list[str]]:
    """Some masks have colours: all are then read by theirs, a palette's or grey ones too."""
    total = _total([_in_colours(one) for one in masks.values()])
    known = file.names if file is not None and file.of_colours else {}
    if len(total) > MANY_COLOURS and sum(count < FEW * total.total() for count in total.values()) > len(total) // 2:
        raise DataError(
            f"the masks hold {len(total)} colours, most of them in few pixels, as borders are that were blurred; write "
            "masks with one colour for each class, or class indices"
        )
    indexed = {colour: value for one in masks.values() for value, colour in one.colours.items()}
    order: list[int] = list(known) + sorted(set(total) - set(known) - {VOID}, key=lambda colour: _rank(colour, indexed))
    label_map: LabelMap = {f"#{colour:06x}": place for place, colour in enumerate(order)}
    if VOID in total and VOID not in known:
        label_map[f"#{VOID:06x}"] = "ignore"
    mixed = len({one.kind for one in masks.values()}) > 1
    how = "some by a palette or as greys, " if mixed else ""
    return label_map, len(order), [f"masks are coloured: {len(order)} colours, {how}read as classes (data.label_map)"]


def _in_colours(mask: SeenMask) -> dict[int, int]:
    if mask.kind == "colours":
        return mask.pixels
    grey = {value: value << 16 | value << 8 | value for value in mask.pixels}
    colours = grey if mask.kind == "values" else mask.colours
    found: Counter[int] = Counter()
    for value, count in mask.pixels.items():
        found[colours.get(value, 0)] += count
    return dict(found)


def _rank(colour: int, indexed: Mapping[int, int]) -> tuple[int, int]:
    """Black first, then by the index that a palette gives, then by that of Pascal VOC's palette, then by colour."""
    return (0, 0) if colour == 0 else (1 + indexed.get(colour, _VOC.get(colour, IGNORE)), colour)


def _named(
    count: int, label_map: LabelMap | None, file: ClassFile | None, names: Sequence[str] | None
) -> tuple[tuple[str, ...], list[str]]:
    """Names by class index, and what there is to say of them."""
    if names is not None:
        if len(names) < count:
            raise DataError(
                f"--classes names {len(names)} classes, and the masks show {count}; name all, the background too"
            )
        return tuple(names), []
    plain = ("background", "foreground") if count == 2 else tuple(f"class {index}" for index in range(count))
    if file is None:
        return plain, []
    if file.of_colours:
        by_colour = [f"#{colour:06x}" for colour in file.names]
        if label_map is None or list(label_map)[: len(by_colour)] != by_colour:
            return plain, [f"{file.path} names colours, and the masks hold none: not used"]
        return (*file.names.values(), *plain[len(by_colour) :]), [f"class names are those of {file.path}"]
    found = dict(file.names)
    if 0 not in found or len(found) == count - 1:  # the background goes without saying
        found = {0: "background"} | {index + (0 in file.names): name for index, name in file.names.items()}
    if label_map is not None and len(found) != count:
        return plain, [f"{file.path} names {len(file.names)} classes, and the masks show {count}: not used"]
    if max(found) + 1 < count or max(found) >= IGNORE:
        return plain, [f"{file.path} names {len(file.names)} classes, and the masks show {count}: not used"]
    size = max(count, max(found) + 1)
    return tuple(found.get(index, f"class {index}") for index in range(size)), [f"class names are those of {file.path}"]


def _listed(values: Sequence[int], *, most: int = 12) -> str:
    return ", ".join(map(str, values[:most])) + (f", ... {values[-1]}" if len(values) > most else "")
