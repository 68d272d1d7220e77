"""Small training runs, and what to compare of them."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from trainers.config import TrainConfig
from trainers.interface.epoch_record import MEASURED
from trainers.loop import method_context, run

TINY: dict[str, Any] = {
    "data": {"name": "digits", "crop": 32, "batch_size": 2, "holdout": {"images": 4, "source": "unlabelled"}},
    "method": {"name": "unimatch", "conf_thresh": 0.2},
    "model": {"backbone": "small", "weights": "none"},
    "optim": {"lr": 0.05, "head_lr_multiplier": 1},
    "schedule": {"epochs": 4, "steps_per_epoch": 2},
}


def tiny(**sections: Any) -> TrainConfig:
    """The small config with sections laid over it."""
    merged = {
        name: {**TINY.get(name, {}), **value} if isinstance(value, dict) else value for name, value in sections.items()
    }
    return TrainConfig.model_validate({**TINY, **merged})


def rows(run_dir: Path) -> list[dict[str, Any]]:
    """`metrics.jsonl` without what is measured on the machine."""
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if not name.startswith(MEASURED)} for line in lines
    ]


def tensors(run_dir: Path, name: str = "last.pt") -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint that are not an optimiser's, and not the loss scale."""
    state = torch.load(run_dir / "checkpoints" / name, weights_only=True)
    return {
        f"{part}.{key}": value
        for part, tensors_of_it in state.items()
        if isinstance(tensors_of_it, dict) and part not in ("optimizers", "scaling")
        for key, value in tensors_of_it.items()
    }


def same_tensors(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@contextlib.contextmanager
def in_float64() -> Iterator[None]:
    """Networks that are made inside have weights in float64, and what methods look at between stages are images in
    float64, so that what is left of a difference is an error."""
    placed, unlabelled = method_context.place_batch_norm, run.unlabelled_images

    def images(*given: Any, **named: Any) -> Any:
        looked_at = unlabelled(*given, **named)
        return lambda places: ((place, image.double()) for place, image in looked_at(places))

    with (
        mock.patch.object(method_context, "place_batch_norm", lambda *given: placed(*given).double()),
        mock.patch.object(run, "unlabelled_images", images),
    ):
        yield


def in_double(batch: Any) -> Any:
    """The batch with images in float64."""

    def double(one: Any) -> Any:
        if isinstance(one, Tensor):
            return one.double() if one.is_floating_point() else one
        if isinstance(one, tuple):
            return tuple(map(double, one))
        if dataclasses.is_dataclass(one):
            return type(one)(**{field.name: double(getattr(one, field.name)) for field in dataclasses.fields(one)})
        return one

    return double(batch)
