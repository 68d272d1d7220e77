"""`digits`: a small scene data set in VOC layout, made once into a cache from what scikit-learn ships."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from trainers.common.errors import ConfigError
from trainers.common.home import expanded
from trainers.common.object_uri import is_uri
from trainers.data.base import BaseDataConfig
from trainers.data.layout import Layout, cache_folder, plain_columns

CLASSES = ("background", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class DigitsConfig(BaseDataConfig):
    """Scanned handwritten digits as objects on photographic textures: 10 classes and background."""

    own_lists: ClassVar[bool] = True

    name: Literal["digits"]
    root: str | None = None
    """Cache folder; none: the user's cache directory."""
    scene_seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the scenes; the same seed gives the same bytes."""
    train_scenes: Annotated[int, Field(ge=24)] = 240
    """Training scenes in all, of which 12 are on the labelled list: the same ones from 240 scenes on. A held-out part
    of hundreds needs more than 240."""

    def layout(self) -> Layout:
        from trainers.data.scenes import LISTS, Scenes, cached_scenes

        if self.root is not None and is_uri(self.root):
            raise ConfigError(
                f"data.root = {self.root}: digits is made on every node; give a cache folder, or leave it out"
            )
        cache = cache_folder() if self.root is None else expanded(self.root)
        scenes = Scenes(unlabelled=self.train_scenes - Scenes.labelled)
        root = cached_scenes(cache, seed=self.scene_seed, scenes=scenes)
        return Layout(
            root=root,
            classes=CLASSES,
            resolve=plain_columns,
            lists=LISTS,
            version=root.name,
            decoding=self.decoding(len(CLASSES)),
        )
