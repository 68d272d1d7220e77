"""An evaluation as files: scores.json, classes.csv, images.csv, confusion.csv and confusion.png."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from trainers.common.atomic import replacing
from trainers.common.errors import OutputError
from trainers.inference.bootstrap import LEVEL, RESAMPLES
from trainers.inference.confusion_picture import draw
from trainers.inference.evaluate import BOUNDARY, MEANS, PREDICTED, TRUE, Evaluation, Interval
from trainers.inference.model import LoadedModel

INTERVAL = (
    f"{LEVEL:.0%} percentile bootstrap interval: the images were resampled {RESAMPLES} times, and the training is this "
    "one; seeds of a config differ too, which it does not know"
)
Cell = str | float | int


def write_evaluation(folder: Path, model: LoadedModel, found: Evaluation, *, listed: str) -> list[Path]:
    """The files, in a folder that is made where it is not there.

    Args:
        listed: which images were scored, in words.

    Raises:
        OutputError: they cannot be written.
    """
    texts = {
        "scores.json": json.dumps(_summary(model, found, listed), indent=2) + "\n",
        "classes.csv": _csv(_class_rows(model, found)),
        "images.csv": _csv(_image_rows(found)),
        "confusion.csv": _csv(_confusion_rows(model, found)),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            with replacing(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
        with replacing(folder / "confusion.png") as temporary:
            draw(found.confusion, model.classes, temporary)
    except OSError as error:
        raise OutputError(f"--out {folder}: cannot be written: {error.strerror or error}") from error
    return [folder / name for name in (*texts, "confusion.png")]


def told(model: LoadedModel, found: Evaluation) -> list[str]:
    """The scores in lines for people, in percent, rare classes included."""
    width = max(map(len, (*model.classes, *MEANS)))
    lines = [f"{name.ljust(width)}  {_shown(found.means[name])}" for name in MEANS]
    lines.append("IoU by class:")
    for index, name in enumerate(model.classes):
        value = _shown(found.iou[index]) if index in found.iou else "neither in the masks nor predicted"
        lines.append(f"{name.ljust(width)}  {value}")
    lines.append(f"{len(found.names)} images; {INTERVAL}")
    return lines


def _shown(one: Interval) -> str:
    if math.isnan(one.low):
        return f"{one.value:6.2f} (no interval)"
    return f"{one.value:6.2f} ({one.low:.2f} to {one.high:.2f})"


def _summary(model: LoadedModel, found: Evaluation, listed: str) -> dict[str, Any]:
    config = model.config
    return {
        "checkpoint": str(model.path),
        "epoch": model.epoch,
        "weights": model.digest(),
        "images": {"which": listed, "number": len(found.names)},
        "evaluation": {
            "mode": config.evaluation.mode,
            "window": config.data.crop if config.evaluation.mode == "sliding" else None,
            "scale": config.evaluation.scale,
            "scales": sorted(set(found.augmentation.scales)),
            "flips": sorted(set(found.augmentation.flips)),
            "absent": found.absent,
            "boundary_width": BOUNDARY,
        },
        "scores": {name: _plain(found.means[name]) for name in MEANS},
        "iou": {model.classes[index]: _plain(one) for index, one in found.iou.items()},
        "dice": {model.classes[index]: _plain(one) for index, one in found.dice.items()},
        "unit": "percent",
        "interval": INTERVAL,
    }


def _plain(one: Interval) -> dict[str, Any]:
    ends = None if math.isnan(one.low) else [one.low, one.high]
    return {"value": None if math.isnan(one.value) else one.value, "interval_95": ends}


def _class_rows(model: LoadedModel, found: Evaluation) -> list[list[Cell]]:
    rows: list[list[Cell]] = [
        ["class", "iou", "iou_low", "iou_high", "dice", "pixels_true", "pixels_predicted", "images_true"]
    ]
    for index, name in enumerate(model.classes):
        true, predicted = found.counts[:, TRUE, index], found.counts[:, PREDICTED, index]
        counted: list[Cell] = [int(true.sum()), int(predicted.sum()), int((true > 0).sum())]
        iou, dice = found.iou.get(index), found.dice.get(index)
        scored: list[Cell] = ["", "", "", ""] if iou is None or dice is None else [*_ends(iou), dice.value]
        rows.append([name, *scored, *counted])
    return rows


def _ends(one: Interval) -> list[Cell]:
    return [one.value, *("" if math.isnan(end) else end for end in (one.low, one.high))]


def _image_rows(found: Evaluation) -> list[list[Cell]]:
    alone = 100 * found.of_images()
    rows: list[list[Cell]] = [["image", *MEANS, "pixels"]]
    for name, values, counts in zip(found.names, alone, found.counts, strict=True):
        shown: list[Cell] = ["" if np.isnan(value) else float(value) for value in values]
        rows.append([name, *shown, int(counts[TRUE].sum())])
    return rows


def _confusion_rows(model: LoadedModel, found: Evaluation) -> list[list[Cell]]:
    rows: list[list[Cell]] = [["true / predicted", *model.classes]]
    for name, counts in zip(model.classes, found.confusion, strict=True):
        rows.append([name, *map(int, counts)])
    return rows


def _csv(rows: list[list[Cell]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
