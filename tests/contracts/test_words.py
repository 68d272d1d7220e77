"""What two packages say of the same thing, they say in the same words."""

from typing import get_args

import pytest

from analysis.wording import phrases
from tests.trainers.runs import tiny
from trainers.config import TrainConfig
from trainers.data import DataConfig
from trainers.interface.epoch_record import EpochRecord
from trainers.loop.run_summary import closing_lines, validation_called

LAYOUTS = {get_args(one.model_fields["name"].annotation)[0]: one for one in get_args(get_args(DataConfig)[0])}
NEEDED = {
    "voc": {"root": "r", "labelled": "l.txt"},
    "cityscapes": {"root": "r", "labelled": "l.txt"},
    "coco": {"root": "r", "labelled": "l.txt"},
    "ade20k": {"root": "r", "labelled": "l.txt"},
    "folder": {"root": "r", "labelled": "l.txt", "num_classes": 2},
    "digits": {},
}
BENCHMARKS = ("voc", "cityscapes", "coco", "ade20k")


def config_on(name: str) -> TrainConfig:
    data = {"name": name, "crop": 32, "batch_size": 2, "holdout": {"images": 4}, **NEEDED[name]}
    return TrainConfig.model_validate({**tiny().model_dump(), "data": data})


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_report_calls_the_validation_images_what_the_trainer_calls_them(name):
    config = config_on(name)
    assert phrases.validation_called(config.model_dump()["data"]) == validation_called(config)
    assert (name in phrases.OWN_LISTS) == LAYOUTS[name].own_lists


@pytest.mark.parametrize("name", LAYOUTS)
def test_only_a_benchmark_has_an_official_validation_set(name):
    record = EpochRecord(epoch=1, step=1, metrics={"final/last/miou": 50.0}, checkpoint=None, split_hash="abc")
    said = closing_lines(config_on(name), [record])[0]
    assert said.startswith("official validation set" if name in BENCHMARKS else "validation list")
