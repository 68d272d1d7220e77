"""Held-out images on their way from a trial's folder to W&B's files."""

import copy
import io
import itertools

import numpy as np
import pytest
import wandb
from PIL import Image

from analysis.ingest.held_out import FILE, held_out_of
from analysis.ingest.tables import history_of
from analysis.ingest.wandb_files import read_folder
from ipix_tune.config.study_config import ResourcesConfig, StudyConfig
from ipix_tune.execution.trainable import trial_config
from ipix_tune.tracking.pictures import KEY, images_of, left_by
from ipix_tune.tracking.runs import Tracker
from tests.ipix_tune.studies import base
from tests.trainers.runs import tiny
from trainers.interface.held_out_file import file_of
from trainers.loop.fit import fit

CLASSES = ["background", *(str(digit) for digit in range(10))]


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """A run of two epochs, 4 held-out images, and the config with which Ray would have been asked for it."""
    folder = tmp_path_factory.mktemp("trial")
    config = tiny(schedule={"epochs": 2}, evaluation={"pictures": 2})
    fit(config, folder)
    asked = trial_config(
        "t0000",
        trainer=config.model_dump(mode="json"),
        run_dir=folder,
        metric="val/miou",
        resources=ResourcesConfig(),
    )
    return folder, asked


def test_the_file_of_an_epoch_is_found_where_the_trial_left_it(trial):
    folder, asked = trial
    assert left_by(asked, 2) == file_of(folder, 2).read_bytes()
    assert left_by(asked, 3) is None
    asked = copy.deepcopy(asked)
    asked["trainer"]["evaluation"]["pictures"] = 0
    assert left_by(asked, 2) is None


def test_wandb_has_images_with_masks_by_class_names_and_the_report_finds_their_file(trial, tmp_path):
    _, asked = trial
    study = StudyConfig.model_validate({**base(), "name": "pictured"})
    tracker = Tracker(tmp_path, study, {"space": {}, "scheduler": {}, "classes": CLASSES, "origin": {}})
    tracker.start("t0000", values={}, trainer=asked["trainer"])
    for epoch in (1, 2):
        tracker.log("t0000", epoch=epoch, metrics={"val/miou": 1.0}, held_out=lambda epoch=epoch: left_by(asked, epoch))
    tracker.finish("t0000", state="complete", epochs=2)
    tracker.close()
    assert tracker.failures == 0
    (run,), _ = read_folder(tmp_path / "wandb")
    logged = {name.removeprefix(f"{KEY}/"): value for name, value in run.history[2].items()}
    assert (logged["_type"], logged["count"]) == ("images/separated", 2)
    assert set(logged["all_masks"][0]) == {"prediction", "ground_truth"}
    assert not [name for name in history_of([run]).column_names if name.startswith(KEY)]
    (files,) = tmp_path.glob("wandb/offline-run-*/files")
    path = files / logged["all_masks"][0]["ground_truth"]["path"]
    found = held_out_of(tmp_path, run.run_id)
    shown = found.picture(logged["captions"][0])
    assert np.array_equal(np.asarray(Image.open(path)), shown.truth)
    assert found.epoch == 2
    assert (files / FILE).is_file()


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


def held_out(sizes):
    """A file of held-out images of these sizes, all of class 1, predicted as 2."""
    images = [
        [png(np.full((*size, 3), 9, np.uint8)), *(png(np.full(size, label, np.uint8)) for label in (1, 2))]
        for size in sizes
    ]
    stream = io.BytesIO()
    np.savez(
        stream,
        epoch=1,
        names=[f"{number}.png" for number in range(len(sizes))],
        counts=np.zeros((len(sizes), 3, 2), np.int64),
        shown=range(len(sizes)),
        files=np.frombuffer(b"".join(itertools.chain(*images)), np.uint8),
        lengths=[[len(one) for one in three] for three in images],
    )
    return stream.getvalue()


def test_wandb_gets_images_of_several_sizes_in_one_with_ignored_margins(tmp_path, caplog):
    run = wandb.init(mode="offline", dir=tmp_path)
    try:
        images = images_of(held_out([(4, 6), (5, 3)]), CLASSES, most=2)
        run.log({KEY: images})
    finally:
        run.finish()
    assert "do not match" not in caplog.text
    assert [one.image.size for one in images] == [(6, 5), (6, 5)]
    shown = np.asarray(images[1].image.convert("RGB"))
    assert np.all(shown[:5, :3] == 9)
    assert np.all(shown[:, 3:] == 0)
    masks = [np.asarray(Image.open(path)) for path in tmp_path.glob("wandb/offline-run-*/files/**/*.mask.png")]
    assert [mask.shape for mask in masks] == 4 * [(5, 6)]
    assert sorted(np.unique(mask).tolist() for mask in masks) == [[1, 255], [1, 255], [2, 255], [2, 255]]


def test_pictures_that_cannot_be_read_cost_no_row(trial, tmp_path):
    _, asked = trial
    study = StudyConfig.model_validate({**base(), "name": "torn"})
    tracker = Tracker(tmp_path, study, {"space": {}, "scheduler": {}, "classes": CLASSES, "origin": {}})
    tracker.start("t0000", values={}, trainer=asked["trainer"])
    tracker.log("t0000", epoch=1, metrics={"val/miou": 7.0}, held_out=lambda: b"PK torn")
    tracker.finish("t0000", state="complete", epochs=1)
    tracker.close()
    (run,), _ = read_folder(tmp_path / "wandb")
    assert run.history[1]["val/miou"] == 7.0
    assert not [name for name in run.history[1] if name.startswith(KEY)]
    assert tracker.failures == 1
