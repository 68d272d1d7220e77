"""The guide's example, followed: its code in a file, an entry in the registry, a run."""

import importlib.util
import math
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field, create_model

from tests.trainers.runs import TINY, rows
from trainers.config import TrainConfig
from trainers.loop.fit import fit
from trainers.methods import registry

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "add-a-method.md"


@pytest.fixture
def entropy(tmp_path, monkeypatch):
    """The guide's module, registered."""
    code = GUIDE.read_text().split("```python\n")[1].split("```")[0]
    assert code.count("\n") < 60
    file = tmp_path / "entropy.py"
    file.write_text(code)
    spec = importlib.util.spec_from_file_location("entropy", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(registry.BUILDERS, "entropy", module.Entropy)
    return module


def test_the_guides_method_trains_with_the_inter_pixel_loss(entropy, tmp_path):
    method = Annotated[entropy.EntropyConfig | registry.MethodConfig, Field(discriminator="name")]
    config = create_model("Config", __base__=TrainConfig, method=(method, ...)).model_validate(
        {**TINY, "method": {"name": "entropy"}, "interpixel": {"alpha": 1.0, "tau": 0.05}}
    )
    fit(config, tmp_path / "run")
    last = rows(tmp_path / "run")[-1]
    assert 0 < last["train/loss/entropy"] < math.log(11)
    assert last["train/loss/interpixel"] > 0
    assert last["val/miou"] > 0
