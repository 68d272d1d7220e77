"""Checkpoints: written whole or not at all, checked before they are believed.

A folder holds `last.pt`, `previous.pt` (the one before) and `best.pt`, and between two renames `fresh.pt`, the newest.
At every instant one of `fresh.pt`, `last.pt` and `previous.pt` is whole, also where `last.pt` was found damaged.
"""

import json
import logging
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from trainers.common.atomic import replacing
from trainers.common.errors import CheckpointError, OutputError
from trainers.common.retry import FULL, patiently

logger = logging.getLogger(__name__)

FRESH, LAST, PREVIOUS, BEST = "fresh.pt", "last.pt", "previous.pt", "best.pt"


def save(path: Path, state: dict[str, Any], *, wait_s: float = 0) -> None:
    """Write under a temporary name, flush to disk, rename; where that fails, again for up to ``wait_s`` seconds.

    Raises:
        OutputError: it cannot be written; earlier checkpoints are as they were.
    """
    try:
        patiently(lambda: _write(path, state), path=path, wait_s=wait_s, faults=(OSError, RuntimeError))
    except (OSError, RuntimeError) as error:
        reason = "no space left on its disk; free some and resume" if _disk_is_full(error) else str(error)
        raise OutputError(f"{path}: checkpoint not written: {reason}") from error


def _write(path: Path, state: dict[str, Any]) -> None:
    for left_by_killed in path.parent.glob(f".{path.name}.*"):
        left_by_killed.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def _disk_is_full(error: BaseException | None) -> bool:
    """Whether a full disk lies at the bottom of an error: PyTorch's writer raises one of its own on top."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def save_last(folder: Path, state: dict[str, Any], *, wait_s: float = 0) -> Path:
    """Save as `last.pt`; what was there becomes `previous.pt`."""
    save(folder / FRESH, state, wait_s=wait_s)
    settle(folder)
    return folder / LAST


def settle(folder: Path) -> None:
    """Make a whole `fresh.pt`, where there is one, the last; a killed run can leave it so."""
    if (folder / FRESH).exists():
        if (folder / LAST).exists():
            (folder / LAST).replace(folder / PREVIOUS)
        (folder / FRESH).replace(folder / LAST)


def clear(folder: Path) -> None:
    """Delete what a run that is started again must not find."""
    for name in (FRESH, LAST, PREVIOUS, BEST):
        (folder / name).unlink(missing_ok=True)


def load(path: Path) -> dict[str, Any]:
    """A checkpoint, every byte of it checked.

    Raises:
        CheckpointError: it is torn, damaged, or no checkpoint of this program.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise CheckpointError(f"{path}: damaged: the checksum of {damaged} is wrong")
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path}: torn or not a checkpoint ({reason})") from None
    if not isinstance(state, dict) or "identity" not in state:
        raise CheckpointError(f"{path}: not a checkpoint of this program")
    return state


def latest(folder: Path, *, differs: Callable[[dict[str, Any]], list[str]]) -> dict[str, Any] | None:
    """The newest whole checkpoint, or None where there is none at all. A torn one is named and the one before is used.

    Args:
        folder: of the checkpoints.
        differs: told a checkpoint's identity, gives what this run's differs in (`trainers.loop.run_identity`); none:
            the run
            goes on from it.

    Raises:
        CheckpointError: the newest whole one belongs to another run, or none is whole.
    """
    torn: list[str] = []
    for path in (folder / FRESH, folder / LAST, folder / PREVIOUS):
        if not path.exists():
            continue
        try:
            state = load(path)
        except CheckpointError as error:
            torn.append(str(error))
            logger.warning("%s; trying the one before", error)
            continue
        if changed := differs(json.loads(state["identity"])):
            raise CheckpointError(
                f"{path}: belongs to another run; it differs in {'; '.join(changed[:6])}. "
                "Use another folder, or the config that it was made with"
            )
        return state
    if torn:
        raise CheckpointError(
            f"{folder}: no whole checkpoint ({'; '.join(torn)}). Delete the folder to start this run again"
        )
    return None
