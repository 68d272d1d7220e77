"""What a checkpoint says of its model beside the weights, so that the file alone can be used: the whole config, the
names of the classes, how many images trained it, and how the network takes images. A JSON text: it tells no runs apart
and changes no tensor."""

import json
from typing import Any

from trainers.config import TrainConfig
from trainers.data.open import OpenData
from trainers.interface.input_spec import InputSpec

KEY = "about"
"""Key in a checkpoint; checkpoints of earlier versions lack it."""


def about(config: TrainConfig, data: OpenData, spec: InputSpec) -> str:
    """The text.

    Args:
        config: of the run.
        data: its lists.
        spec: what the network takes; a later version of a library may say something else of it.
    """
    said = {
        "config": config.model_dump(mode="json"),
        "classes": list(data.classes),
        "images": counts(data),
        "input": {"mean": spec.mean, "std": spec.std, "multiple": spec.multiple},
    }
    return json.dumps(said)


def counts(data: OpenData) -> dict[str, int]:
    """Images by the part that they have in the run."""
    return {
        "labelled": len(data.labelled),
        "unlabelled": len(data.unlabelled),
        "held_out": len(data.holdout),
        "validation": len(data.val),
    }


def told(state: dict[str, Any]) -> dict[str, Any] | None:
    """What :func:`about` wrote into a checkpoint; None where it is of an earlier version."""
    text = state.get(KEY)
    found: dict[str, Any] | None = None if text is None else json.loads(text)
    return found
