"""A small valid study that tests change one key of, and the tables of a study that has run."""

import copy
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
from ruamel.yaml import YAML

from analysis.columns import RUN_COLUMNS
from analysis.ingest.tables import Tables, save
from trainers.config import TrainConfig

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


def config_of(**changes):
    trainer = base()["trainer"] | {"interpixel": {"alpha": 0.5}} | changes
    return TrainConfig.model_validate(trainer)


def row(number, objective, *, state="complete", epochs=9, seed=0, lr=0.01, config=None):
    values = dict.fromkeys(RUN_COLUMNS)
    values |= {
        "run_id": f"small-t{number:04d}",
        "study": "small",
        "phase": "search",
        "trial": number,
        "state": state,
        "seed": seed,
        "epochs": epochs,
        "max_epochs": 9,
        "metric": "val/miou",
        "mode": "max",
        "objective": objective,
        "split_hash": "abc",
        "git_commit": "def",
        "config": (config or config_of()).model_dump_json(),
        "param.optim.lr": lr,
    }
    return values


def tables_of(rows, *, max_epochs=9):
    """The tables of runs that have a score for their last epoch."""
    history = {
        "run_id": [one["run_id"] for one in rows],
        "epoch": [one["epochs"] for one in rows],
        "time": [float(one["trial"]) for one in rows],
        rows[0]["metric"]: pa.array([one["objective"] for one in rows], pa.float64()),
    }
    if rows[0]["against_metric"] is not None:
        history[rows[0]["against_metric"]] = pa.array([one["against"] for one in rows], pa.float64())
    facts = {"scheduler": {"max_epochs": max_epochs}}
    return Tables(runs=pa.Table.from_pylist(rows), history=pa.table(history), facts=facts)


def study_with(folder, rows):
    study = folder / "studies" / "small"
    save(tables_of(rows), study)
    (study / "environment.json").write_text(json.dumps({"versions": {"torch": "2.15.0"}}))
    return study
