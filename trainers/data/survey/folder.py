"""From two folders to a data set that can be trained on: pairs, what pixels and masks mean, and what is left out."""

import os
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainers.common.errors import ConfigError, DataError
from trainers.data.copies import Same
from trainers.data.folder import FolderConfig
from trainers.data.layout import RGB_BANDS, Item
from trainers.data.lists import split_text
from trainers.data.read import mask_array
from trainers.data.survey.bands import most_bands, normalisation_of
from trainers.data.survey.benchmark_folders import benchmark_lines
from trainers.data.survey.class_files import find_class_file
from trainers.data.survey.looking import Looked, SeenImage, look
from trainers.data.survey.meaning import LabelMap, Meaning, meaning_of
from trainers.data.survey.pairing import image_files, pair
from trainers.interface.labels import IGNORE

DARK_BITS = 14
"""Grey of 16 bits that uses no more of them than so many is spread over 0 .. 255 by `data.value_range`."""
NAMED = 3
"""Files that a line names."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """A data set that was looked at.

    Args:
        root: the folder that images and masks have in common.
        pairs: images with masks that can be used, by name.
        bare: images without.
        present: the classes in each pair's mask.
        sizes: (height, width) of every image of the two.
        classes: names by index.
        keys: what of the `data` section says how files are read: `label_map`, `bands`, `value_range`, `exif`.
        normalised: mean and deviation of each band in 0 .. 1, of images of other than three bands; else None.
        shares: of all labelled pixels, by class index.
        said: what was seen and concluded, in lines for people.
    """

    root: Path
    pairs: tuple[Item, ...]
    bare: tuple[Item, ...]
    present: tuple[frozenset[int], ...]
    sizes: tuple[tuple[int, int], ...]
    classes: tuple[str, ...]
    keys: dict[str, Any]
    shares: tuple[float, ...]
    said: tuple[str, ...]
    normalised: tuple[tuple[float, ...], tuple[float, ...]] | None = None


def survey(
    images: Path,
    masks: Path,
    *,
    names: Sequence[str] | None = None,
    label_map: LabelMap | Literal["reduce_zero"] | None = None,
    progress: Callable[[int], Callable[[], object]] = lambda files: lambda: None,
) -> Survey:
    """Look at every file of two folders.

    Args:
        images, masks: folders; one may lie in the other, or both be one.
        names: of the classes, where the user gave them.
        label_map: what the masks hold, where the user said it.
        progress: is told how many files there are, and gives what is called after each.

    Raises:
        DataError: a folder is missing or holds no images; no mask belongs to an image; masks whose values can be no
            classes. A single file that cannot be used is left out, and named in `said`.
    """
    images, masks = images.absolute(), masks.absolute()
    image_paths = image_files(images, without=masks if masks != images else None)
    mask_paths = image_paths if masks == images else image_files(masks, without=images)
    found = pair(image_paths, mask_paths, roots=(images, masks))
    mask_of = dict(found.pairs)
    every = [*mask_of, *found.images]
    bands = most_bands(every)
    looked = look(every, list(mask_of.values()), bands=bands, step=progress(len(every) + len(mask_of)))
    said = [f"{len(every)} images, {len(mask_of)} of them with a mask", *found.said]
    if len(looked.images) == 0:
        raise DataError(f"{images}: none of {len(every)} images can be read, first: {looked.faults[every[0]]}")
    meaning = _meaning(looked, masks, images, names, label_map)
    value_range, range_faults, range_said = _value_range(looked)
    exif, size_faults, exif_said = _sizes(looked, mask_of)
    faults = looked.faults | range_faults | size_faults
    said += [*_described(looked), *range_said, *exif_said, *meaning.said]
    keys = {
        "label_map": meaning.label_map,
        "bands": None if bands == RGB_BANDS else bands,
        "value_range": value_range,
        "exif": exif,
    }
    keys = {key: value for key, value in keys.items() if value is not None}
    root = Path(os.path.commonpath([images, masks]))
    decoding = FolderConfig.model_validate(
        {"name": "folder", "root": str(root), "classes": list(meaning.classes), "crop": 16, "batch_size": 1} | keys
    ).decoding(len(meaning.classes))
    items = [Item(image=path, mask=mask_of.get(path), root=root, decoding=decoding) for path in sorted(every)]
    usable, left_out = _usable(items, faults)
    once, copies = _once(usable)
    pairs = tuple(item for item in once if item.mask is not None)
    counts = _counts(pairs)[:, : len(meaning.classes)]
    return Survey(
        root=root,
        pairs=pairs,
        bare=tuple(item for item in once if item.mask is None),
        present=tuple(frozenset(np.flatnonzero(row).tolist()) for row in counts),
        sizes=tuple(looked.images[item.image].size for item in once),
        classes=meaning.classes,
        keys=keys,
        shares=tuple(float(share) for share in counts.sum(axis=0) / max(1, int(counts.sum()))),
        said=(*said, *left_out, *copies),
        normalised=None
        if bands == RGB_BANDS
        else normalisation_of([looked.images[one.image] for one in once], value_range),
    )


def _meaning(
    looked: Looked,
    masks: Path,
    images: Path,
    names: Sequence[str] | None,
    label_map: LabelMap | Literal["reduce_zero"] | None,
) -> Meaning:
    if not looked.masks:
        first = next(iter(looked.faults.items()))
        raise DataError(f"no mask can be read, first: {first[0]}: {first[1]}")
    if label_map is None:
        file = find_class_file([masks, masks.parent, images.parent])
        found = meaning_of(looked.masks, file=file, names=names)
        if found.label_map is not None or any(one.kind == "colours" for one in looked.masks.values()):
            return found
        values = {value for one in looked.masks.values() for value in one.pixels if value < IGNORE}
        return replace(found, said=(*found.said, *benchmark_lines(images, masks, values)))
    if label_map == "reduce_zero":
        values = {value for one in looked.masks.values() for value in one.pixels if 0 < value < 255}
        count = max(values, default=0)
    else:
        count = 1 + max((kind for kind in label_map.values() if kind != "ignore"), default=0)
    if names is not None and len(names) < count:
        raise ConfigError(f"--classes names {len(names)} classes, and --label-map has {count}; name every class")
    plain = tuple(f"class {index}" for index in range(count))
    given: Any = label_map
    return Meaning(label_map=given, classes=tuple(names or plain), said=("masks are read by --label-map",))


def _value_range(looked: Looked) -> tuple[list[float] | None, dict[Path, str], list[str]]:
    """`data.value_range` where grey is deeper than 8 bits and its range does not go without saying; which images it
    cannot serve; what there is to say."""
    deep = {path: one for path, one in looked.images.items() if one.values is not None}
    if not deep:
        return None, {}, []
    floats = {path: one for path, one in deep.items() if "float" in one.kind}
    whole = {path: one for path, one in deep.items() if path not in floats}
    chosen = floats if len(floats) > len(whole) else whole
    low = min(one.values[0] for one in chosen.values() if one.values)
    high = max(one.values[1] for one in chosen.values() if one.values)
    if chosen is floats:
        needed, darkest, brightest = low < 0 or high > 1, min(low, 0.0), high
    else:
        bits = max(8, int(high).bit_length())
        known = all(one.kind == "16-bit grey" or one.kind.endswith("bands of 16-bit") for one in chosen.values())
        needed, darkest, brightest = (not known) or bits <= DARK_BITS, min(low, 0.0), float(2**bits - 1)
    if not needed:
        return None, {}, []
    others = {
        path: f"{one.kind}, and data.value_range is that of the other deep images"
        for path, one in deep.items()
        if path not in chosen
    }
    others |= {
        path: f"{one.kind}, which data.value_range does not reach"
        for path, one in looked.images.items()
        if one.values is None and one.kind.startswith("16-bit")
    }
    what = "images" if any(one.sums for one in chosen.values()) else "grey"
    said = f"{what} deeper than 8 bits goes from {low:g} to {high:g}: data.value_range: [{darkest:g}, {brightest:g}]"
    return [darkest, brightest], others, [said]


def _sizes(looked: Looked, mask_of: dict[Path, Path]) -> tuple[str | None, dict[Path, str], list[str]]:
    """Whether EXIF orientations are to be ignored, masks that have not the size of their image, and what to say."""
    turned: Counter[str] = Counter()
    both = {
        image: (looked.images[image], looked.masks[mask].size)
        for image, mask in mask_of.items()
        if image in looked.images and mask in looked.masks
    }
    for image, size in both.values():
        if image.turned >= 5 and image.size[0] != image.size[1]:
            turned["apply" if size == image.size else "ignore" if size == image.size[::-1] else "other"] += 1
    ignore = turned["ignore"] > turned["apply"]
    faults = {
        mask_of[path]: f"{size[1]} x {size[0]} pixels, and its image has {_size(image, ignore)}"
        for path, (image, size) in both.items()
        if size != (image.size[::-1] if ignore and image.turned >= 5 else image.size)
    }
    by_exif = sum(one.turned != 1 for one in looked.images.values())
    if not by_exif:
        return None, faults, []
    why = f": {turned['ignore']} masks were drawn on the pixels as stored, data.exif: ignore" if ignore else ""
    return ("ignore" if ignore else None), faults, [f"{by_exif} images have an EXIF orientation{why}"]


def _size(image: SeenImage, ignore: bool) -> str:
    height, width = image.size[::-1] if ignore and image.turned >= 5 else image.size
    return f"{width} x {height}"


def _described(looked: Looked) -> list[str]:
    kinds = ", ".join(f"{count} {kind}" for kind, count in looked.kinds.most_common())
    endings = Counter(path.suffix.lower().removeprefix(".") for path in looked.images)
    sizes = sorted((one.size for one in looked.images.values()), key=lambda size: size[0] * size[1])
    (low, left), (high, right) = sizes[0], sizes[-1]
    span = f"{left} x {low}" + ("" if sizes[0] == sizes[-1] else f" to {right} x {high}")
    formats = ", ".join(f"{count} {ending}" for ending, count in endings.most_common())
    masks = Counter(one.kind for one in looked.masks.values())
    words = {"values": "of plain values", "palette": "with a palette", "colours": "of colours"}
    of_masks = ", ".join(f"{count} {words[kind]}" for kind, count in masks.most_common())
    return [f"images: {formats}; {kinds}; {span} pixels", f"masks: {of_masks}"]


def _usable(items: Sequence[Item], faults: dict[Path, str]) -> tuple[list[Item], list[str]]:
    """Items without the files at fault, and lines that name those. An image whose mask is at fault stays, without."""
    kept, without, named = [], [], []
    for item in items:
        if item.mask is not None and item.mask in faults:
            without.append(f"{item.mask}: {faults[item.mask]}")
            item = replace(item, mask=None)
        try:
            split_text([item])
        except DataError as error:
            named.append(str(error))
            continue
        if item.image in faults:
            named.append(f"{item.image}: {faults[item.image]}")
        else:
            kept.append(item)
    lines = _naming("left out", named) + _naming("masks not used, their images count as unlabelled", without)
    return kept, lines


def _once(items: Sequence[Item]) -> tuple[list[Item], list[str]]:
    """Every image once, with a mask where one of its copies has one; and lines that name the other copies."""
    same = Same(item.image for item in items)
    kept: dict[Hashable, Item] = {}
    for item in sorted(items, key=lambda item: item.mask is None):
        kept.setdefault(same(item.image), item)
    once = [item for item in items if kept[same(item.image)] is item]
    others = [item for item in items if kept[same(item.image)] is not item]
    named = [f"{item.image}, a copy of {kept[same(item.image)].image}" for item in others]
    return once, _naming("left out", named)


def _naming(what: str, faults: Sequence[str]) -> list[str]:
    lines = [f"{what}: {fault}" for fault in faults[:NAMED]]
    return lines + ([f"{what}: {len(faults) - NAMED} more"] if len(faults) > NAMED else [])


def _counts(pairs: Sequence[Item]) -> NDArray[np.int64]:
    """Pixels of every class in every mask, (masks, 255)."""
    counts = [np.bincount(mask_array(item).ravel(), minlength=IGNORE + 1)[:IGNORE] for item in pairs]
    return np.array(counts, np.int64).reshape(-1, IGNORE)
