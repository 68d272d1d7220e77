"""What a checkpoint says of its model beside the weights, so that the file alone can be used: the whole config, the
names of the classes, and how many images trained it. A JSON text: it tells no runs apart and changes no tensor."""

import json
from typing import Any

from trainers.config import TrainConfig
from trainers.data.open import OpenData

KEY = "about"
"""In a checkpoint; those of earlier versions lack it."""


def about(config: TrainConfig, data: OpenData) -> str:
    """The text.

    Args:
        config: of the run.
        data: its lists.
    """
    return json.dumps({"config": config.model_dump(mode="json"), "classes": list(data.classes), "images": counts(data)})


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
