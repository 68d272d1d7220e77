"""What TensorBoard reads of a run."""

import importlib.util
from collections import Counter

import pytest

from tests.trainers.runs import rows, tiny
from trainers.common.errors import ConfigError
from trainers.interface.epoch_record import Decision
from trainers.loop.fit import fit

pytest.importorskip("tensorboard")


def read(folder):
    """Scalars by name and step, as TensorBoard itself loads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    found = [(name, one.step, one.value) for name in events.Tags()["scalars"] for one in events.Scalars(name)]
    assert max(Counter((name, step) for name, step, _ in found).values()) == 1
    return {(name, step): value for name, step, value in found}


def config(**logging):
    return tiny(schedule={"epochs": 3, "steps_per_epoch": 1}, evaluation={"every": 2}, logging=logging)


def test_every_metric_of_every_epoch_is_there_once_also_after_a_run_went_on(tmp_path):
    asked = config(tensorboard=True)
    fit(asked, tmp_path, callbacks=[lambda record: Decision.STOP])
    fit(asked, tmp_path)
    found, expected = read(tmp_path), rows(tmp_path)
    told = {(name, row["epoch"]) for row in expected for name in row if "/" in name}
    assert {key for key in found if not key[0].startswith(("time/", "memory/"))} == told
    for row in expected:
        for name in ("train/loss", "train/lr", "val/miou"):
            if name in row:
                assert found[name, row["epoch"]] == pytest.approx(row[name])


def test_a_run_that_was_begun_without_has_its_earlier_epochs_there_too(tmp_path):
    fit(config(), tmp_path, callbacks=[lambda record: Decision.STOP])
    assert not (tmp_path / "tensorboard").exists()
    fit(config(tensorboard=True), tmp_path)
    assert {step for _, step in read(tmp_path)} == {1, 2, 3}


def test_without_the_package_a_run_is_refused_before_its_first_step(tmp_path, monkeypatch):
    known = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *given: None if name == "tensorboard" else known(name)
    )
    with pytest.raises(ConfigError, match=r"logging\.tensorboard needs the package tensorboard: pip install"):
        fit(config(tensorboard=True), tmp_path / "run")
    assert not (tmp_path / "run").exists()
