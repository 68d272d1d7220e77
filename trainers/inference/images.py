"""Which images are predicted, and under which names their masks are kept."""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from trainers.common.errors import ConfigError, UserError
from trainers.common.home import expanded
from trainers.common.paths import is_file, is_folder
from trainers.data.band_files import ARRAY
from trainers.data.copies import Same, how_same, listed_once, scored_and_trained
from trainers.data.layout import RGB_BANDS, Item
from trainers.data.lists import read_split, split_path
from trainers.data.open import open_data
from trainers.inference.model import LoadedModel


@dataclass(frozen=True, kw_only=True)
class Images:
    """What was found.

    Args:
        items: images, each once, in the order of a list, or by name.
        names: of their outputs, in the same order: a path below the output folder, without an ending.
        passed_over: files of the given folders that are no images by their ending.
        said: lines for people about the list: images that it names twice, and images that trained the network.
    """

    items: tuple[Item, ...]
    names: tuple[str, ...]
    passed_over: tuple[Path, ...] = ()
    said: tuple[str, ...] = ()


def given_images(model: LoadedModel, paths: Sequence[str | Path], *, without: Path | None = None) -> Images:
    """Image files, and all images in folders and their subfolders.

    Args:
        model: by which they are decoded.
        paths: files and folders. Outputs are named by what lies below their common folder.
        without: a folder that is left out, such as that of the outputs.

    Raises:
        ConfigError: a path does not exist, or no image was found.
    """
    endings = {*Image.registered_extensions(), *((ARRAY,) if model.config.data.image_bands() != RGB_BANDS else ())}
    found: list[Path] = []
    passed_over: list[Path] = []
    for path in (expanded(one) for one in paths):
        if is_folder(path, what="images"):
            for file in _files_below(path, without):
                (found if file.suffix.lower() in endings else passed_over).append(file)
        elif path.exists() or path.is_symlink():
            found.append(path)
        else:
            raise ConfigError(f"{path}: no such file or folder of images{_globbed(path)}")
    if not found:
        raise ConfigError(
            f"{', '.join(map(str, paths))}: no image here; files are known as images by their endings, such as .jpg, "
            ".png, .tif and others of Pillow's"
        )
    once = list({file.absolute(): file for file in found}.values())
    root = _common_folder([expanded(one) for one in paths])
    items = tuple(model.item(file, root=root) for file in once)
    return Images(items=items, names=names_of(items, root), passed_over=tuple(passed_over))


def listed_images(model: LoadedModel, name: str, *, labelled: bool = False) -> Images:
    """The images of a split file of the run's data, in its order.

    Args:
        model: whose config says how lines are read, and where `data.root` lies.
        name: of the file, absolute, relative to `data.root`, or to the working directory.
        labelled: every line must lead to a mask. An image that is named twice, in whatever spelling, is then scored
            once.

    Raises:
        ConfigError, DataError: the root, the file or an image does not exist.
    """
    config = model.config.data
    layout = config.layout()
    if not is_folder(layout.root, what="data.root"):
        raise ConfigError(f"data.root: no folder at {layout.root}; say where the data lie: --set data.root=FOLDER")
    here = Path(name)
    path = here.absolute() if is_file(here, what="--list") else split_path(layout, name, key="list")
    items = read_split(path, layout, labelled=labelled, encoding=config.list_encoding)
    if not labelled:
        once = tuple({item.image: item for item in items}.values())
        return Images(items=once, names=names_of(once, layout.root))
    found = listed_once(items, Same(item.image for item in items), key="list")
    doubled = [] if found.said is None else [found.said.removeprefix("data.list: ")]
    said = (*doubled, *_trained_too(model, found.items))
    return Images(items=found.items, names=names_of(found.items, layout.root), said=said)


def _trained_too(model: LoadedModel, items: Sequence[Item]) -> list[str]:
    """A warning where images of a list trained the network; a note where the run's own lists are not here."""
    try:
        data = open_data(model.config.data, final=model.config.evaluation.final)
    except UserError as error:
        return [f"note: not compared with the images that trained this network, which cannot be found here: {error}"]
    training = (*data.labelled, *data.unlabelled)
    found = scored_and_trained(items, training, Same(item.image for item in (*items, *training)))
    if not found:
        return []
    item, other = found[0]
    return [
        f"warning: {len(found)} of {len(items)} images trained this network, first {item.name} "
        f"({how_same(item.image, other.image)} {other.name}): these scores do not tell what it makes of other images"
    ]


def names_of(items: Sequence[Item], root: Path) -> tuple[str, ...]:
    """Of every item the path below ``root`` without its ending; images whose paths differ in the ending alone keep it
    (a.jpg and a.png become a.jpg and a.png with a further ending each). Upper and lower case count as equal, as some
    file systems have it. What lies outside ``root`` is named by its whole path."""
    paths = [PurePosixPath(_below(item.image, root)) for item in items]
    alike = defaultdict(list)
    for path in paths:
        alike[str(path.with_suffix("")).casefold()].append(path)
    names = [
        str(path if len(alike[str(path.with_suffix("")).casefold()]) > 1 else path.with_suffix("")) for path in paths
    ]
    taken: dict[str, int] = defaultdict(int)
    unlike = []
    for name in names:
        taken[name.casefold()] += 1
        unlike.append(name if taken[name.casefold()] == 1 else f"{name}~{taken[name.casefold()]}")
    return tuple(unlike)


def _below(image: Path, root: Path) -> str:
    path = Path(os.path.normpath(image.absolute()))
    base = Path(os.path.normpath(root.absolute()))
    inside = path.relative_to(base) if path.is_relative_to(base) else path.relative_to(path.anchor)
    return inside.as_posix()


def _common_folder(paths: Sequence[Path]) -> Path:
    """A single folder itself; else the deepest one that all lie in."""
    if len(paths) == 1:
        return paths[0] if paths[0].is_dir() else paths[0].absolute().parent
    return Path(os.path.commonpath([os.path.normpath(path.absolute().parent) for path in paths]))


def _files_below(folder: Path, without: Path | None) -> list[Path]:
    """Files below a folder by name, without hidden files and folders; links to folders are not followed."""
    left_out = None if without is None else without.absolute()
    found: list[Path] = []
    for place, folders, files in os.walk(folder):
        kept = [one for one in folders if not one.startswith(".") and (Path(place) / one).absolute() != left_out]
        folders[:] = sorted(kept)
        found += [Path(place) / name for name in sorted(files) if not name.startswith(".")]
    return found


def _globbed(path: Path) -> str:
    return "; the shell found no file for the pattern" if any(one in path.name for one in "*?[") else ""
