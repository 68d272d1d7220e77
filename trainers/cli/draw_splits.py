"""`python -m trainers.cli.draw_splits`: draws nested, stratified labelled splits and writes them as files."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter

from trainers.common.errors import ConfigError, DataError, UserError
from trainers.common.output import print_any_letters
from trainers.common.yaml_file import parse_value
from trainers.data.ade20k import Ade20kConfig
from trainers.data.base import BaseDataConfig
from trainers.data.cityscapes import CityscapesConfig
from trainers.data.coco import CocoConfig
from trainers.data.copies import Same, listed_once
from trainers.data.folder import FolderConfig
from trainers.data.labelmap import LabelMap, LabelMapConfig, label_map_of
from trainers.data.layout import Decoding, Item, Layout
from trainers.data.listfile import known_encoding
from trainers.data.lists import first_columns, read_split, write_split
from trainers.data.presence import values_present
from trainers.data.splits import split_hash, stratified_order
from trainers.data.voc import VocConfig
from trainers.interface.labels import IGNORE

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
    mask_dir: Annotated[str | None, typer.Option(help="VOC, COCO: folder of masks, e.g. SegmentationClassAug.")] = None,
    label_map: Annotated[
        str | None,
        typer.Option(help="Which class each mask value is, as data.label_map: '{0: 0, 255: 1}' or reduce_zero."),
    ] = None,
    list_encoding: Annotated[
        str, typer.Option(help="Encoding of the split file where it has no byte order mark, as data.list_encoding.")
    ] = "utf-8",
) -> None:
    """Draw labelled splits: nested from small to large, every class shown as early as possible."""
    print_any_letters()
    try:
        given = None if label_map is None else parse_value(label_map, source="--label-map")
        lines = draw_splits(
            source,
            sizes=_sizes(sizes),
            out=out,
            seed=seed,
            root=root,
            mask_dir=mask_dir,
            label_map=given,
            list_encoding=_encoding(list_encoding),
        )
        for line in lines:
            typer.echo(line)
    except UserError as error:
        typer.echo(f"error: {_in_options(str(error))}", err=True)
        sys.exit(2)


def _in_options(message: str) -> str:
    """What a reader says of the config's keys, in the words of this command."""
    for key, option in (("data.list_encoding: ", "--list-encoding "), ("data.label_map", "--label-map")):
        message = message.replace(key, option)
    return message.replace("data.list_encoding", "--list-encoding").replace("data.root", "--root")


def draw_splits(
    source: Path,
    *,
    sizes: list[int],
    out: Path,
    seed: int = 0,
    root: Path | None = None,
    mask_dir: str | None = None,
    label_map: Any = None,
    list_encoding: str = "utf-8",
) -> list[str]:
    """Write `<out>/<size>/labelled.txt` and `unlabelled.txt` for every size; returns lines of report, and a warning
    where 255 may stand for a class.

    Args:
        label_map: as `data.label_map`.
        list_encoding: as `data.list_encoding`; what is written is UTF-8.

    Raises:
        DataError: the images cannot be found, a size is larger than their number, or other lists lie there.
        ConfigError: the label map cannot be used.
    """
    listed = _images(source, root, mask_dir, list_encoding)
    once = listed_once(listed, Same(item.image for item in listed), key="train")
    given = _label_map(label_map)
    items = (
        once.items if given is None else tuple(replace(one, decoding=Decoding(label_map=given)) for one in once.items)
    )
    if sizes[-1] > len(items):
        raise DataError(f"--sizes: {sizes[-1]} is more than the {len(items)} images of {source}")
    values = values_present(items)
    present = [shown - {IGNORE} for shown in values]
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
    ignored = sum(IGNORE in shown for shown in values)
    if label_map is None and len(classes) < 2 and 2 * ignored >= len(items):
        report.append(
            f"warning: the masks show {len(classes)} class, and 255 = ignore in {ignored} of {len(items)}: where 255 "
            "stands for a class, say so with --label-map '{0: 0, 255: 1}'"
        )
    return report


def _label_map(given: Any) -> LabelMap | None:
    if given is None:
        return None
    try:
        return label_map_of(TypeAdapter(LabelMapConfig).validate_python(given), num_classes=IGNORE)
    except ValueError as error:  # also pydantic's
        raise ConfigError(f"--label-map: {str(error).splitlines()[-1].strip()}; write '{{0: 0, 255: 1}}'") from error


