"""Small data sets on disk. Image i of `folder_root` is one flat colour that tells its index."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from trainers.config import TrainConfig
from trainers.data import DataConfig
from trainers.data.scenes import Scenes, make_scenes

SHADE = 5


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def data_config() -> Callable[..., Any]:
    """A `data` section from keywords."""

    def make(**values: Any) -> Any:
        return TypeAdapter(DataConfig).validate_python({"crop": 16, "batch_size": 2} | values)

    return make


@pytest.fixture
def folder_root(tmp_path: Path) -> Path:
    """20 PNG images of 24 x 20 pixels with masks of 3 classes; lists `labelled` (6), `unlabelled` (14), `all` (20)."""
    lines = []
    for index in range(20):
        lines.append(f"images/{index}.png masks/{index}.png")
        write_image(tmp_path / "images" / f"{index}.png", np.full((20, 24, 3), SHADE * (index + 1)))
        mask = np.full((20, 24), 255)
        mask[5:] = index % 3
        write_image(tmp_path / "masks" / f"{index}.png", mask)
    for name, part in (("labelled", lines[:6]), ("unlabelled", lines[6:]), ("all", lines)):
        (tmp_path / f"{name}.txt").write_text("\n".join(part))
    return tmp_path


@pytest.fixture
def train_config(folder_root: Path) -> Callable[..., TrainConfig]:
    """A training config on `folder_root`; keywords replace whole keys of the sections."""

    def make(*, seed: int = 0, method: str = "unimatch", **sections: dict[str, Any]) -> TrainConfig:
        data = {
            "name": "folder",
            "root": str(folder_root),
            "num_classes": 3,
            "crop": 16,
            "batch_size": 4,
            "labelled": "labelled.txt",
            "unlabelled": "unlabelled.txt",
            "holdout": {"images": 2, "source": "unlabelled"},
        }
        return TrainConfig.model_validate(
            sections | {"seed": seed, "method": {"name": method}, "data": data | sections.get("data", {})}
        )

    return make


@pytest.fixture(scope="session")
def scenes_root(tmp_path_factory) -> Path:
    """A dozen digit scenes."""
    root = tmp_path_factory.mktemp("scenes")
    make_scenes(root, seed=0, scenes=Scenes(labelled=4, unlabelled=8, val=4))
    return root


def write_image(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture(name="write_image")
def _write_image() -> Callable[[Path, np.ndarray], None]:
    return write_image
