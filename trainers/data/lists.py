"""Split files, read and written.

A line names an image and, for labelled images, its mask, in columns apart by blanks (or by one tab where paths hold
blanks; an image alone is then followed by a tab), relative to the data root. A leading slash, CRLF, blank lines and a
missing final newline are fine.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from trainers.data.layout import Item, Layout
from trainers.errors import DataError


def split_path(layout: Layout, name: str, *, key: str) -> Path:
    """The split file that `data.<key>` names: absolute, or relative to the root. DataError where it is missing."""
    path = layout.root / Path(name).expanduser()
    if not path.is_file():
        raise DataError(f"data.{key}: no split file at {path}; give a path relative to {layout.root} or absolute")
    return path


def read_split(path: Path, layout: Layout, *, labelled: bool) -> tuple[Item, ...]:
    """The items of a split file, in its order.

    Args:
        path: the split file.
        layout: how its lines are read.
        labelled: every line must lead to a mask; without, a mask that is not on disk is left out.

    Raises:
        DataError: with `file:line`, where a line cannot be read or names a missing file.
    """
    text = path.read_text(encoding="utf-8-sig")
    files = _Files()
    items = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        columns = tuple(
            column.strip() for column in (line.split("\t") if "\t" in line else line.split()) if column.strip()
        )
        if len(columns) > 2:
            raise DataError(
                f"{where}: {len(columns)} columns; a line is an image path and perhaps a mask path (put one tab "
                "between them where paths hold blanks)"
            )
        try:
            image_name, mask_name = layout.resolve(columns)
        except ValueError as error:
            raise DataError(f"{where}: {error}") from error
        image, mask = (None if name is None else _locate(layout.root, name, files) for name in (image_name, mask_name))
        assert image is not None
        if image not in files:
            raise DataError(f"{where}: no image at {image}; mend the line, or data.root")
        if mask is None and labelled:
            raise DataError(f'{where}: no mask is named for "{image_name}"; a labelled line is "<image> <mask>"')
        if mask is not None and mask not in files:
            if labelled:
                raise DataError(f"{where}: no mask at {mask}; mend the line, or data.root")
            mask = None
        suffix = layout.label_ids_suffix
        label_ids = mask is not None and suffix is not None and mask.name.endswith(suffix)
        items.append(Item(image=image, mask=mask, root=layout.root, where=where, label_ids=label_ids))
    if not items:
        raise DataError(f"{path}: the split file names no image")
    return tuple(items)


def write_split(path: Path, items: Sequence[Item]) -> None:
    """Write items as lines that `read_split` takes; paths outside the root stay absolute. Raises DataError where
    another list lies there already."""
    text = split_text(items)
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise DataError(f"{path}: another list lies here; move it away, or write to another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def split_text(items: Sequence[Item]) -> str:
    """The lines of :func:`write_split`."""
    return "".join(f"{_line(item)}\n" for item in items)


def _line(item: Item) -> str:
    names = []
    for path in (item.image, item.mask):
        if path is not None:
            inside = item.root is not None and path.is_relative_to(item.root)
            names.append(path.relative_to(item.root).as_posix() if item.root and inside else path.as_posix())
    blanks = any(" " in name for name in names)
    return ("\t" if blanks else " ").join(names) + ("\t" if blanks and len(names) == 1 else "")


class _Files:
    """Which files exist, asked of each folder once instead of once per file."""

    def __init__(self) -> None:
        self._folders: dict[str, frozenset[str]] = {}

    def __contains__(self, path: Path) -> bool:
        folder, name = os.path.split(path)
        if folder not in self._folders:
            try:
                self._folders[folder] = frozenset(entry.name for entry in os.scandir(folder) if not entry.is_dir())
            except OSError:
                self._folders[folder] = frozenset()
        return name in self._folders[folder]


def _locate(root: Path, name: str, files: _Files) -> Path:
    """Below the root, also with a leading slash; an absolute path only where nothing lies there below the root."""
    below = root / name.removeprefix("/").removeprefix("./")
    absolute = Path(name)
    return absolute if absolute.is_absolute() and below not in files and absolute in files else below
