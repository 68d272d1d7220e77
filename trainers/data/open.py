"""`open_data`: from a data config to the lists of images that a run uses."""

from collections.abc import Sequence
from dataclasses import dataclass

from trainers.data import DataConfig
from trainers.data.layout import Item, Layout
from trainers.data.lists import read_split, split_path
from trainers.data.splits import hold_out, split_hash, stratified_order
from trainers.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True)
class OpenData:
    """The images of one run.

    Args:
        classes: class names by index.
        labelled, unlabelled: what trains; every labelled item has a mask.
        holdout: training images with masks on which a search is scored; in neither of the two lists above.
        val: the images of the list `val`, empty unless the run is final.
        split_hash: digest of labelled, unlabelled and holdout by relative names.
    """

    classes: tuple[str, ...]
    labelled: tuple[Item, ...]
    unlabelled: tuple[Item, ...]
    holdout: tuple[Item, ...]
    val: tuple[Item, ...]
    split_hash: str

    @property
    def num_classes(self) -> int:
        return len(self.classes)


def open_data(config: DataConfig, *, final: bool) -> OpenData:
    """Read the split files, draw where asked, cut off the holdout, and see that every named file exists.

    Args:
        config: the `data` section.
        final: `evaluation.final`; only then the validation list is read.

    Raises:
        ConfigError: a key of the section asks for what the lists cannot give.
        DataError: a folder, list or file is missing, or a line cannot be read.
    """
    if config.holdout is None and not final:
        raise ConfigError(
            "data.holdout: nothing to score the run on; give data.holdout.images, or set evaluation.final: true to "
            "score on the list data.val"
        )
    layout = config.layout()
    if not layout.root.is_dir():
        raise DataError(f"data.root: no folder at {layout.root}; give the folder of the data set")
    labelled, unlabelled, holdout = _drawn(config, layout) if config.train or config.draw else _listed(config, layout)
    val = _read(config, layout, "val", labelled=True) if final else ()
    _refuse_overlap(val, (*labelled, *unlabelled, *holdout))
    return OpenData(
        classes=layout.classes,
        labelled=labelled,
        unlabelled=unlabelled,
        holdout=holdout,
        val=val,
        split_hash=split_hash(labelled=labelled, unlabelled=unlabelled, holdout=holdout, version=layout.version),
    )


_Lists = tuple[tuple[Item, ...], tuple[Item, ...], tuple[Item, ...]]


def _listed(config: DataConfig, layout: Layout) -> _Lists:
    """Lists from split files. Images held out leave both lists."""
    labelled = _read(config, layout, "labelled", labelled=True)
    named = config.unlabelled or (config.labelled is None and layout.lists.get("unlabelled"))
    unlabelled = _read(config, layout, "unlabelled", labelled=False) if named else ()
    holdout: tuple[Item, ...] = ()
    if config.holdout is not None:
        source = labelled if config.holdout.source == "labelled" else unlabelled
        holdout, _ = _hold_out(config, source)
        names = {item.image for item in holdout}
        labelled, unlabelled = (
            tuple(item for item in items if item.image not in names) for items in (labelled, unlabelled)
        )
    return labelled, unlabelled, holdout


def _drawn(config: DataConfig, layout: Layout) -> _Lists:
    """The labelled split drawn from one list. A holdout from the unlabelled images is cut off first, so that splits of
    every size are scored on the same images."""
    from trainers.data.presence import classes_present

    assert config.draw is not None
    pool = _read(config, layout, "train", labelled=True)
    holdout: tuple[Item, ...] = ()
    if config.holdout is not None and config.holdout.source == "unlabelled":
        holdout, pool = _hold_out(config, pool)
    if config.draw.labelled > len(pool):
        raise ConfigError(
            f"data.draw.labelled: {config.draw.labelled} is more than the {len(pool)} images to draw from; lower it"
        )
    order = stratified_order(classes_present(pool), seed=config.draw.seed)
    labelled = tuple(pool[i] for i in order[: config.draw.labelled])
    unlabelled = tuple(pool[i] for i in sorted(order[config.draw.labelled :]))
    if config.holdout is not None and config.holdout.source == "labelled":
        holdout, labelled = _hold_out(config, labelled)
    return labelled, unlabelled, holdout


def _hold_out(config: DataConfig, items: Sequence[Item]) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    assert config.holdout is not None
    key, wanted, source = "data.holdout.images", config.holdout.images, config.holdout.source
    if not items:
        raise ConfigError(f"data.holdout.source: there is no {source} list to cut a holdout from")
    if wanted >= len(items):
        raise ConfigError(f"{key}: {wanted} of {len(items)} {source} images would leave none to train on; lower it")
    held, rest = hold_out(items, wanted, seed=config.holdout.seed)
    for item in held:
        if item.mask is None:
            raise DataError(
                f"{item.where}: {item.name} is held out for evaluation and has no mask; set data.holdout.source: "
                "labelled, or add the masks"
            )
    return held, rest


def _read(config: DataConfig, layout: Layout, key: str, *, labelled: bool) -> tuple[Item, ...]:
    name = getattr(config, key) or layout.lists.get(key)
    if name is None:
        why = " (evaluation.final is true)" if key == "val" else ""
        raise ConfigError(f"data.{key}: no split file is named{why}; give its path, relative to data.root or absolute")
    path = split_path(layout, name, key=key)
    return read_split(path, layout, labelled=labelled, encoding=config.list_encoding)


def _refuse_overlap(val: Sequence[Item], training: Sequence[Item]) -> None:
    lines = {item.image: item.where for item in training}
    for item in val:
        if item.image in lines:
            raise DataError(
                f"{item.where}: {item.name} is in the validation set and in the training images ({lines[item.image]}); "
                "take it out of one"
            )
