"""A training that starts from a checkpoint of an earlier one: all of its weights, or all but the classifier."""

import pytest
import torch

from tests.trainers.runs import tiny
from trainers.common.errors import CheckpointError
from trainers.loop.fit import fit
from trainers.models.build import build_model
from trainers.models.model_config import ModelConfig

CLASSIFIER = {"classify.weight", "classify.bias"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of one epoch on 11 classes."""
    folder = tmp_path_factory.mktemp("earlier")
    fit(tiny(schedule={"epochs": 1}), folder)
    return folder


def built(weights, *, classes=11, whole=True, seed=5, **model):
    config = ModelConfig.model_validate({"backbone": "small", "weights": str(weights), **model})
    return build_model(config, num_classes=classes, seed=seed, whole=whole)


def student(run):
    return torch.load(run / "checkpoints" / "best.pt", weights_only=True)["student"]


def test_the_same_number_of_classes_takes_every_tensor(run):
    model = built(run / "checkpoints" / "best.pt")
    theirs, own = student(run), model.state_dict()
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[name], theirs[name]) for name in own)
    assert f"{len(own)} of {len(own)} tensors" in model.started_from


def test_another_number_of_classes_has_a_new_classifier_which_is_said(run):
    model, fresh = built(run / "checkpoints" / "best.pt", classes=4), built("none", classes=4)
    theirs, own = student(run), model.state_dict()
    changed = {
        name for name in own if not (own[name].shape == theirs[name].shape and torch.equal(own[name], theirs[name]))
    }
    assert changed == CLASSIFIER
    assert all(torch.equal(own[name], fresh.state_dict()[name]) for name in CLASSIFIER)
    assert "new are classify.bias, classify.weight: 11 classes there, 4 here" in model.started_from


def test_a_checkpoint_of_another_network_is_refused_and_what_does_not_fit_is_named(run):
    with pytest.raises(CheckpointError, match=r"another network, which is not loaded in part: .*backbone\..* of \d+\)"):
        built(run / "checkpoints" / "best.pt", backbone="resnet18")


def test_a_second_network_takes_the_encoder_alone_so_that_it_differs_from_the_first(run):
    model, fresh = built(run / "checkpoints" / "best.pt", whole=False), built("none")
    theirs, own = student(run), model.state_dict()
    for name, value in own.items():
        expected = theirs[name] if name.startswith("backbone.") else fresh.state_dict()[name]
        assert torch.equal(value, expected), name


def test_a_training_that_starts_from_a_checkpoint_says_so_and_begins_where_that_ended(run, tmp_path):
    config = tiny(model={"weights": str(run / "checkpoints" / "best.pt")}, optim={"lr": 1e-9}, schedule={"epochs": 1})
    said = []
    fit(config, tmp_path, on_start=said.extend)
    assert any("weights of" in line and "best.pt" in line for line in said)
    before, after = student(run), student(tmp_path)
    for name in before:
        if "running" not in name and "num_batches" not in name:
            assert torch.allclose(before[name], after[name], atol=1e-6), name
