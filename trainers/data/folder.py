"""Any folder of images and index masks."""

from typing import Annotated, Literal

from pydantic import Field

from trainers.data.base import BaseDataConfig


class FolderConfig(BaseDataConfig):
    """Images and PNG index masks with a class count of the user's own."""

    name: Literal["folder"]
    root: str
    num_classes: Annotated[int, Field(ge=2, le=255)]
    """Classes, background included; mask values 0 .. num_classes - 1, and 255 = ignore."""
