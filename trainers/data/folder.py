"""Any folder of images and index masks."""

from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from trainers.data.base import BaseDataConfig
from trainers.data.download import local_root
from trainers.data.layout import RGB_BANDS, Decoding, Layout, plain_columns


class FolderConfig(BaseDataConfig):
    """Images and PNG index masks with a class count of the user's own. Split lines: image path, mask path."""

    name: Literal["folder"]
    root: str
    """Folder to which the paths in the lists are relative, or the URI of one or of an archive in object storage."""
    num_classes: Annotated[int, Field(ge=2, le=255)]
    """Classes, background included; mask values 0 .. num_classes - 1, and 255 = ignore. Where `classes` names them it
    may be left out."""
    classes: tuple[Annotated[str, Field(pattern=r"\S")], ...] | None = None
    """Names of the classes, in the order of their indices, such as [background, cat]; none: class 0, class 1, ..."""
    bands: Annotated[int, Field(ge=2)] = RGB_BANDS
    """Bands of the images; 3: images are read as RGB, whatever their files hold. Others are read from TIFF files (by
    tifffile: the extra `bands`) and from arrays (.npy), every image with so many, and keep 16 bits;
    `model.in_channels` is then the same number, and `model.mean` and `model.std` have to be given."""
    shown_bands: tuple[int, int, int] | None = None
    """Which bands pictures show as red, green and blue, counted from 0, such as [3, 2, 1]; none: the first three. No
    curve depends on it."""

    @model_validator(mode="before")
    @classmethod
    def _names_give_the_count(cls, data: Any) -> Any:
        if isinstance(data, dict) and "num_classes" not in data and isinstance(data.get("classes"), list | tuple):
            return {**data, "num_classes": len(data["classes"])}
        return data

    @model_validator(mode="after")
    def _every_class_has_one_name(self) -> Self:
        if self.classes is None:
            return self
        if len(self.classes) != self.num_classes:
            raise ValueError(
                f"classes names {len(self.classes)}, and num_classes is {self.num_classes}; name every class, the "
                "background too, or leave out num_classes"
            )
        if again := sorted({name for name in self.classes if self.classes.count(name) > 1}):
            raise ValueError(f"classes names {', '.join(again)} twice; give every class a name of its own")
        return self

    @model_validator(mode="after")
    def _shown_bands_exist(self) -> Self:
        if self.shown_bands is not None and not all(0 <= one < self.bands for one in self.shown_bands):
            raise ValueError(
                f"shown_bands = {list(self.shown_bands)}: bands are counted from 0, and there are {self.bands}; give "
                f"three of 0 .. {self.bands - 1}"
            )
        return self

    def image_bands(self) -> int:
        return self.bands

    def decoding(self, num_classes: int) -> Decoding:
        return replace(super().decoding(num_classes), bands=self.bands, shown=self.shown_bands)

    def layout(self) -> Layout:
        classes = self.classes or tuple(f"class {index}" for index in range(self.num_classes))
        return Layout(
            root=local_root(self.root),
            classes=classes,
            resolve=plain_columns,
            decoding=self.decoding(self.num_classes),
        )
