import pickle

import pytest

from analysis.units import Metric, amount, axis, is_miou, is_percent


@pytest.mark.parametrize(
    ("metric", "said", "shown"),
    [
        ("val/miou", "0.3 mIoU", "mIoU (%)"),
        ("val/recent/miou", "0.3 mIoU", "val/recent/miou (%)"),
        ("val/teacher/miou", "0.3 points of val/teacher/miou", "val/teacher/miou (%)"),
        ("val/iou/3", "0.3 points of IoU of class 3", "IoU of class 3 (%)"),
        ("val/dice", "0.3 points of mean Dice", "mean Dice (%)"),
        ("val/dice/12", "0.3 points of Dice of class 12", "Dice of class 12 (%)"),
        ("val/accuracy", "0.3 points of pixel accuracy", "pixel accuracy (%)"),
        ("val/boundary_iou", "0.3 points of boundary IoU", "boundary IoU (%)"),
        ("train/loss", "0.3 in train/loss", "train/loss"),
        ("val/absent_classes", "0.3 in val/absent_classes", "val/absent_classes"),
        ("", "0.3", ""),
    ],
)
def test_a_score_is_called_by_its_own_name_and_unit(metric, said, shown):
    assert (amount("0.3", metric), axis(metric)) == (said, shown)


@pytest.mark.parametrize(
    ("unit", "said", "shown"),
    [
        ("", "0.3 in val/miou", "val/miou"),
        ("%", "0.3 points of val/miou", "val/miou (%)"),
        ("px", "0.3 px of val/miou", "val/miou (px)"),
    ],
)
def test_a_stated_unit_goes_before_what_the_name_says(unit, said, shown):
    metric = pickle.loads(pickle.dumps(Metric("val/miou", unit)))
    assert (amount("0.3", metric), axis(metric), is_percent(metric)) == (said, shown, unit == "%")
    assert not is_miou(metric)


def test_a_loss_term_that_is_called_dice_is_no_percentage():
    assert not is_percent("train/loss/supervised_dice")
