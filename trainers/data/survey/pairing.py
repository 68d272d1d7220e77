"""Which mask belongs to which image, by their names.

Names are compared without their ending: as they are, then in one Unicode form and without regard to case. Where they
are not equal, the ways in which data sets name masks are tried: an addition at the end (`a.jpg`, `a_mask.png`), words
that say what a file is (`img_12`, `label_12`), and what all images, or all masks, have in common. The way that pairs
most images is taken.
"""

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from trainers.common.errors import DataError
from trainers.data.band_files import ARRAY

WORDS = frozenset(
    (
        *("image", "images", "img", "im", "photo", "rgb", "input", "leftimg8bit"),
        *("mask", "masks", "label", "labels", "seg", "segm", "segmentation", "gt", "groundtruth", "truth", "target"),
        *(
            "annotation",
            "annotations",
            "anno",
            "gtfine",
            "gtcoarse",
            "labelids",
            "labeltrainids",
            "trainids",
            "manual1",
        ),
    )
)
"""Parts of names that say what a file is, and not which."""
_PARTS = re.compile(r"[\s_.\-()]+")


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """What was found.

    Args:
        pairs: image and mask, by name.
        images: without a mask, by name.
        said: lines for people: how names were compared, and which masks belong to no image.
    """

    pairs: tuple[tuple[Path, Path], ...]
    images: tuple[Path, ...]
    said: tuple[str, ...]


