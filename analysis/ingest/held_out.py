"""What a run found on each held-out image, from the file that its trainer left and that lies among its W&B files:
counts of pixels by image and class, and small pictures. `trainers.loop.held_out` describes the format."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FILE = "held_out.npz"
"""Name of the held-out predictions among the files of a W&B run; only those of the latest epoch are kept."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image. ``image`` (H, W, 3) uint8; ``truth`` and ``prediction`` (H, W) uint8, class indices, 255 = ignore."""

    name: str
    image: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    prediction: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """All held-out images of a run after an epoch.

    Args:
        epoch: finished epochs.
        names: of the n images.
        counts: (n, 3, C): pixels of each class that were found, wrongly found, and missed.
        shown: places of the images with pictures.
        files: image, truth and prediction of each of those, as bytes of image files.
    """

    epoch: int
    names: tuple[str, ...]
    counts: NDArray[np.int64]
    shown: tuple[int, ...]
    files: tuple[tuple[bytes, bytes, bytes], ...]

    def picture(self, name: str) -> Picture | None:
        """The image of a name; None where it has none here."""
        place = next((slot for slot, place in enumerate(self.shown) if self.names[place] == name), None)
        if place is None:
            return None
        image, truth, prediction = (_decoded(one) for one in self.files[place])
        return Picture(name=name, image=image, truth=truth, prediction=prediction)


def read_held_out(data: bytes) -> HeldOut:
    """What a file holds. Raises ValueError where it is no such file, or a torn one."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            found: dict[str, Any] = dict(arrays)
        ends = np.cumsum(found["lengths"].ravel())
        parts = [
            found["files"][end - size : end].tobytes() for end, size in zip(ends, found["lengths"].ravel(), strict=True)
        ]
        count = len(found["shown"])
        return HeldOut(
            epoch=int(found["epoch"]),
            names=tuple(found["names"].tolist()),
            counts=found["counts"],
            shown=tuple(found["shown"].tolist()),
            files=tuple((parts[3 * slot], parts[3 * slot + 1], parts[3 * slot + 2]) for slot in range(count)),
        )
    except Exception as error:  # of a damaged file its readers raise errors of many kinds
        raise ValueError(f"no file of held-out images: {error}") from error


def held_out_of(study_dir: Path, run_id: str) -> HeldOut | None:
    """The held-out predictions in a run's W&B files, of the latest epoch; None where there are none."""
    found: HeldOut | None = None
    for path in sorted((study_dir / "wandb").glob(f"*run-*/files/{FILE}")):
        if not path.parent.parent.name.endswith(f"-{run_id}") or "latest-run" in path.parts:
            continue
        try:
            one = read_held_out(path.read_bytes())
        except (OSError, ValueError):
            continue
        if found is None or one.epoch >= found.epoch:
            found = one
    return found


def _decoded(data: bytes) -> NDArray[np.uint8]:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return np.array(image)
