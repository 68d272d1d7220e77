"""The section `loss` in a run: counted class weights, what is said of them, and that every method learns by it."""

import numpy as np
import pytest
import torch

from benchmarks.helpers.method_settings import ALL_ON
from tests.trainers.methods.test_every_method import config
from tests.trainers.runs import rows, tiny
from trainers.cli.train import describe_data
from trainers.common.errors import ConfigError
from trainers.data.class_pixels import class_pixels
from trainers.data.open import open_data
from trainers.data.read import mask_array
from trainers.dead_keys import dead_keys
from trainers.interface.epoch_record import Decision
from trainers.loop.fit import fit
from trainers.loop.labelled_loss import class_weights
from trainers.loop.run import Run
from trainers.losses.labelled_config import LossConfig


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL_ON)
def test_every_method_learns_from_its_labels_by_this_loss(name, tmp_path, monkeypatch):
    run = Run(config(name, alpha=0.0), tmp_path)
    run.labelled_loss = lambda logits, labels, denominator, *, hard=None, weights=None: logits.sum() * 0 + 7
    output = run.method.losses(run._step(next(iter(run.loader.epoch(0)))))
    run.close()
    labelled = {name: float(term) for name, term in output.terms.items() if name.startswith("supervised")}
    assert labelled == dict.fromkeys(labelled, 7.0)
    assert labelled


def test_pixels_of_each_class_are_those_of_the_masks():
    data = open_data(tiny().data, final=False)
    items = [*data.labelled[:5], data.labelled[0]]
    expected = sum(np.bincount(mask_array(item).ravel(), minlength=256)[: data.num_classes] for item in items)
    assert class_pixels(items, num_classes=data.num_classes) == tuple(expected)
    assert class_pixels(items, num_classes=data.num_classes) == tuple(expected)  # as they were kept


def test_weights_by_frequency_are_said_with_the_data():
    made = tiny(loss={"class_weights": "frequency", "frequency_power": 1})
    (line,) = [text for text in describe_data(made) if "class weights by frequency" in text]
    data = open_data(made.data, final=False)
    weights = class_weights(made, data)
    assert f"in {len(data.labelled)} labelled masks (power 1, mean over pixels 1): " in line
    named = zip(data.classes, weights.tolist(), strict=True)
    assert line.endswith(", ".join(f"{name} {one:.3g}" for name, one in named))


def test_as_many_weights_as_classes_are_wanted(tmp_path):
    with pytest.raises(ConfigError, match=r"loss\.class_weights: 2 numbers for \d+ classes"):
        Run(tiny(loss={"class_weights": [1, 2]}), tmp_path)


def test_weights_that_are_all_0_are_refused():
    with pytest.raises(ValueError, match="class_weights are all 0"):
        tiny(loss={"class_weights": [0, 0, 0]})


def test_lovasz_without_its_package_is_refused_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"ipix-tune\[models\]"):
        Run(tiny(loss={"labelled": "lovasz"}), tmp_path)


def test_a_run_with_another_loss_goes_on_bit_for_bit(tmp_path):
    made = tiny(loss={"labelled": "focal+dice", "class_weights": "frequency"}, schedule={"epochs": 2})
    fit(made, tmp_path / "unbroken")
    fit(made, tmp_path / "stopped", callbacks=[lambda one: Decision.STOP])
    fit(made, tmp_path / "stopped")
    assert rows(tmp_path / "stopped") == rows(tmp_path / "unbroken")


def test_the_default_section_changes_no_bit(tmp_path):
    """What is dead under it is, too."""
    plain = tiny(schedule={"epochs": 1})
    assert {"loss.focal_gamma", "loss.region_weight", "loss.frequency_power"} <= set(dead_keys(plain))
    fit(plain, tmp_path / "plain")
    other = {"focal_gamma": 5, "region_weight": 9, "frequency_power": 1}
    fit(tiny(schedule={"epochs": 1}, loss=other), tmp_path / "other")
    assert rows(tmp_path / "plain") == rows(tmp_path / "other")


@pytest.mark.parametrize(
    ("loss", "dead"),
    [
        ({"labelled": "dice"}, {"method.ohem", "loss.focal_gamma", "loss.region_weight", "loss.frequency_power"}),
        (
            {"labelled": "lovasz"},
            {"method.ohem", *(f"loss.{key}" for key in LossConfig.model_fields if key != "labelled")},
        ),
        ({"labelled": "focal+dice", "class_weights": "frequency"}, {"method.ohem"}),
        ({"labelled": "ce+dice"}, {"loss.focal_gamma", "loss.frequency_power"}),
    ],
)
def test_keys_that_a_loss_makes_no_use_of_are_dead(loss, dead):
    found = {name for name in dead_keys(tiny(loss=loss)) if name.startswith("loss.") or name == "method.ohem"}
    assert found == dead


def test_alonsos_own_class_weights_take_the_place_of_the_section_s(tmp_path):
    made = config("alonso", alpha=0.0, loss={"class_weights": "frequency"})
    assert {"loss.class_weights", "loss.frequency_power"} <= set(dead_keys(made))
    batch = None
    found = []
    for one in (made, config("alonso", alpha=0.0)):
        run = Run(one, tmp_path / str(len(found)))
        batch = next(iter(run.loader.epoch(0)))
        found.append(run.method.losses(run._step(batch)).terms["supervised"])
        run.close()
    assert torch.equal(*found)
