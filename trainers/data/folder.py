"""Any folder of images and index masks."""

from typing import Annotated, Literal

from pydantic import Field

from trainers.data.base import BaseDataConfig
from trainers.data.layout import Layout, plain_columns
from trainers.data.stage import local_root


class FolderConfig(BaseDataConfig):
    """Images and PNG index masks with a class count of the user's own. Split lines: image path, mask path."""

    name: Literal["folder"]
    root: str
    num_classes: Annotated[int, Field(ge=2, le=255)]
    """Classes, background included; mask values 0 .. num_classes - 1, and 255 = ignore."""

    def layout(self) -> Layout:
        classes = tuple(f"class {index}" for index in range(self.num_classes))
        return Layout(root=local_root(self.root), classes=classes, resolve=plain_columns)
