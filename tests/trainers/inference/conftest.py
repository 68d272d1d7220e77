"""One tiny training for all tests of this folder."""

import pytest

from tests.trainers.runs import tiny
from trainers.inference.model import load_model
from trainers.loop.fit import fit

EPOCHS, VALIDATION = 3, 10


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """The folder of a run that scored its held-out images and data.val, whole."""
    place = tmp_path_factory.mktemp("runs")
    layout = tiny().data.layout()
    lines = (layout.root / layout.lists["val"]).read_text().splitlines()[:VALIDATION]
    (place / "val.txt").write_text("\n".join(lines))
    config = tiny(
        data={"val": str(place / "val.txt"), "batch_size": 4, "crop": 48},
        schedule={"epochs": EPOCHS, "steps_per_epoch": 30},
        optim={"lr": 0.1},
        evaluation={"final": True},
    )
    config = type(config).model_validate(config.model_dump() | {"method": {"name": "supervised"}})
    fit(config, place / "tiny-seed0")
    return place / "tiny-seed0"


@pytest.fixture(scope="session")
def model(run):
    return load_model(run)
