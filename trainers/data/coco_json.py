"""Class masks from COCO's instance JSON: polygons and run lengths of objects, painted by pycocotools.

A class is a category that some annotation has, in the order of the categories' ids, from 1 on; 0 is background. Larger
objects are painted before smaller ones. What is ignored (255): crowds, where no object is painted over them, and the
box of an object that has no outline. Images that no annotation names have no mask, unless they are said to be empty.
"""

import io
import json
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainers.common.atomic import replacing
from trainers.common.errors import ConfigError, DataError, OutputError
from trainers.interface.labels import IGNORE

BACKGROUND = "background"
NAMES = "classes.txt"
"""Beside the masks; the survey of a folder reads it."""
POLYGON = 6
"""Numbers of the smallest polygon: three corners."""


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """What a JSON says of one image.

    Args:
        name: `file_name`, a path with forward slashes.
        size: (height, width).
        objects: its annotations, as the JSON has them.
    """

    name: str
    size: tuple[int, int]
    objects: tuple[dict[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Instances:
    """What one file or several say together.

    Args:
        classes: names by index, background first.
        class_of: class index by category id.
        images: every image.
        said: lines for people.
    """

    classes: tuple[str, ...]
    class_of: dict[int, int]
    images: tuple[Annotated, ...]
    said: tuple[str, ...]


def read_instances(paths: Sequence[Path]) -> Instances:
    """Read annotation files whose categories are the same.

    Raises:
        DataError: a file cannot be read, is no such JSON, or two disagree.
    """
    names: dict[int, str] = {}
    images: dict[str, Annotated] = {}
    used: set[int] = set()
    for path in paths:
        data = _read(path)
        for category in data["categories"]:
            if names.setdefault(int(category["id"]), str(category["name"])) != str(category["name"]):
                raise DataError(
                    f"{path}: category {category['id']} is {category['name']}, and {names[int(category['id'])]} in "
                    f"{paths[0]}; give files of one set of categories"
                )
        objects: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for one in data["annotations"]:
            objects[one["image_id"]].append(one)
            used.add(int(one["category_id"]))
        for image in data["images"]:
            name = PurePosixPath(str(image["file_name"]).replace("\\", "/")).as_posix().lstrip("/")
            if ".." in PurePosixPath(name).parts:
                raise DataError(f"{path}: the file name {name} leads out of the folder of images")
            if name in images:
                raise DataError(f"{path}: {name} is an image of two of the files; give each image once")
            size = (int(image["height"]), int(image["width"]))
            images[name] = Annotated(name=name, size=size, objects=tuple(objects[image["id"]]))
    if unknown := sorted(used - set(names)):
        raise DataError(f"{paths[0]}: annotations have the category {unknown[0]}, which is not among the categories")
    kept = [category for category in sorted(names) if category in used]
    if not kept:
        raise DataError(f"{paths[0]}: holds no annotation")
    if len(kept) >= IGNORE:
        raise DataError(f"{paths[0]}: {len(kept)} categories; masks of 8 bits hold {IGNORE - 1} and background")
    unused = [names[category] for category in sorted(names) if category not in used]
    said = [f"categories that no annotation has, left out: {', '.join(unused)}"] if unused else []
    return Instances(
        classes=(BACKGROUND, *(names[category] for category in kept)),
        class_of={category: place for place, category in enumerate(kept, 1)},
        images=tuple(images.values()),
        said=tuple(said),
    )


def paint(image: Annotated, class_of: dict[int, int]) -> NDArray[np.uint8]:
    """The mask of an image: class indices (H, W), 255 = ignore.

    Raises:
        DataError: an annotation's outline cannot be read; names its id.
        ConfigError: pycocotools is not installed.
    """
    coco = _pycocotools()
    mask = np.zeros(image.size, np.uint8)
    crowds, shapes = [], []
    for one in image.objects:
        found = _shape(one, image, coco)
        if found is None or one.get("iscrowd"):
            crowds.append(_box(one, image) if found is None else found)
        else:
            shapes.append((int(found.sum()), class_of[int(one["category_id"])], found))
    for crowd in crowds:
        mask[crowd] = IGNORE
    for _, index, shape in sorted(shapes, key=lambda one: -one[0]):
        mask[shape] = index
    return mask


def write_masks(
    instances: Instances,
    out: Path,
    *,
    empty_is_background: bool = False,
    force: bool = True,
    step: Callable[[], object] = lambda: None,
) -> list[str]:
    """Paint every image's mask into a folder, `<file_name>.png`, and the classes' names into `classes.txt`.

    Args:
        out: the folder.
        empty_is_background: images without annotations are background; else they get no mask.
        force: overwrite files of these names that hold something else.
        step: called after each image.

    Returns:
        what was written and left out, in lines for people.

    Raises:
        DataError, ConfigError: as :func:`paint`.
        OutputError: a file cannot be written, or is there.
    """
    bare = boxes = 0
    painted: dict[Path, str] = {}
    try:
        for image in instances.images:
            if image.objects or empty_is_background:
                path = out / PurePosixPath(image.name).with_suffix(".png")
                if (other := painted.setdefault(path, image.name)) != image.name:
                    raise DataError(f"{image.name} and {other} would have one mask, {path}; rename one of the images")
                file = io.BytesIO()
                Image.fromarray(paint(image, instances.class_of)).save(file, format="png")
                _write(path, file.getvalue(), force=force)
                boxes += sum(not _outlines(one) for one in image.objects)
            else:
                bare += 1
            step()
        _write(out / NAMES, "".join(f"{name}\n" for name in instances.classes).encode(), force=force)
    except OSError as error:
        raise OutputError(f"{error.filename or out}: cannot be written: {error.strerror or error}") from error
    lines = [f"{len(instances.images) - bare} masks of {len(instances.classes)} classes painted into {out}"]
    if bare:
        lines.append(f"{bare} images have no annotation: they get no mask, and count as unlabelled")
    if boxes:
        lines.append(f"{boxes} objects have a box and no outline: their boxes are ignored (255)")
    return [*instances.said, *lines]


def _write(path: Path, data: bytes, *, force: bool) -> None:
    if path.exists():
        if path.is_file() and path.read_bytes() == data:
            return
        if not force:
            raise OutputError(f"{path}: is there already and would be overwritten; give another --out, or --force")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def _pycocotools() -> ModuleType:
    try:
        from pycocotools import mask
    except ImportError as error:
        raise ConfigError("outlines of COCO's JSON need pycocotools: pip install 'ipix-tune[coco]'") from error
    found: ModuleType = mask
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{path}: is no JSON: {error}") from error
    wanted = {
        "images": ("id", "file_name", "height", "width"),
        "annotations": ("image_id", "category_id"),
        "categories": ("id", "name"),
    }
    for part, keys in wanted.items():
        rows = data.get(part) if isinstance(data, dict) else None
        if not isinstance(rows, list):
            raise DataError(f'{path}: has no list "{part}", as COCO\'s instance JSON has')
        for place, row in enumerate(rows):
            if missing := [key for key in keys if not isinstance(row, dict) or key not in row]:
                raise DataError(f'{path}: {part}[{place}] has no "{missing[0]}"')
    found: dict[str, Any] = data
    return found


def _outlines(one: dict[str, Any]) -> list[list[float]] | dict[str, Any] | None:
    """Polygons or run lengths; None where there is nothing but a box. One polygon may stand without a list around it,
    as some programs write it; polygons of fewer than three corners show nothing."""
    given = one.get("segmentation")
    if isinstance(given, dict):
        return given
    if not isinstance(given, list) or not given:
        return None
    polygons = [given] if all(isinstance(value, int | float) for value in given) else given
    return [polygon for polygon in polygons if len(polygon) >= POLYGON] or None


def _shape(one: dict[str, Any], image: Annotated, coco: ModuleType) -> NDArray[np.bool_] | None:
    """(H, W); None where there is nothing but a box."""
    outlines = _outlines(one)
    if outlines is None:
        return None
    height, width = image.size
    try:
        if isinstance(outlines, dict):
            if list(outlines["size"]) != [height, width]:
                raise ValueError(f"its size is {outlines['size']}, and its image has {[height, width]}")
            plain = isinstance(outlines["counts"], list)
            encoded = coco.frPyObjects(outlines, height, width) if plain else outlines
        else:
            encoded = coco.merge(coco.frPyObjects(outlines, height, width))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of its arrays, under numpy 2
            decoded: NDArray[np.bool_] = coco.decode(encoded) > 0
    except Exception as error:  # of any kind: the library checks little
        raise DataError(
            f"{image.name}: the outline of annotation {one.get('id', '?')} cannot be read ({error}); mend it, or take "
            "it out of the JSON"
        ) from error
    return decoded


def _box(one: dict[str, Any], image: Annotated) -> NDArray[np.bool_]:
    """(H, W), True in the annotation's box; nowhere where it has none."""
    mask = np.zeros(image.size, bool)
    left, top, width, height = (*(one.get("bbox") or ()), 0, 0, 0, 0)[:4]
    mask[int(top) : int(np.ceil(top + height)), int(left) : int(np.ceil(left + width))] = True
    return mask
