"""A small valid study that tests change one key of."""

import copy
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

BASE: dict[str, Any] = {
    "name": "small",
    "trainer": {
        "data": {"name": "digits", "crop": 32, "batch_size": 4, "holdout": {"images": 8, "source": "unlabelled"}},
        "method": {"name": "unimatch"},
        "model": {"backbone": "small", "weights": "none"},
        "schedule": {"epochs": 9},
    },
    "search": {
        "interpixel.alpha": {"loguniform": [0.01, 10]},
        "interpixel.distance": {"choice": ["kl", "cr"]},
        "method.teacher": {"choice": ["shared", "ema"]},
        "method.ema_decay": {"choice": [0.99, 0.996], "only_if": {"method.teacher": "ema"}},
        "optim.lr": {"loguniform": [1e-4, 1e-1]},
    },
    "points": [
        {"interpixel.alpha": 1, "interpixel.distance": "kl", "method.teacher": "shared", "optim.lr": 0.01},
    ],
    "budget": {"trials": 12},
}


def base() -> dict[str, Any]:
    return copy.deepcopy(BASE)


def write(folder: Path, data: dict[str, Any]) -> Path:
    path = folder / "study.yaml"
    with path.open("w") as stream:
        YAML().dump(data, stream)
    return path


def line_of(path: Path, text: str) -> int:
    """Number of the first line that holds ``text``."""
    return next(number for number, line in enumerate(path.read_text().splitlines(), 1) if text in line)
