"""Which metrics a study can be scored by, and what is said of the others."""

import pytest
from torch import eye

from ipix_tune.config.load_study import load
from tests.ipix_tune.studies import base, write
from trainers.common.errors import ConfigError
from trainers.loop.evaluate import scores


def study(folder, metric, **evaluation):
    data = base()
    data["trainer"]["evaluation"] = evaluation
    return load(write(folder, {**data, "objective": {"metric": metric}}))


def test_every_score_of_an_evaluation_can_be_the_objective(tmp_path):
    for metric in scores(eye(3).long(), absent="skip", prefix="val", boundary=eye(3).long()[:2]):
        assert study(tmp_path, metric, boundary_width=0.02).objective.metric == metric


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ("val/dcie", 'did you mean "val/dice"'),
        ("val/mean_dice", 'did you mean "val/dice"'),
        ("val/acuracy", 'did you mean "val/accuracy"'),
        ("val/boundary-iou", 'did you mean "val/boundary_iou"'),
        ("val/boundary_iou", "trainer.evaluation.boundary_width"),
    ],
)
def test_a_metric_that_is_not_scored_is_refused_with_the_remedy(tmp_path, metric, said):
    with pytest.raises(ConfigError, match=said):
        study(tmp_path, metric)


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ("val/dice/road", "write val/dice/1"),
        ("val/iou/raod", 'their number, 0 to 1.*did you mean "road"'),
        ("val/iou/2", "their number, 0 to 1"),
    ],
)
def test_a_class_goes_by_its_number_and_a_name_is_answered_with_it(tmp_path, metric, said):
    data = base()
    data["trainer"]["data"] = {"name": "folder", "root": "r", "labelled": "l.txt", "classes": ["field", "road"]}
    data["trainer"]["data"] |= {"crop": 32, "batch_size": 2, "holdout": {"images": 4}}
    with pytest.raises(ConfigError, match=said):
        load(write(tmp_path, {**data, "objective": {"metric": metric}}))
