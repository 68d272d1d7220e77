"""Split files, read and written.

A line names an image and, for labelled images, its mask, in columns apart by blanks, relative to the data root. Where
paths hold blanks, one tab stands between the columns; without a tab the line is read in the one way in which its files
exist. A leading slash, CRLF, backslashes, empty lines, comments ("# ...") and a missing final newline are fine.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from trainers.common.errors import DataError
from trainers.common.home import expanded
from trainers.common.paths import is_file
from trainers.data.layout import Item, Layout
from trainers.data.listfile import numbered_lines
from trainers.data.names import Files

_BLANK = re.compile(r"[ \v\f]+")
_UNWRITABLE = re.compile(r"[\x00-\x1f\ud800-\udfff]|\A\ufeff|\ufeff\Z")


def split_path(layout: Layout, name: str, *, key: str) -> Path:
    """The split file that `data.<key>` names: absolute, or relative to the root. DataError where it is missing."""
    path = layout.root / name
    if name.startswith("~") and not is_file(path, what=f"data.{key}"):
        path = expanded(name)
    if not is_file(path, what=f"data.{key}"):
        raise DataError(f"data.{key}: no split file at {path}; give a path relative to {layout.root} or absolute")
    return path


def read_split(path: Path, layout: Layout, *, labelled: bool, encoding: str = "utf-8") -> tuple[Item, ...]:
    """The items of a split file, in its order.

    Args:
        path: the split file.
        layout: how its lines are read.
        labelled: every line must lead to a mask; without, a mask that is not on disk is left out.
        encoding: of a file without a byte order mark.

    Raises:
        DataError: with `file:line`, where a line cannot be read or names a missing file.
    """
    files = Files()
    items = []
    for number, line in numbered_lines(path, encoding=encoding):
        where = f"{path}:{number}"
        image, mask = _read_line(line, layout, files, where=where, labelled=labelled)
        suffix = layout.label_ids_suffix
        label_ids = mask is not None and suffix is not None and mask.name.endswith(suffix)
        items.append(
            Item(
                image=image,
                mask=mask,
                root=layout.root,
                where=where,
                label_ids=label_ids,
                decoding=layout.decoding,
            )
        )
    if not items:
        raise DataError(f"{path}: the split file names no image")
    return tuple(items)


def _read_line(line: str, layout: Layout, files: Files, *, where: str, labelled: bool) -> tuple[Path, Path | None]:
    """Image and mask of the first reading of a line whose files exist; the error is that of the plain reading."""
    fault: DataError | None = None
    for columns in _readings(line):
        try:
            return _found(columns, layout, files, where=where, labelled=labelled)
        except DataError as error:
            fault = fault or error
    assert fault is not None
    raise fault


def _readings(line: str) -> Iterator[tuple[str, ...]]:
    """The columns of a line: as it is meant to be written; with blanks inside its paths; with backslashes."""
    if "\t" in line:
        yield tuple(column.strip(" \v\f") for column in line.split("\t") if column.strip(" \v\f"))
    else:
        yield tuple(_BLANK.split(line))
        if _BLANK.search(line):
            yield (line,)
            yield from ((line[: cut.start()], line[cut.end() :]) for cut in _BLANK.finditer(line))
    if "\\" in line:
        yield from _readings(line.replace("\\", "/"))


def first_columns(path: Path, *, encoding: str = "utf-8") -> tuple[str, ...]:
    """What the first column of a split file's first line may be: before any blank, or the whole line.

    Raises:
        DataError: the file names no image, or cannot be read.
    """
    lines = numbered_lines(path, encoding=encoding)
    if not lines:
        raise DataError(f"{path}: the split file names no image")
    return tuple(dict.fromkeys(columns[0] for columns in _readings(lines[0][1])))


def _found(
    columns: tuple[str, ...], layout: Layout, files: Files, *, where: str, labelled: bool
) -> tuple[Path, Path | None]:
    if len(columns) > 2:
        raise DataError(
            f"{where}: {len(columns)} columns; a line is an image path and perhaps a mask path (put one tab between "
            'them where paths hold blanks; comments begin with "# ")'
        )
    try:
        image_name, mask_name = layout.resolve(columns)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    image = _locate(layout.root, image_name, files)
    if image is None:
        raise DataError(f"{where}: no image at {_missing(layout.root, image_name, files)}")
    mask = None if mask_name is None else _locate(layout.root, mask_name, files)
    if mask is None and labelled:
        if mask_name is None:
            raise DataError(f'{where}: no mask is named for "{image_name}"; a labelled line is "<image> <mask>"')
        raise DataError(f"{where}: no mask at {_missing(layout.root, mask_name, files)}")
    return image, mask


def write_split(path: Path, items: Sequence[Item]) -> None:
    """Write items as lines that `read_split` takes; paths outside the root stay absolute. Raises DataError where
    another list lies there already."""
    text = split_text(items).encode()
    if path.is_file() and path.read_bytes() != text:
        raise DataError(f"{path}: another list lies here; move it away, or write to another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)


def split_text(items: Sequence[Item]) -> str:
    """The lines of :func:`write_split`. Raises DataError, by name, where a path holds what no line can."""
    return "".join(f"{_line(item)}\n" for item in items)


def _line(item: Item) -> str:
    names = []
    for path in (item.image, item.mask):
        if path is not None:
            inside = item.root is not None and path.is_relative_to(item.root)
            name = path.relative_to(item.root).as_posix() if item.root and inside else path.as_posix()
            if _UNWRITABLE.search(name) or name != name.strip():
                raise DataError(
                    f"{str(path)!r}: no list can hold a name with a tab, an end of line or another control character, "
                    "with blanks at its ends, or with bytes that are not UTF-8; rename the file"
                )
            names.append(f"./{name}" if name.startswith("#") else name)
    blanks = any(_BLANK.search(name) for name in names)
    return ("\t" if blanks else " ").join(names) + ("\t" if blanks and len(names) == 1 else "")


def _locate(root: Path, name: str, files: Files) -> Path | None:
    """Below the root, also with a leading slash; an absolute path only where nothing lies there below the root."""
    found = files.find(_below(root, name))
    return files.find(Path(name)) if found is None and Path(name).is_absolute() else found


def _below(root: Path, name: str) -> Path:
    return root / name.removeprefix("/").removeprefix("./")


def _missing(root: Path, name: str, files: Files) -> str:
    """Where a name leads, and what may be the matter with it."""
    path = _below(root, name)
    shown = str(path) if str(path).isprintable() else repr(str(path))
    if re.match(r"[A-Za-z]:[\\/]", name):
        return f"{shown}; that is a path of Windows: make it relative to data.root"
    first, *more = re.split("[,;]", name)
    if more and files.find(_below(root, first.strip("\"' "))) is not None:
        return f"{shown}; columns are apart by a blank or a tab, not by a comma"
    if name[:1] in "\"'" or name[-1:] in "\"'":
        return f"{shown}; take the quotes away, and put a tab between the columns where paths hold blanks"
    return f"{shown}{files.why_not(path)}; mend the line, or data.root"
