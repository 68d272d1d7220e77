"""`python -m trainers.data.splits`: draws nested, stratified labelled splits and writes them as files."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from trainers.data.base import BaseDataConfig
from trainers.data.cityscapes import CityscapesConfig
from trainers.data.copies import Same, listed_once
from trainers.data.folder import FolderConfig
from trainers.data.layout import Item, Layout
from trainers.data.lists import first_columns, read_split, write_split
from trainers.data.presence import classes_present
from trainers.data.splits import split_hash, stratified_order
from trainers.data.voc import VocConfig
from trainers.errors import DataError, UserError

app: typer.Typer = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

VOC_LISTS = ("train_aug.txt", "trainaug.txt", "train.txt")
UNUSED = {"crop": 16, "batch_size": 1}


@app.command()
def draw(
    source: Annotated[Path, typer.Argument(help="Data root, or a split file of training images with masks.")],
    sizes: Annotated[str, typer.Option(help="Labelled images of each split, e.g. 92,183,366.")],
    out: Annotated[Path, typer.Option(help="Folder for <size>/labelled.txt and <size>/unlabelled.txt.")],
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives other splits.")] = 0,
    root: Annotated[Path | None, typer.Option(help="Data root, where it does not lie above the split file.")] = None,
    mask_dir: Annotated[str | None, typer.Option(help="VOC: folder of the masks, e.g. SegmentationClassAug.")] = None,
) -> None:
    """Draw labelled splits: nested from small to large, every class shown as early as possible."""
    try:
        for line in draw_splits(source, sizes=_sizes(sizes), out=out, seed=seed, root=root, mask_dir=mask_dir):
            typer.echo(line)
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)


def draw_splits(
    source: Path, *, sizes: list[int], out: Path, seed: int, root: Path | None = None, mask_dir: str | None = None
) -> list[str]:
    """Write `<out>/<size>/labelled.txt` and `unlabelled.txt` for every size; returns lines of report.

    Raises DataError where the images cannot be found, a size is larger than their number, or other lists lie there.
    """
    listed = _images(source, root, mask_dir)
    once = listed_once(listed, Same(item.image for item in listed), key="train")
    items = once.items
    if sizes[-1] > len(items):
        raise DataError(f"--sizes: {sizes[-1]} is more than the {len(items)} images of {source}")
    present = classes_present(items)
    classes = set().union(*present)
    order = stratified_order(present, seed=seed)
    report = [] if once.said is None else [once.said.removeprefix("data.train: ")]
    for size in sizes:
        labelled = [items[i] for i in order[:size]]
        unlabelled = [items[i] for i in sorted(order[size:])]
        write_split(out / str(size) / "labelled.txt", labelled)
        write_split(out / str(size) / "unlabelled.txt", unlabelled)
        shown = set().union(*(present[i] for i in order[:size]))
        digest = split_hash(labelled=labelled, unlabelled=unlabelled, holdout=())
        report.append(
            f"{out / str(size)}: {size} labelled, {len(unlabelled)} unlabelled, {len(shown)} of {len(classes)} classes "
            f"labelled, hash {digest}"
        )
    return report


def _sizes(text: str) -> list[int]:
    try:
        sizes = sorted({int(part) for part in text.split(",")})
    except ValueError:
        sizes = [0]
    if sizes[0] < 1:
        raise DataError(f'--sizes: "{text}" is no list of positive numbers; write e.g. --sizes 92,183,366')
    return sizes


def _images(source: Path, root: Path | None, mask_dir: str | None) -> tuple[Item, ...]:
    if source.is_dir():
        if (source / "leftImg8bit" / "train").is_dir():
            return _cityscapes_images(source)
        found = [source / "ImageSets" / "Segmentation" / name for name in VOC_LISTS]
        lists = [path for path in found if path.is_file()]
        if not lists:
            raise DataError(
                f"{source}: neither leftImg8bit/train/ nor ImageSets/Segmentation/train.txt lies there; give a split "
                "file of training images with masks instead"
            )
        return read_split(lists[0], _layout(source, lists[0], mask_dir), labelled=True)
    if not source.is_file():
        raise DataError(f"{source}: no such file or folder; give the data root or a split file")
    return read_split(source, _layout(root or _root_above(source), source, mask_dir), labelled=True)


def _cityscapes_images(root: Path) -> tuple[Item, ...]:
    layout = CityscapesConfig.model_validate({"name": "cityscapes", "root": str(root), **UNUSED}).layout()
    items = []
    for image in sorted((root / "leftImg8bit" / "train").glob("*/*_leftImg8bit.png")):
        _, mask_name = layout.resolve((image.relative_to(root).as_posix(),))
        mask = root / str(mask_name)
        if not mask.is_file():
            raise DataError(f"{image}: no mask at {mask}")
        label_ids = mask.name.endswith(str(layout.label_ids_suffix))
        items.append(Item(image=image, mask=mask, root=root, where=str(image), label_ids=label_ids))
    return tuple(items)


def _layout(root: Path, path: Path, mask_dir: str | None) -> Layout:
    config: BaseDataConfig
    if (root / "leftImg8bit").is_dir():
        config = CityscapesConfig.model_validate({"name": "cityscapes", "root": str(root), **UNUSED})
    elif (root / "JPEGImages").is_dir():
        first = first_columns(path)[0]
        voc = {"bare_ids": "/" not in first and "." not in first, "mask_dir": mask_dir}
        config = VocConfig.model_validate({"name": "voc", "root": str(root), **voc, **UNUSED})
    else:
        config = FolderConfig.model_validate({"name": "folder", "root": str(root), "num_classes": 255, **UNUSED})
    return config.layout()


def _root_above(path: Path) -> Path:
    names = [name.removeprefix("/") for name in first_columns(path)]
    for folder in path.absolute().parents:
        if any((folder / name).is_file() or (folder / "JPEGImages" / f"{name}.jpg").is_file() for name in names):
            return folder
    raise DataError(f'{path}: no folder above it holds "{names[0]}", its first image; give the data root with --root')
