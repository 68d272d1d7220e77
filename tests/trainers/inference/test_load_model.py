"""`load_model`: a run's network with what belongs to it."""

import json
import shutil

import pytest
import torch

from benchmarks.helpers.method_settings import ALL_ON
from tests.trainers.methods.test_every_method import config as of_method
from tests.trainers.runs import tiny
from trainers.common.errors import CheckpointError, ConfigError
from trainers.data.digits import CLASSES
from trainers.inference.evaluate import evaluate as evaluated
from trainers.inference.evaluate import run_images
from trainers.inference.images import listed_images
from trainers.inference.model import load_model
from trainers.loop.evaluate import evaluate
from trainers.loop.fit import fit
from trainers.loop.run import Run

SECOND_NETWORKS = {  # methods whose score is not the student's
    "meanteacher": {},
    "psmt": {"warmup_passes": 0.1},
}


def test_a_runs_folder_gives_its_last_weights_and_classes(run, model):
    last = torch.load(run / "checkpoints" / "last.pt", weights_only=True)
    assert model.epoch == 3
    assert model.classes == CLASSES
    assert all(torch.equal(value, last["student"][name]) for name, value in model.network.state_dict().items())
    assert not model.network.training
    assert model.images == {"labelled": 12, "unlabelled": 224, "held_out": 4, "validation": 10}


def test_the_best_weights_are_those_of_the_best_epoch(run):
    best = torch.load(run / "checkpoints" / "best.pt", weights_only=True)
    loaded = load_model(run, weights="best")
    assert loaded.epoch == best["epoch"][1]
    assert all(torch.equal(value, best["student"][name]) for name, value in loaded.network.state_dict().items())


def test_a_checkpoint_alone_far_from_its_run_is_enough(run, model, tmp_path):
    shutil.copy(run / "checkpoints" / "last.pt", tmp_path / "mine.pt")
    alone = load_model(tmp_path / "mine.pt")
    assert (alone.classes, alone.config, alone.digest()) == (model.classes, model.config, model.digest())


@pytest.mark.parametrize("beside", [True, False])
def test_a_checkpoint_of_before_it_said_its_classes_is_read_by_its_run_or_its_identity(run, model, tmp_path, beside):
    (tmp_path / "checkpoints").mkdir()
    state = torch.load(run / "checkpoints" / "last.pt", weights_only=True)
    del state["about"]
    torch.save(state, tmp_path / "checkpoints" / "last.pt")
    if beside:
        shutil.copy(run / "config.yaml", tmp_path)
    earlier = load_model(tmp_path)
    assert (earlier.classes, earlier.digest()) == (model.classes, model.digest())
    assert earlier.images is None


@pytest.mark.parametrize("name", SECOND_NETWORKS)
def test_the_network_is_the_one_that_the_run_scores(name, tmp_path):
    method = {"name": name, **SECOND_NETWORKS[name]}
    config = tiny(schedule={"epochs": 1, "steps_per_epoch": 2}).model_dump(mode="json") | {"method": method}
    config = type(tiny()).model_validate(config)
    fit(config, tmp_path)
    loaded, run = load_model(tmp_path), Run(config, tmp_path)
    try:
        run.load_weights(torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True))
        settings = {"config": config, "reader": run.reader, "num_classes": 11, "process": run.process, "prefix": "val"}
        theirs = evaluate(run.method.networks(), run.data.holdout, main=run.method.eval_network, **settings)
        ours = evaluate({"it": loaded.network}, run.data.holdout, main="it", **settings)
    finally:
        run.close()
    record = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert ours["val/miou"] == theirs["val/miou"] == record["val/miou"]
    assert len(run.method.networks()) > 1


def test_an_earlier_checkpoint_of_a_folder_alone_lacks_names_and_the_place_of_the_data(run, tmp_path):
    state = torch.load(run / "checkpoints" / "last.pt", weights_only=True)
    del state["about"]
    identity = json.loads(state["identity"])
    shared = {"crop": 48, "batch_size": 4, "labelled": "a.txt", "holdout": {"images": 4}}
    identity["config"]["data"] = {"name": "folder", "num_classes": 11, **shared}
    torch.save({**state, "identity": json.dumps(identity)}, tmp_path / "x.pt")
    earlier = load_model(tmp_path / "x.pt")
    assert earlier.classes[:2] == ("class 0", "class 1")
    with pytest.raises(ConfigError, match=r"no folder at .*--set data\.root=FOLDER"):
        listed_images(earlier, "a.txt")


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL_ON)
def test_of_every_method_it_is_the_network_that_the_run_scored(name, tmp_path):
    fit(of_method(name, optim={"lr": 0.2}), tmp_path)
    loaded = load_model(tmp_path)
    row = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert evaluated(loaded, run_images(loaded, "holdout"), resamples=0).means["miou"].value == row["val/miou"]


def test_pixels_of_any_size_get_a_class_each(model):
    for height, width in ((1, 1), (5, 70), (48, 33)):
        pixels = torch.randint(256, (1, 3, height, width), dtype=torch.uint8)
        assert model.classes_of(pixels).shape == (1, height, width)


def test_what_is_no_model_is_refused_with_what_to_give(run, tmp_path):
    with pytest.raises(ConfigError, match="no such file or folder"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="no checkpoint lies here"):
        load_model(tmp_path)
    with pytest.raises(ConfigError, match="holds 1 trained runs"):
        load_model(run.parent)
    with pytest.raises(ConfigError, match="copy it here"):
        load_model("s3://key:secret@bucket/run")
    (tmp_path / "x.pt").write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError, match="torn or not a checkpoint"):
        load_model(tmp_path / "x.pt")


def test_of_the_config_only_data_evaluation_and_precision_can_be_set(run):
    assert load_model(run, overrides=("evaluation.mode=sliding",)).config.evaluation.mode == "sliding"
    with pytest.raises(ConfigError, match=r"only data\.\*, evaluation\.\*, precision\.\* can be set"):
        load_model(run, overrides=("model.backbone=resnet18",))
    with pytest.raises(ConfigError, match="sliding"):
        load_model(run, overrides=("evaluation.mode=slidng",))
