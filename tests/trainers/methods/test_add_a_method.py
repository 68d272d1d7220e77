"""The guide's example, followed: its code in a file, an entry in the registry, a run."""

import importlib.util
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field, create_model

from tests.trainers.runs import TINY, rows
from trainers.config import TrainConfig
from trainers.loop.fit import fit
from trainers.methods import registry

GUIDE = Path(__file__).parents[3] / "docs" / "how-to" / "add-a-method.md"


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """The guide's module, registered."""
    code = GUIDE.read_text().split("```python\n")[1].split("```")[0]
    assert code.count("\n") < 60
    file = tmp_path / "mirror.py"
    file.write_text(code)
    spec = importlib.util.spec_from_file_location("mirror", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(registry.BUILDERS, "mirror", module.Mirror)
    return module


def test_the_guides_method_trains_with_the_inter_pixel_loss(mirror, tmp_path):
    method = Annotated[mirror.MirrorConfig | registry.MethodConfig, Field(discriminator="name")]
    config = create_model("Config", __base__=TrainConfig, method=(method, ...)).model_validate(
        {**TINY, "method": {"name": "mirror"}, "interpixel": {"alpha": 1.0, "tau": 0.05}}
    )
    fit(config, tmp_path / "run")
    last = rows(tmp_path / "run")[-1]
    assert 0 < last["train/loss/mirror"] < 2
    assert last["train/loss/interpixel"] > 0
    assert last["val/miou"] > 0
