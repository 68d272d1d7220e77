"""Pascal VOC 2012 layout (methods: section 18)."""

from pathlib import PurePosixPath
from typing import ClassVar, Literal

from trainers.data.base import BaseDataConfig
from trainers.data.download import local_root
from trainers.data.layout import Layout

CLASSES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)

CPS_FOLDERS = {"images": "JPEGImages", "segmentation": "SegmentationClass"}
"""Folder names in the split files of CPS, and VOC's own."""


class VocConfig(BaseDataConfig):
    """VOC 2012 with or without SBD: JPEGImages/<id>.jpg and index masks, 21 classes, 255 = void."""

    official_val: ClassVar[bool] = True

    name: Literal["voc"]
    root: str
    """Folder that holds JPEGImages/, or the URI of one or of an archive in object storage."""
    bare_ids: bool = False
    """Split lines are bare ids (2007_000032) instead of an image and a mask path."""
    mask_dir: str | None = None
    """Folder of the masks under `root`, in place of the one that the split file names (SegmentationClassAug);
    bare ids without it use SegmentationClass."""

    def layout(self) -> Layout:
        return Layout(
            root=local_root(self.root),
            classes=CLASSES,
            resolve=self._resolve,
            decoding=self.decoding(len(CLASSES)),
        )

    def _resolve(self, columns: tuple[str, ...]) -> tuple[str, str | None]:
        bare = "/" not in columns[0] and not PurePosixPath(columns[0]).suffix
        if bare != self.bare_ids:
            found, value = ("a bare id", "true") if bare else ("a path", "false")
            raise ValueError(f'"{columns[0]}" is {found}; set data.bare_ids: {value}')
        if bare:
            if len(columns) > 1:
                raise ValueError("a bare id stands alone on its line")
            return f"JPEGImages/{columns[0]}.jpg", f"{self.mask_dir or 'SegmentationClass'}/{columns[0]}.png"
        image = self._own_folder(columns[0])
        if self.mask_dir is not None:
            return image, f"{self.mask_dir}/{PurePosixPath(columns[-1]).stem}.png"
        return image, self._own_folder(columns[1]) if len(columns) > 1 else None

    def _own_folder(self, path: str) -> str:
        first, _, rest = path.removeprefix("/").partition("/")
        if first in CPS_FOLDERS and not (local_root(self.root) / first).is_dir():
            return f"{CPS_FOLDERS[first]}/{rest}"
        return path
