"""A study as a W&B sweep: W&B's own page then has its parallel coordinates and importance panels.

W&B chooses nothing here. Its sweep describes what Ray Tune and Optuna search, and collects the runs; no agent of W&B
ever asks it for a configuration.
"""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ipix_tune.config.dimension_config import Dimension
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.storage.atomic import replace_bytes

FILE = "wandb_sweep.json"
"""File in the study's folder with {id, project, entity} of the sweep that its runs belong to."""
DISTRIBUTIONS = {
    "uniform": "uniform",
    "loguniform": "log_uniform_values",
    "quniform": "q_uniform",
    "int": "int_uniform",
    "logint": "q_log_uniform_values",
}


def sweep_config(study: StudyConfig) -> dict[str, Any]:
    """The study in W&B's sweep configuration, plain data.

    Parameters are nested as runs have them in their logged config (`trainer.interpixel.alpha`), so that W&B's panels
    find their values. Conditions (`only_if`) and priors have no counterpart and are left out; a leaf that is inactive
    in a run shows the training config's own value there. There is no `early_terminate`: rungs are the study's, and W&B
    would stop runs by its own.
    """
    parameters: dict[str, Any] = {}
    for name, dimension in study.search.items():
        *sections, leaf = ["trainer", *name.split(".")]
        level = parameters
        for section in sections:
            level = level.setdefault(section, {"parameters": {}})["parameters"]
        level[leaf] = parameter(dimension)
    return {
        "name": study.name,
        "description": f"searched by ipix-tune ({study.sampler.name}, {study.scheduler.name}), not by W&B",
        "method": "custom",
        "metric": {"name": study.objective.metric, "goal": study.objective.direction},
        "parameters": parameters,
    }


def parameter(dimension: Dimension) -> dict[str, Any]:
    """One dimension as W&B writes it."""
    if dimension.choice is not None:
        return {"distribution": "categorical", "values": list(dimension.choice)}
    low, high, *step = getattr(dimension, dimension.kind)
    found = {"distribution": DISTRIBUTIONS[dimension.kind], "min": low, "max": high}
    if dimension.kind == "logint":
        step = [1]
    return {**found, "q": step[0]} if step else found


def registered(folder: Path, study: StudyConfig, *, timeout_s: float) -> str:
    """Id of the study's sweep on the W&B server, made there unless the study's folder names one already.

    Raises:
        TimeoutError: the server took longer than ``timeout_s`` seconds.
        Exception: whatever W&B's client raises.
    """
    known = stored(folder, study)
    if known is not None:
        return known
    answer: dict[str, Any] = {}

    def ask() -> None:
        try:
            answer["id"] = _register(study)
        except Exception as error:
            answer["error"] = error

    asking = threading.Thread(target=ask, daemon=True)  # the client itself tries for minutes
    asking.start()
    asking.join(timeout_s)
    if "error" in answer:
        raise answer["error"]
    if "id" not in answer:
        raise TimeoutError(f"no sweep within {timeout_s:g} s")
    sweep = {"id": answer["id"], "project": study.logging.project, "entity": study.logging.entity}
    replace_bytes(folder / FILE, json.dumps(sweep, indent=2).encode())
    return str(answer["id"])


def stored(folder: Path, study: StudyConfig) -> str | None:
    """The sweep that the study's folder names, unless the study logs to another project since."""
    try:
        sweep = json.loads((folder / FILE).read_bytes())
    except FileNotFoundError:
        return None
    here = (study.logging.project, study.logging.entity)
    return str(sweep["id"]) if (sweep["project"], sweep["entity"]) == here else None


def _register(study: StudyConfig) -> str:
    import wandb

    with _environment_kept("WANDB_ENTITY", "WANDB_PROJECT"):  # the client sets them for agents
        return str(wandb.sweep(sweep_config(study), entity=study.logging.entity, project=study.logging.project))


@contextmanager
def _environment_kept(*names: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
