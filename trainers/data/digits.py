"""`digits`: a small scene data set in VOC layout, made once into a cache from what scikit-learn ships."""

from typing import Annotated, Literal

from pydantic import Field

from trainers.data.base import BaseDataConfig


class DigitsConfig(BaseDataConfig):
    """Scanned handwritten digits as objects on photographic textures: 10 classes and background."""

    name: Literal["digits"]
    root: str | None = None
    """Cache folder; none: the user's cache directory."""
    scene_seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the scenes; the same seed gives the same bytes."""
