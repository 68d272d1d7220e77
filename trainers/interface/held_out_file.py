"""Where a run leaves what it found on each held-out image, and after which epochs. No torch here: a study's driver asks
it too."""

import math
from pathlib import Path

FOLDER = "held_out"
"""Folder of the held-out predictions in the run's folder."""
TIMES = 4
"""How often in a training, about; and always after the last epoch."""


def file_of(run_dir: Path, epoch: int) -> Path:
    """The file of an epoch."""
    return run_dir / FOLDER / f"{epoch:04d}.npz"


def due(epoch: int, *, pictures: int, every: int, epochs: int) -> bool:
    """Whether the evaluation after so many epochs leaves such a file: the first one in each of `TIMES` parts, and the
    last.

    Args:
        pictures, every: of `evaluation`.
        epochs: of `schedule`.
    """
    if pictures == 0 or (epoch % every and epoch != epochs):
        return False
    part = math.ceil(epochs / TIMES)
    return epoch == epochs or epoch // part > max(0, epoch - every) // part
