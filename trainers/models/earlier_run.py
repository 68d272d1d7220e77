"""A network that starts from a checkpoint of an earlier run: all of it, the classifier too where it has as many
classes. Nothing is left out in silence."""

import zipfile
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainers.common.errors import CheckpointError
from trainers.common.home import expanded
from trainers.common.paths import is_file

STUDENT = "student"
"""Part of a checkpoint that has the network's tensors."""
SHOWN = 3


def tensors_of_run(weights: str) -> dict[str, Tensor] | None:
    """The student's tensors where ``model.weights`` is the path of a run's checkpoint; None where it is anything else.

    Raises:
        CheckpointError: the file is a checkpoint and damaged.
    """
    path = expanded(weights)
    if not is_file(path, what="model.weights") or not zipfile.is_zipfile(path):
        return None
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:
        return None  # whoever reads state dicts says what is wrong with it
    if not isinstance(state, dict) or "identity" not in state or STUDENT not in state:
        return None
    found: dict[str, Tensor] = state[STUDENT]
    return found


def start_from(model: nn.Module, state: Mapping[str, Tensor], *, source: str, num_classes: int, whole: bool) -> str:
    """Load the tensors of an earlier run into a network.

    Tensors of another first dimension are those of the classifier where the two runs have different numbers of classes:
    they stay as they were drawn. All others have to be there, with their names and shapes.

    Args:
        source: the file, for messages.
        num_classes: of ``model``.
        whole: False: the encoder alone (`backbone`), as for a second network that is to differ from the first.

    Returns:
        what was loaded and what is new, as a sentence.

    Raises:
        CheckpointError: it is another network; names what does not fit.
    """
    own = model.state_dict()
    if not whole:
        own = {name: value for name, value in own.items() if name.startswith("backbone.")}
        state = {name: value for name, value in state.items() if name.startswith("backbone.")}
    of_classes = {
        name
        for name in own.keys() & state.keys()
        if own[name].shape != state[name].shape
        and own[name].shape[:1] == (num_classes,)
        and own[name].shape[1:] == state[name].shape[1:]
    }
    faults = {
        "missing there": sorted(own.keys() - state.keys()),
        "unknown here": sorted(state.keys() - own.keys()),
        "of another shape": sorted(
            name for name in own.keys() & state.keys() - of_classes if own[name].shape != state[name].shape
        ),
    }
    if any(faults.values()) or not own.keys() - of_classes:
        listed = "; ".join(
            f"{what}: {', '.join(names[:SHOWN])}{' ...' if len(names) > SHOWN else ''} ({len(names)} of {len(own)})"
            for what, names in faults.items()
            if names
        )
        raise CheckpointError(
            f"model.weights = {source}: a checkpoint of another network, which is not loaded in part: {listed}. Set "
            "the keys of the section model as in its config.yaml, or give an encoder's state dict"
        )
    model.load_state_dict({name: value for name, value in state.items() if name not in of_classes}, strict=False)
    loaded = f"weights of {source}: {len(own) - len(of_classes)} of {len(own)} tensors"
    if not of_classes:
        return loaded
    theirs = state[min(of_classes)].shape[0]
    return f"{loaded}; new are {', '.join(sorted(of_classes))}: {theirs} classes there, {num_classes} here"
