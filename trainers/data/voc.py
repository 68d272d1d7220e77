"""Pascal VOC 2012 layout (methods: section 18)."""

from typing import Literal

from trainers.data.base import BaseDataConfig


class VocConfig(BaseDataConfig):
    """VOC 2012 with or without SBD: JPEGImages/<id>.jpg and index masks, 21 classes, 255 = void."""

    name: Literal["voc"]
    root: str
    """Folder that holds JPEGImages/."""
    bare_ids: bool = False
    """Split lines are bare ids (2007_000032) instead of an image and a mask path."""
    mask_dir: str | None = None
    """Folder of the masks under `root`, in place of the one that the split file names (SegmentationClassAug);
    bare ids without it use SegmentationClass."""
