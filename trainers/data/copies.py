"""Which images are the same one: under another name, through a link, or as a copy of equal content."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

from trainers.common.errors import DataError
from trainers.data.facts import facts_of
from trainers.data.layout import Item


class Same:
    """Tells whether files are the same. Only files of equal size are read, and each once, since the answer is kept.

    Args:
        paths: all files that are to be told apart. One that cannot be had, or is empty, is the same as no other.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._files: dict[Path, Hashable] = {}
        sizes: dict[int, dict[Hashable, list[Path]]] = defaultdict(lambda: defaultdict(list))
        for path in dict.fromkeys(paths):
            try:
                status = path.stat()
            except (OSError, ValueError):
                self._files[path] = path
                continue
            file = (status.st_dev, status.st_ino) if status.st_ino else path.resolve()
            self._files[path] = file if status.st_size else path
            if status.st_size:
                sizes[status.st_size][file].append(path)
        alike = {file: paths for files in sizes.values() if len(files) > 1 for file, paths in files.items()}
        digests = contents([paths[0] for paths in alike.values()])
        for paths in alike.values():
            self._files.update(dict.fromkeys(paths, digests[paths[0]] or paths[0]))

    def __call__(self, path: Path) -> Hashable:
        """Equal for files that are the same."""
        return self._files[path]


def contents(paths: Sequence[Path]) -> dict[Path, bytes]:
    """A digest of what each file holds; empty where it cannot be read. Each file is read once, until it changes."""
    return facts_of(paths, _digest, kind="blake2b of the content")


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file_digest(file, "blake2b").digest()[:20]
    except OSError:  # whoever decodes it will say so
        return b""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A list without what it names twice, and a line about that, or None."""

    items: tuple[Item, ...]
    said: str | None = None


def listed_once(items: Sequence[Item], same: Same, *, key: str, keep: bool = False) -> Listed:
    """Every image once. One that is named with several masks of different content, as by several annotators, stays with
    each of them.

    Args:
        key: of the list in the config, for the line.
        keep: leave out nothing, and only say how many there are.
    """
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for place, item in enumerate(items):
        groups[same(item.image)].append(place)
    several = [group for group in groups.values() if len(group) > 1]
    masks = Same(mask for group in several for place in group if (mask := items[place].mask) is not None)
    before: dict[int, int] = {}
    for group in several:
        seen: dict[Hashable, int] = {}
        for place in group:
            mask = items[place].mask
            if (first := seen.setdefault(None if mask is None else masks(mask), place)) != place:
                before[place] = first
    if not before:
        return Listed(items=tuple(items))
    left = tuple(items) if keep else tuple(item for place, item in enumerate(items) if place not in before)
    return Listed(items=left, said=_said([(items[one], items[other]) for one, other in before.items()], key, keep=keep))


def _said(pairs: Sequence[tuple[Item, Item]], key: str, *, keep: bool) -> str:
    count, many = len(pairs), len(pairs) > 1
    lines = f"{count} duplicate lines are" if many else "1 duplicate line is"
    again, before = pairs[0]
    return (
        f"data.{key}: {lines} {'kept' if keep else 'left out'}{', first' if many else ''}: {again.where} "
        f"({again.name} is {how_same(again.image, before.image)} {before.name}, {before.where})"
    )


def how_same(path: Path, other: Path) -> str:
    """'the file' where both names lead to one file, else 'a copy of'."""
    try:
        return "the file" if path.samefile(other) else "a copy of"
    except OSError:
        return "a copy of"


def scored_and_trained(val: Sequence[Item], training: Sequence[Item], same: Same) -> list[tuple[Item, Item]]:
    """Images of the validation list that train too, each with the training image that it is."""
    trained = {same(item.image): item for item in training}
    return [(item, trained[same(item.image)]) for item in val if same(item.image) in trained]


def refuse_overlap(found: Sequence[tuple[Item, Item]]) -> None:
    """Raises DataError where there are any."""
    if not found:
        return
    item, other = found[0]
    more = f"; so are {len(found) - 1} more of its images" if len(found) > 1 else ""
    raise DataError(
        f"{item.where}: {item.name} is in the validation set and in the training images ({other.where}: it is "
        f"{how_same(item.image, other.image)} {other.name}){more}. Take it out of one, or set data.copies: as_listed "
        "where a published split has it so"
    )
