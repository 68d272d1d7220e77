"""Cityscapes layout (methods: section 18)."""

from typing import Literal

from trainers.data.base import BaseDataConfig


class CityscapesConfig(BaseDataConfig):
    """Cityscapes: leftImg8bit/ and gtFine/, 19 classes, masks as labelIds or labelTrainIds."""

    name: Literal["cityscapes"]
    root: str
    """Folder that holds leftImg8bit/ and gtFine/."""
