"""Names of classes that the config of a folder gives."""

import pytest
from pydantic import TypeAdapter, ValidationError

from tests.trainers.runs import tiny
from trainers.cli.progress import line
from trainers.config import TrainConfig
from trainers.data import DataConfig
from trainers.interface.epoch_record import EpochRecord
from trainers.loop.run_summary import closing_lines, named_classes

FOLDER = {"name": "folder", "root": ".", "labelled": "l.txt", "crop": 32, "batch_size": 2, "holdout": {"images": 1}}
NAMES = ["background", "cat"]


def data(**keys):
    return TypeAdapter(DataConfig).validate_python({**FOLDER, **keys})


def record(**metrics):
    return EpochRecord(
        epoch=1, step=2, metrics={"train/loss": 1.0, "time/epoch_s": 1.0, **metrics}, checkpoint=None, split_hash="x"
    )


SCORED = record(**{"val/miou": 40.0, "val/iou/0": 70.0, "val/iou/1": 10.0})


def config_of(**keys):
    return TrainConfig.model_validate({**tiny().model_dump(), "data": {**FOLDER, **keys}})


@pytest.mark.parametrize("keys", [{"classes": NAMES}, {"classes": NAMES, "num_classes": 2}])
def test_names_of_classes_give_their_number(keys, tmp_path):
    found = data(**keys, root=str(tmp_path))
    assert found.num_classes == 2
    assert found.layout().classes == tuple(NAMES)


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"classes": NAMES, "num_classes": 3}, "classes names 2, and num_classes is 3"),
        ({"classes": ["a", "a"]}, "classes names a twice"),
        ({"classes": ["a", " "]}, "pattern"),
        ({"classes": ["a"]}, "greater than or equal to 2"),
        ({}, "num_classes"),
    ],
)
def test_names_that_do_not_fit_are_refused(keys, complaint):
    with pytest.raises(ValidationError, match=complaint):
        data(**keys)


def test_the_line_of_an_epoch_names_the_class_with_the_lowest_iou():
    assert "val/miou 40.00 (lowest: cat 10.00)" in line(SCORED, epochs=3, classes=NAMES)
    assert "lowest" not in line(SCORED, epochs=3)


def test_the_end_of_a_training_gives_the_iou_of_every_class_by_its_name():
    assert "IoU by class, in % with the last weights: background 70.00, cat 10.00" in closing_lines(
        config_of(classes=NAMES), [SCORED]
    )
    absent = record(**{"val/miou": 70.0, "val/iou/0": 70.0})
    assert any("cat absent" in text for text in closing_lines(config_of(classes=NAMES), [absent]))


def test_classes_without_names_are_not_shown_one_by_one():
    assert named_classes(config_of(num_classes=2)) is None
    assert not any("IoU by class" in text for text in closing_lines(config_of(num_classes=2), [SCORED]))


def test_the_last_line_of_a_run_names_the_classes_that_were_never_found():
    records = [record(**{"val/miou": 30.0, "val/iou/0": 60.0, "val/iou/1": 0.0}) for _ in range(2)]
    assert closing_lines(config_of(classes=NAMES), records)[-1].startswith(
        "never found: cat (IoU 0 in every evaluation)"
    )
    assert closing_lines(config_of(num_classes=2), records)[-1].startswith("never found: class 1 ")


def test_a_class_that_was_found_once_is_not_named():
    records = [record(**{"val/miou": 30.0, "val/iou/0": 60.0, "val/iou/1": score}) for score in (0.0, 2.0, 0.0)]
    assert not any("never found" in text for text in closing_lines(config_of(classes=NAMES), records))


def test_a_class_that_no_held_out_mask_shows_and_that_was_predicted_at_times_is_not_named():
    scored = {"val/miou": 30.0, "val/iou/0": 60.0}
    records = [record(**scored), record(**scored, **{"val/iou/1": 0.0}), record()]
    assert not any("never found" in text for text in closing_lines(config_of(classes=NAMES), records))


def test_without_held_out_images_the_validation_list_tells_which_classes_were_never_found():
    found = record(**{"final/last/miou": 30.0, "final/last/iou/0": 60.0, "final/last/iou/1": 0.0})
    assert closing_lines(config_of(classes=NAMES), [found])[-1].startswith("never found: cat ")