def _sizes(text: str) -> list[int]:
    try:
        sizes = sorted({int(part) for part in text.split(",")})
    except ValueError:
        sizes = [0]
    if sizes[0] < 1:
        raise DataError(f'--sizes: "{text}" is no list of positive numbers; write e.g. --sizes 92,183,366')
    return sizes


def _encoding(name: str) -> str:
    try:
        return known_encoding(name)
    except ValueError as error:
        raise ConfigError(f"--list-encoding: {error}") from None


def _images(source: Path, root: Path | None, mask_dir: str | None, encoding: str) -> tuple[Item, ...]:
    if source.is_dir():
        if (source / "leftImg8bit" / "train").is_dir():
            return _cityscapes_images(source)
        for folder in ("train2017", "images/training"):
            if (source / folder).is_dir():
                return _images_in(source, folder, mask_dir)
        found = [source / "ImageSets" / "Segmentation" / name for name in VOC_LISTS]
        lists = [path for path in found if path.is_file()]
        if not lists:
            raise DataError(
                f"{source}: neither leftImg8bit/train/ (Cityscapes) nor train2017/ (COCO), images/training/ (ADE20K) "
                "or ImageSets/Segmentation/train.txt (VOC) lies there; give a split file of training images with masks"
            )
        layout = _layout(source, lists[0], mask_dir, encoding)
        return read_split(lists[0], layout, labelled=True, encoding=encoding)
    if not source.is_file():
        raise DataError(f"{source}: no such file or folder; give the data root or a split file")
    layout = _layout(root or _root_above(source, encoding), source, mask_dir, encoding)
    return read_split(source, layout, labelled=True, encoding=encoding)


def _images_in(root: Path, folder: str, mask_dir: str | None) -> tuple[Item, ...]:
    """COCO's or ADE20K's training images."""
    layout, decoding = _named_layout(root, mask_dir)
    items = []
    for image in sorted((root / folder).glob("*.jpg")):
        _, mask_name = layout.resolve((image.relative_to(root).as_posix(),))
        mask = root / str(mask_name)
        if not mask.is_file():
            raise DataError(f"{image}: no mask at {mask}{'; say where: --mask-dir' if folder == 'train2017' else ''}")
        items.append(Item(image=image, mask=mask, root=root, where=str(image), decoding=decoding))
    if not items:
        raise DataError(f"{root / folder}: holds no image *.jpg")
    return tuple(items)


def _named_layout(root: Path, mask_dir: str | None) -> tuple[Layout, Decoding]:
    """COCO's or ADE20K's, and how values are told apart: as they are, but for ADE20K's 0, which is no class."""
    if (root / "train2017").is_dir():
        coco = {"name": "coco", "root": str(root), "mask_dir": mask_dir or "masks", **UNUSED}
        return CocoConfig.model_validate(coco).layout(), Decoding()
    ade20k = Ade20kConfig.model_validate({"name": "ade20k", "root": str(root), **UNUSED})
    return ade20k.layout(), Decoding(label_map=LabelMap(pairs=((0, IGNORE),), others_stay=True))


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


def _layout(root: Path, path: Path, mask_dir: str | None, encoding: str) -> Layout:
    config: BaseDataConfig
    if (root / "leftImg8bit").is_dir():
        config = CityscapesConfig.model_validate({"name": "cityscapes", "root": str(root), **UNUSED})
    elif (root / "JPEGImages").is_dir():
        first = first_columns(path, encoding=encoding)[0]
        voc = {"bare_ids": "/" not in first and "." not in first, "mask_dir": mask_dir}
        config = VocConfig.model_validate({"name": "voc", "root": str(root), **voc, **UNUSED})
    else:
        config = FolderConfig.model_validate({"name": "folder", "root": str(root), "num_classes": 255, **UNUSED})
    return config.layout()


def _root_above(path: Path, encoding: str) -> Path:
    names = [name.removeprefix("/") for name in first_columns(path, encoding=encoding)]
    for folder in path.absolute().parents:
        if any((folder / name).is_file() or (folder / "JPEGImages" / f"{name}.jpg").is_file() for name in names):
            return folder
    raise DataError(f'{path}: no folder above it holds "{names[0]}", its first image; give the data root with --root')


if __name__ == "__main__":
    app()
