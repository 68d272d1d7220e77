"""Any folder of images and index masks."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from trainers.data.base import BaseDataConfig
from trainers.data.download import local_root
from trainers.data.layout import Layout, plain_columns


class FolderConfig(BaseDataConfig):
    """Images and PNG index masks with a class count of the user's own. Split lines: image path, mask path."""

    name: Literal["folder"]
    root: str
    num_classes: Annotated[int, Field(ge=2, le=255)]
    """Classes, background included; mask values 0 .. num_classes - 1, and 255 = ignore. Where `classes` names them it
    may be left out."""
    classes: tuple[Annotated[str, Field(pattern=r"\S")], ...] | None = None
    """Names of the classes, in the order of their indices, such as [background, cat]; none: class 0, class 1, ..."""

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

    def layout(self) -> Layout:
        classes = self.classes or tuple(f"class {index}" for index in range(self.num_classes))
        return Layout(
            root=local_root(self.root),
            classes=classes,
            resolve=plain_columns,
            decoding=self.decoding(self.num_classes),
        )
