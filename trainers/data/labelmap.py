"""What the values or colours of a mask mean: `data.label_map`, from what a file holds to class indices.

Three forms: values to classes (`{0: 0, 255: 1}`), colours to classes (`{"#ff0000": 1}` or `{255 0 0: 1}`), and
`reduce_zero`, under which 0 is ignored and every other value lies one too high, as in ADE20K. A class may be `ignore`.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from trainers.interface.labels import IGNORE

LARGEST_VALUE = 2**16 - 1
"""Largest value that a mask's file may hold."""
NO_CLASS = -1
"""Stands in a map's pairs for a value that no mask of its kind may hold."""
_COLOUR = re.compile(r"#[0-9a-f]{6}")

ReduceZero = Literal["reduce_zero"]


@dataclass(frozen=True, kw_only=True)
class LabelMap:
    """From the values or colours of a mask's file to class indices, 255 = ignore.

    Args:
        pairs: value in the file, or colour as 0xRRGGBB, and its class.
        of_colours: the files hold colours.
        others_stay: a value that is not named is its own class index; else it is refused.
        hint: what may be the matter where a value is refused, after the message.
    """

    pairs: tuple[tuple[int, int], ...]
    of_colours: bool = False
    others_stay: bool = False
    hint: str = field(default="", repr=False)

    def __call__(self, found: NDArray[Any]) -> NDArray[np.uint8]:
        """Class indices (H, W) uint8 of values (H, W), or of colours (H, W, 3).

        Raises:
            ValueError: a value or colour has no class here; names the first one.
        """
        mapped = self._of_colours(found) if self.of_colours else self._of_values(found)
        if (lost := mapped == NO_CLASS).any():
            row, column = (int(one) for one in np.argwhere(lost)[0])
            one = found[row, column]
            shown = "colour #{:02x}{:02x}{:02x}".format(*one.tolist()) if self.of_colours else f"value {one}"
            raise ValueError(f"{shown} (row {row}, column {column}) has no class in data.label_map{self.hint}")
        return mapped.astype(np.uint8)

    def _of_values(self, found: NDArray[Any]) -> NDArray[np.int16]:
        if found.dtype == np.uint8:
            classes: NDArray[np.int16] = _table(self)[found]
            return classes
        inside = (found >= 0) & (found <= LARGEST_VALUE)
        return np.where(inside, _table(self)[np.where(inside, found, 0)], np.int16(NO_CLASS))

    def _of_colours(self, found: NDArray[Any]) -> NDArray[np.int16]:
        red, green, blue = (found[..., band].astype(np.int32) for band in range(3))
        packed = red << 16 | green << 8 | blue
        keys, classes = np.array(sorted(self.pairs), dtype=np.int32).T
        places = np.searchsorted(keys, packed).clip(max=len(keys) - 1)
        return np.where(keys[places] == packed, classes[places], NO_CLASS).astype(np.int16)


@functools.lru_cache(maxsize=16)
def _table(label_map: LabelMap) -> NDArray[np.int16]:
    """The class of every value of 0 .. LARGEST_VALUE."""
    table = np.full(LARGEST_VALUE + 1, NO_CLASS, dtype=np.int16)
    table[IGNORE] = IGNORE
    if label_map.others_stay:
        table[:IGNORE] = np.arange(IGNORE)
    values, classes = np.array(label_map.pairs).T
    table[values] = classes
    return table


def _as_written(given: Any) -> Any:
    """Keys as text, colours as `#rrggbb`: YAML reads a bare number as a number.

    Raises:
        ValueError: two keys are the same value or colour, written in two ways.
    """
    if not isinstance(given, Mapping):
        return given
    found: dict[str, Any] = {}
    written: dict[str, Any] = {}
    for key, kind in given.items():
        plain = _key(str(key).strip().lower())
        if plain in found:
            raise ValueError(f"{written[plain]} and {key} are the same; name it once")
        found[plain], written[plain] = kind, key
    return found


def _key(text: str) -> str:
    if text.isdecimal() and len(text) < 10:
        return str(int(text))
    parts = [part for part in re.split(r"[\s,()\[\]]+", text) if part]
    if len(parts) == 3 and all(part.isdecimal() and int(part) <= IGNORE for part in parts):
        return "#{:02x}{:02x}{:02x}".format(*map(int, parts))
    return text


ClassOrIgnore = Annotated[int, Field(ge=0, lt=IGNORE)] | Literal["ignore"]
LabelMapConfig = Annotated[ReduceZero | dict[str, ClassOrIgnore], BeforeValidator(_as_written)]


def label_map_of(config: ReduceZero | Mapping[str, int | Literal["ignore"]], *, num_classes: int) -> LabelMap:
    """The map that `data.label_map` describes.

    Raises:
        ValueError: it is empty, mixes values with colours, has a key that is neither, or a class that is not there.
    """
    if config == "reduce_zero":
        return LabelMap(pairs=((0, IGNORE), *((value, value - 1) for value in range(1, IGNORE))), others_stay=True)
    assert not isinstance(config, str)
    if not config:
        raise ValueError("it names no value; write for instance {0: 0, 255: 1}, or reduce_zero")
    for key, kind in config.items():
        if not (_COLOUR.fullmatch(key) or (key.isdecimal() and int(key) <= LARGEST_VALUE)):
            raise ValueError(
                f'"{key}" is neither a value of 0 .. {LARGEST_VALUE} nor a colour; write one as "#ff0000" or 255 0 0'
            )
        if kind != "ignore" and kind >= num_classes:
            raise ValueError(f"{key}: class {kind} is not there, classes are 0 .. {num_classes - 1}, or ignore")
    colours = [key for key in config if key.startswith("#")]
    if colours and len(colours) < len(config):
        other = next(key for key in config if key not in colours)
        raise ValueError(f"it names both colours ({colours[0]}) and values ({other}); masks hold one or the other")
    pairs = ((int(key.removeprefix("#"), 16 if colours else 10), kind) for key, kind in config.items())
    return LabelMap(
        pairs=tuple((value, IGNORE if kind == "ignore" else kind) for value, kind in pairs), of_colours=bool(colours)
    )