def image_files(folder: Path, *, without: Path | None = None) -> tuple[Path, ...]:
    """Files of a folder, and of those in it, whose ending is that of an image format which Pillow reads, or that of
    arrays (.npy); by name.

    Hidden files and folders are passed over, and what macOS leaves in archives.

    Args:
        without: a folder whose files are none of these.

    Raises:
        DataError: there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the folder of the files")
    Image.init()
    endings = {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN} - {".pdf"}
    endings.add(ARRAY)
    found, others, seen = [], Counter[str](), set[str]()
    for place, folders, names in os.walk(folder, followlinks=True):
        here = Path(place)
        if (real := os.path.realpath(place)) in seen:  # a link to a folder that holds it, or to one that was read
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(
            one
            for one in folders
            if not one.startswith((".", "__MACOSX")) and (without is None or here / one != without)
        )
        for name in sorted(names):
            if name.startswith(".") or name == "Thumbs.db":
                continue
            if Path(name).suffix.lower() in endings:
                found.append(here / name)
            else:
                others[Path(name).suffix.lower() or name] += 1
    if not found:
        kinds = ", ".join(f"{count} {ending}" for ending, count in others.most_common(3))
        raise DataError(
            f"{folder}: holds no image of a format that Pillow reads{f' ({kinds})' if kinds else ''}; give the folder "
            "that holds them"
        )
    return tuple(found)


def pair(images: Sequence[Path], masks: Sequence[Path], *, roots: tuple[Path, Path]) -> Pairs:
    """Images and masks of one name.

    Args:
        images, masks: files.
        roots: the folders that were given for each; folders below them are a part of the name where names repeat.

    Raises:
        DataError: no image has a mask; names show what was compared.
    """
    if roots[0] == roots[1]:
        return _in_one_folder(images, roots[0])
    tried = [_by_key(images, masks, roots, key) for key in (_exact, _stem, _meaning, _without_common(images, masks))]
    tried.insert(2, _by_addition(images, masks, roots))
    best = max(tried, key=lambda found: len(found.pairs))
    if not best.pairs:
        for paths, what in ((images, "images"), (masks, "masks")):
            if (twins := _twins(paths)) is not None:
                raise DataError(
                    f"two {what} have one name but for their ending, or upper and lower case: {twins[0]} and "
                    f"{twins[1]}; which mask belongs to which image cannot be told. Rename one, or take it out"
                )
        raise DataError(
            f"no mask has an image's name: images are called as {images[0].name}, masks as {masks[0].name}; give masks "
            "the names of their images (their endings may differ, and a word such as _mask may follow)"
        )
    return best


def _twins(paths: Sequence[Path]) -> tuple[Path, Path] | None:
    """The first two files of one folder whose names are the same as names are compared."""
    found: dict[Path, Path] = {}
    for path in paths:
        if (other := found.setdefault(path.parent / _stem(path), path)) != path:
            return other, path
    return None


def _in_one_folder(files: Sequence[Path], root: Path) -> Pairs:
    """Masks beside their images, told by a word at the end of their names."""
    stems = {_stem(path) for path in files}
    masks = [path for path in files if _says_mask(_stem(path), stems)]
    images = [path for path in files if path not in set(masks)]
    found = _by_addition(images, masks, (root, root)) if masks else None
    if found is None or not found.pairs:
        raise DataError(
            f"{root}: no file there is called as another one with a word such as _mask after it; give images and masks "
            "in folders of their own"
        )
    return found


def _says_mask(stem: str, stems: set[str]) -> bool:
    return any(
        stem[:place] in stems and WORDS & set(_PARTS.split(stem[place:]))
        for place in range(1, len(stem))
        if _ends(stem, place)
    )


Key = Callable[[Path], str]


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().strip()


def _exact(path: Path) -> str:
    return path.stem


def _stem(path: Path) -> str:
    return _plain(path.stem)


def _meaning(path: Path) -> str:
    """The stem without the words that say what a file is."""
    return " ".join(part for part in _PARTS.split(_stem(path)) if part and part not in WORDS)


def _without_common(images: Sequence[Path], masks: Sequence[Path]) -> Key:
    """The stem without the letters that all of its kind begin and end with."""
    ends: dict[Path, tuple[int, int]] = {}
    for paths in (images, masks):
        stems = [_stem(path) for path in paths]
        begin = _alike(stems)
        end = _alike([stem[begin:][::-1] for stem in stems])
        while begin and stems[0][begin - 1].isdigit():  # img_012, img_013: the numbers are the name
            begin -= 1
        while end and stems[0][len(stems[0]) - end].isdigit():
            end -= 1
        ends |= dict.fromkeys(paths, (begin, end))

    def key(path: Path) -> str:
        stem, (begin, end) = _stem(path), ends[path]
        return stem[begin : len(stem) - end]

    return key


def _alike(names: Sequence[str]) -> int:
    """How many letters all names begin with."""
    first, last = min(names), max(names)
    return next(
        (place for place, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first)
    )


def _by_key(images: Sequence[Path], masks: Sequence[Path], roots: tuple[Path, Path], key: Key) -> Pairs:
    """Pairs of equal keys, the keys with the folders before them where they repeat without."""
    image_at, mask_at = _unique(images, roots[0], key), _unique(masks, roots[1], key)
    if image_at is None or mask_at is None:
        image_at, mask_at = (
            _unique(paths, root, key, folders=True) for paths, root in zip((images, masks), roots, strict=True)
        )
    if image_at is None or mask_at is None:
        return Pairs(pairs=(), images=tuple(images), said=())
    pairs = tuple((image, mask_at[name]) for name, image in image_at.items() if name in mask_at and name)
    return _told(pairs, images, masks)


def _unique(paths: Iterable[Path], root: Path, key: Key, *, folders: bool = False) -> dict[str, Path] | None:
    """Files by their keys; None where two have the same."""
    found: dict[str, Path] = {}
    for path in paths:
        above = _plain(path.parent.relative_to(root).as_posix()) + "/" if folders else ""
        if found.setdefault(above + key(path), path) != path:
            return None
    return found


def _by_addition(images: Sequence[Path], masks: Sequence[Path], roots: tuple[Path, Path]) -> Pairs:
    """Masks whose name is their image's and an addition, the one that most of them have."""
    for folders in (False, True):
        image_at = _unique(images, roots[0], _stem, folders=folders)
        if image_at is not None:
            break
    else:
        return Pairs(pairs=(), images=tuple(images), said=())
    by_addition: dict[str, dict[Path, Path]] = defaultdict(dict)
    for mask in masks:
        stem = (_plain(mask.parent.relative_to(roots[1]).as_posix()) + "/" if folders else "") + _stem(mask)
        cut = max(
            (place for place in range(1, len(stem)) if stem[:place] in image_at and _ends(stem, place)), default=0
        )
        if cut:
            by_addition[stem[cut:]].setdefault(image_at[stem[:cut]], mask)
    if not by_addition:
        return Pairs(pairs=(), images=tuple(images), said=())
    addition, found = max(by_addition.items(), key=lambda one: (len(one[1]), -len(one[0])))
    pairs = tuple((image, found[image]) for image in images if image in found)
    return _told(pairs, images, masks, f'masks are called as their images with "{addition}" at the end')


def _ends(stem: str, place: int) -> bool:
    """Whether a name may end there: a word follows, not more of a number or a word."""
    return not stem[place].isalnum() or (stem[place - 1].isdigit() and not stem[place].isdigit())


def _told(pairs: tuple[tuple[Path, Path], ...], images: Sequence[Path], masks: Sequence[Path], *said: str) -> Pairs:
    paired, used = {image for image, _ in pairs}, {mask for _, mask in pairs}
    lines = list(said)
    if left := [mask for mask in masks if mask not in used]:
        lines.append(f"{len(left)} masks belong to no image, first: {left[0]}")
    return Pairs(pairs=pairs, images=tuple(image for image in images if image not in paired), said=tuple(lines))
