"""`open_data`: from a data config to the lists of images that a run uses."""

from collections.abc import Sequence
from dataclasses import dataclass

from trainers.common.errors import ConfigError, DataError
from trainers.common.paths import is_folder
from trainers.data import DataConfig
from trainers.data.copies import Same, listed_once, refuse_overlap, scored_and_trained
from trainers.data.layout import Item, Layout
from trainers.data.lists import read_split, split_path
from trainers.data.splits import hold_out, split_hash, stratified_order


@dataclass(frozen=True, kw_only=True)
class OpenData:
    """The images of one run.

    Args:
        classes: class names by index.
        labelled, unlabelled: what trains; every labelled item has a mask.
        holdout: training images with masks on which a search is scored; in neither of the two lists above.
        val: the images of the list `val`, empty unless the run is final.
        split_hash: digest of labelled, unlabelled and holdout by relative names.
        said: lines for the user about images that lists name more than once.
    """

    classes: tuple[str, ...]
    labelled: tuple[Item, ...]
    unlabelled: tuple[Item, ...]
    holdout: tuple[Item, ...]
    val: tuple[Item, ...]
    split_hash: str
    said: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        return len(self.classes)


def open_data(config: DataConfig, *, final: bool, with_val: bool = False) -> OpenData:
    """Read the split files, draw where asked, cut off the holdout, and see that every named file exists.

    Args:
        config: the `data` section.
        final: `evaluation.final`; only then, or with `with_val`, the validation list is read.
        with_val: read it for a check of what will be scored after this run.

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
    if not is_folder(layout.root, what="data.root"):
        raise DataError(f"data.root: no folder at {layout.root}; give the folder of the data set")
    lists = _read_lists(config, layout, with_val=final or with_val)
    same = Same(item.image for items in lists.values() for item in items)
    as_listed = config.copies == "as_listed"
    once = {key: listed_once(items, same, key=key, keep=as_listed) for key, items in lists.items()}
    said = [found.said for found in once.values() if found.said is not None]
    lists = {key: found.items for key, found in once.items()}
    try:
        labelled, unlabelled, holdout = (_drawn if "train" in lists else _listed)(config, lists, same)
    except ConfigError as error:  # there may be too few images because some were left out
        raise ConfigError("; ".join([str(error), *said])) from None
    val = lists.get("val", ())
    overlap = scored_and_trained(val, (*labelled, *unlabelled, *holdout), same)
    if as_listed and overlap:
        said.append(f"data.copies: as_listed: {len(overlap)} of {len(val)} validation images train too")
    elif overlap:
        refuse_overlap(overlap)
    return OpenData(
        classes=layout.classes,
        labelled=labelled,
        unlabelled=unlabelled,
        holdout=holdout,
        val=val,
        split_hash=split_hash(labelled=labelled, unlabelled=unlabelled, holdout=holdout, version=layout.version),
        said=tuple(said),
    )


_Items = tuple[Item, ...]


def _read_lists(config: DataConfig, layout: Layout, *, with_val: bool) -> dict[str, _Items]:
    """Every list of the config by its key, as it stands in its file."""
    lists = {}
    if config.train or config.draw:
        lists["train"] = _read(config, layout, "train", labelled=True)
    else:
        lists["labelled"] = _read(config, layout, "labelled", labelled=True)
        if config.unlabelled or (config.labelled is None and layout.lists.get("unlabelled")):
            lists["unlabelled"] = _read(config, layout, "unlabelled", labelled=False)
    if with_val:
        lists["val"] = _read(config, layout, "val", labelled=True)
    return lists


def _listed(config: DataConfig, lists: dict[str, _Items], same: Same) -> tuple[_Items, _Items, _Items]:
    """Labelled, unlabelled and held-out images from split files. Images held out leave both lists, and so does every
    copy of them."""
    labelled, unlabelled = lists["labelled"], lists.get("unlabelled", ())
    if config.holdout is None:
        return labelled, unlabelled, ()
    holdout, _ = _hold_out(config, labelled if config.holdout.source == "labelled" else unlabelled, same)
    held = {same(item.image) for item in holdout}
    labelled, unlabelled = (
        tuple(item for item in items if same(item.image) not in held) for items in (labelled, unlabelled)
    )
    return labelled, unlabelled, holdout


def _drawn(config: DataConfig, lists: dict[str, _Items], same: Same) -> tuple[_Items, _Items, _Items]:
    """The labelled split drawn from one list. A holdout from the unlabelled images is cut off first, so that splits of
    every size are scored on the same images."""
    from trainers.data.presence import classes_present

    assert config.draw is not None
    pool = lists["train"]
    holdout: _Items = ()
    if config.holdout is not None and config.holdout.source == "unlabelled":
        holdout, pool = _hold_out(config, pool, same)
    if config.draw.labelled > len(pool):
        raise ConfigError(
            f"data.draw.labelled: {config.draw.labelled} is more than the {len(pool)} images to draw from; lower it"
        )
    present = classes_present(pool, skip_corrupt=config.on_corrupt == "skip")
    order = stratified_order(present, seed=config.draw.seed)
    labelled = tuple(pool[i] for i in order[: config.draw.labelled])
    unlabelled = tuple(pool[i] for i in sorted(order[config.draw.labelled :]))
    if config.holdout is not None and config.holdout.source == "labelled":
        holdout, labelled = _hold_out(config, labelled, same)
        held = {same(item.image) for item in holdout}
        unlabelled = tuple(item for item in unlabelled if same(item.image) not in held)
    return labelled, unlabelled, holdout


def _hold_out(config: DataConfig, items: Sequence[Item], same: Same) -> tuple[_Items, _Items]:
    assert config.holdout is not None
    key, wanted, source = "data.holdout.images", config.holdout.images, config.holdout.source
    if not items:
        raise ConfigError(f"data.holdout.source: there is no {source} list to cut a holdout from")
    images = len({same(item.image) for item in items})
    if wanted >= images:
        raise ConfigError(f"{key}: {wanted} of {images} {source} images would leave none to train on; lower it")
    masked = [item for item in items if item.mask is not None]
    can_be_scored = masked if len({same(item.image) for item in masked}) >= wanted else items
    held, _ = hold_out(can_be_scored, wanted, seed=config.holdout.seed, same=lambda item: same(item.image))
    chosen = {same(item.image) for item in held}
    rest = tuple(item for item in items if same(item.image) not in chosen)
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
