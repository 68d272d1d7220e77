"""The presets and studies that come with the packages, found by name wherever the packages are installed."""

from pathlib import Path

from trainers.common.paths import is_there

FOLDERS = ("search_spaces", "presets")
_PACKAGED = Path(__file__).parents[1] / "shipped"
ROOT = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2]
"""Where :data:`FOLDERS` lie: inside the package in a wheel (setup.py puts them there), beside it in a checkout."""


def shipped(name: str | Path) -> Path | None:
    """The shipped file of that name: `voc.yaml` and `search_spaces/voc.yaml` are studies, `presets/unified.yaml` and
    `paper/unimatch.yaml` presets. None where there is none."""
    asked = Path(name)
    if asked.is_absolute() or ".." in asked.parts or asked.suffix != ".yaml":
        return None
    places = (
        [ROOT / asked] if asked.parts[:1] and asked.parts[0] in FOLDERS else [ROOT / one / asked for one in FOLDERS]
    )
    return next((place for place in places if place.is_file()), None)


def found(file: Path) -> Path:
    """The file itself, or the shipped one of that name where there is no such file."""
    return file if is_there(file) else shipped(file) or file
