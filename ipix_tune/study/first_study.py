"""A first study of a new data set: its lists and its study file, commented, as `ipix-tune init` writes them."""

import re
import shlex
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ipix_tune.config.load_study import from_text
from ipix_tune.study.first_settings import Hardware, settings_for, this_machine
from ipix_tune.study.first_study_text import study_text
from trainers.common.atomic import replacing
from trainers.common.errors import ConfigError, OutputError
from trainers.data.coco_json import read_instances, write_masks
from trainers.data.lists import split_text
from trainers.data.survey.folder import Survey, survey
from trainers.data.survey.parts import Parts, draw_parts


def begin(
    *,
    images: Path,
    masks: Path | None = None,
    annotations: Sequence[Path] = (),
    labelled: int | None = None,
    out: Path = Path("study.yaml"),
    name: str | None = None,
    names: Sequence[str] | None = None,
    label_map: Any = None,
    seed: int = 0,
    force: bool = False,
    command: str = "ipix-tune init",
    progress: Callable[[int], Callable[[], object]] = lambda files: lambda: None,
    machine: Hardware | None = None,
) -> list[str]:
    """Look at a data set, and write its lists and a study file; returns what to tell the user, the next command last.

    Args:
        images, masks: folders.
        annotations: files of COCO's instance JSON, from which masks are painted beside the study; instead of `masks`.
        labelled: how many images keep their labels; None: all with masks, where there are images without.
        out: the study file, or a folder for it.
        name: of the study; None: made of the folder's name.
        names: of the classes; None: as files beside the masks name them.
        label_map: as `data.label_map`; None: what the masks show.
        seed: of the lists.
        force: overwrite.
        command: noted in the file.
        progress: is told how many files there are, and gives what is called after each.
        machine: that the study is for; None: this one.

    Raises:
        UserError: the folders hold no data set that can be trained on, or a file is in the way.
    """
    out = out if out.suffix in (".yaml", ".yml") else out / "study.yaml"
    if (masks is None) != bool(annotations):
        raise ConfigError("give --masks, a folder, or --annotations, COCO's instance JSON: one of the two")
    painted: list[str] = []
    if masks is None:
        masks = out.absolute().parent / f"{out.stem}-masks"
        instances = read_instances(annotations)
        painted = write_masks(instances, masks, force=force)
        names = names or instances.classes
    seen = survey(images, masks, names=names, label_map=label_map, progress=progress)
    parts = draw_parts(seen.pairs, seen.present, seen.bare, labelled=labelled, seed=seed)
    lists = files_of(out.absolute(), parts)
    machine = machine or this_machine()
    trained = len(parts.labelled) - (parts.holdout if parts.source == "labelled" else 0)
    unlabelled = len(parts.unlabelled) - (parts.holdout if parts.source == "unlabelled" else 0)
    settings = settings_for(machine, sizes=list(seen.sizes), labelled=trained, unlabelled=unlabelled)
    text = study_text(
        name=study_name(name, seen.root),
        survey=seen,
        parts=parts,
        settings=settings,
        machine=machine,
        lists={path.stem: path for path in lists},
        command=command,
    )
    from_text(text, source=str(out))
    write_files({out: text, **lists}, force=force)
    return [
        *painted,
        *seen.said,
        *parts.said,
        *class_lines(seen, parts),
        f"machine: {machine.words}: {settings.backbone}, crop {settings.crop}, {settings.batch_size} + "
        f"{settings.batch_size} images a step, {settings.epochs} epochs of {settings.steps_per_epoch} steps, "
        f"{settings.trials} trials",
        f"written: {out}, {', '.join(path.name for path in lists)} in {next(iter(lists)).parent}",
        f"next: ipix-tune sweep {shlex.quote(str(out))} --dry-run",
    ]


def class_lines(seen: Survey, parts: Parts) -> list[str]:
    """How often each class is seen, and where it is not."""
    shares = ", ".join(f"{name} {100 * share:.2g} %" for name, share in zip(seen.classes, seen.shares, strict=True))
    present = {item.image: shown for item, shown in zip(seen.pairs, seen.present, strict=True)}
    lines = [f"classes by their share of the pixels: {shares}"]
    for called, items in (("labelled", parts.labelled), ("val", parts.val)):
        shown = frozenset().union(*(present[item.image] for item in items))
        if absent := [name for index, name in enumerate(seen.classes) if index not in shown]:
            lines.append(f"warning: no {called} image shows {', '.join(absent)}")
    return lines


def study_name(given: str | None, root: Path) -> str:
    """A name that a study may have: the given one as it is, else made of the folder's."""
    if given is not None:
        return given
    plain = unicodedata.normalize("NFKD", root.name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-._") or "first-study"


def files_of(out: Path, parts: Parts) -> dict[Path, str]:
    """The lists of a study, by their path beside its file."""
    folder = out.parent / f"{out.stem}-lists"
    lists = {"labelled": parts.labelled, "unlabelled": parts.unlabelled, "val": parts.val}
    return {folder / f"{name}.txt": split_text(items) for name, items in lists.items() if items}


def write_files(files: Mapping[Path, str], *, force: bool) -> None:
    """Write all, or none where one is there already with other content.

    Raises:
        OutputError: a file is there and ``force`` is not set, or one cannot be written.
    """
    there = [
        path for path, text in files.items() if path.exists() and (path.is_dir() or path.read_bytes() != text.encode())
    ]
    if there and not force:
        raise OutputError(
            f"{there[0]}: is there already and would be overwritten; give another --out, or --force to overwrite"
        )
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{error.filename}: cannot be written: {error.strerror}; give another --out") from None
