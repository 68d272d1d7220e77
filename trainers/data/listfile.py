"""The text of a split file as numbered lines, in whatever encoding it says that it has."""

import codecs
import re
from pathlib import Path

from trainers.common.errors import DataError

BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks; UTF-32's before UTF-16's, of which one begins like it."""
MARK = "\ufeff"
BLANKS = " \t\v\f" + MARK
"""What may stand at the ends of a line. Other blanks of Unicode may be part of a name."""
_END = re.compile(r"\r\n|\r|\n")


def known_encoding(name: str) -> str:
    """The name as it is. Raises ValueError where Python knows no encoding of texts by it."""
    try:
        b"a".decode(name)  # Python looks no encoding up for no bytes
    except UnicodeError:
        return name
    except (LookupError, ValueError):
        raise ValueError(
            f'Python knows no encoding of texts "{name}"; some are utf-8, utf-16-le, cp1252, latin-1, gb18030'
        ) from None
    return name


def numbered_lines(path: Path, *, encoding: str = "utf-8") -> list[tuple[int, str]]:
    """The lines that say something, without the blanks at their ends, each with its number from 1.

    Empty lines are left out, and comments: lines that are ``#`` or begin with ``#`` and a blank.

    Args:
        path: the split file.
        encoding: of a file without a byte order mark.

    Raises:
        DataError: the file cannot be read; with `file:line`, where its bytes are not of that encoding.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: the split file cannot be read: {error.strerror or error}") from error
    for mark, marked in BOMS:
        if data.startswith(mark):
            data, encoding = data[len(mark) :], marked
            break
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(_undecodable(path, data, encoding, error)) from error
    except UnicodeError as error:
        raise DataError(f"{path}: the split file is not {encoding}: {error}; {_remedy(data)}") from error
    found = []
    for number, line in enumerate(_END.split(text), start=1):
        if "\0" in line:
            raise DataError(f"{path}:{number}: the line holds zero bytes{_guessed(data)}; {_remedy(data)}")
        line = line.strip(BLANKS)
        if line and line != "#" and not line.startswith(("# ", "#\t")):
            found.append((number, line))
    return found


def _undecodable(path: Path, data: bytes, encoding: str, error: UnicodeDecodeError) -> str:
    before = data[: error.start].decode(encoding, "replace")
    line = len(_END.findall(before)) + 1
    byte = f"0x{data[error.start]:02x}" if error.start < len(data) else "the end"
    return (
        f"{path}:{line}: {byte} at byte {error.start + 1} of the file is not {_called(encoding)}{_guessed(data)}; "
        f"{_remedy(data)}"
    )


def _called(encoding: str) -> str:
    return encoding.upper() if encoding.lower().startswith("utf") else encoding


def _guess(data: bytes) -> str | None:
    """The encoding that a text without byte order mark may have, where it is not UTF-8."""
    if data.count(0) > 5 * len(data) // 8:
        return "utf-32-le" if data[3::4].count(0) >= data[::4].count(0) else "utf-32-be"
    if data.count(0) > len(data) // 4:
        return "utf-16-le" if data[1::2].count(0) >= data[::2].count(0) else "utf-16-be"
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return None
    return "cp1252"


def _guessed(data: bytes) -> str:
    if (guess := _guess(data)) is None:
        return ""
    if guess != "cp1252":
        return f" (the file looks like {_called(guess)} without a byte order mark)"
    odd = next((line for line in _END.split(data.decode("cp1252")) if not line.isascii()), "").replace("\t", " ")
    return f' (as {guess} there is a line "{odd[:80].strip()}")' if odd and odd.isprintable() else ""


def _remedy(data: bytes) -> str:
    guess = _guess(data)
    return f"save the list as UTF-8, or say what it is: data.list_encoding{f': {guess}' if guess else ''}"
