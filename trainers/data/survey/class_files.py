"""Names of classes, and their colours, in the files that annotation programs leave beside masks."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LISTS = ("classes.txt", "class_names.txt", "labels.txt", "categories.txt", "obj.names")
"""A name a line, or a number and a name."""
COLOURS = ("labelmap.txt", "class_dict.csv", "_classes.csv", "classes.csv")
"""CVAT's, CamVid's and Roboflow's: names with colours, or with values."""
_NUMBERED = re.compile(r"(\d+)\s*[\s:,;]\s*(\S.*)")


@dataclass(frozen=True, kw_only=True)
class ClassFile:
    """Names of classes by what stands for them in the masks.

    Args:
        path: the file.
        names: by class index, or by colour as 0xRRGGBB.
        of_colours: the keys are colours.
    """

    path: Path
    names: dict[int, str]
    of_colours: bool


def find_class_file(folders: Sequence[Path]) -> ClassFile | None:
    """The first file of a known name and form in these folders; None where there is none."""
    for folder in dict.fromkeys(folders):
        for name in (*COLOURS, *LISTS):
            if (folder / name).is_file() and (found := _read(folder / name)) is not None:
                return found
    return None


def _read(path: Path) -> ClassFile | None:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if path.suffix == ".csv":
        names, of_colours = _table(lines)
    elif path.name == "labelmap.txt" and all(":" in line for line in lines):
        names, of_colours = _cvat(lines), True
    else:
        names, of_colours = _list(lines), False
    if len(names) < 2 or len(set(names.values())) < len(names):
        return None
    return ClassFile(path=path, names=names, of_colours=of_colours)


def _list(lines: Sequence[str]) -> dict[int, str]:
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    found = [(int(one[1]), one[2].strip()) for one in numbered if one is not None]
    return dict(found) if len(found) == len(lines) else dict(enumerate(lines))


def _cvat(lines: Sequence[str]) -> dict[int, str]:
    names = {}
    for line in lines:
        name, colour, *_ = line.split(":")
        parts = [int(part) for part in colour.split(",") if part.strip().isdecimal()]
        if len(parts) == 3:
            names[parts[0] << 16 | parts[1] << 8 | parts[2]] = name.strip()
    return names


def _table(lines: Sequence[str]) -> tuple[dict[int, str], bool]:
    """Columns r, g, b and a name, or a value and a name, whatever their order."""
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines)]
    if not rows:
        return {}, False
    head = [cell.lower() for cell in rows[0]]
    name = next((place for place, cell in enumerate(head) if "name" in cell or "class" in cell), None)
    bands = [head.index(band) for band in ("r", "g", "b") if band in head]
    value = next((place for place, cell in enumerate(head) if "value" in cell or cell in ("id", "index")), None)
    if name is None or (len(bands) < 3 and value is None):
        return {}, False
    found = {}
    for row in rows[1:]:
        try:
            if len(bands) == 3:
                red, green, blue = (int(row[band]) for band in bands)
                found[red << 16 | green << 8 | blue] = row[name]
            elif value is not None:
                found[int(row[value])] = row[name]
        except (ValueError, IndexError):
            return {}, False
    return found, len(bands) == 3
