"""What a training says of its data before its first step, and that nothing to score is no score."""

import pytest
import torch

from ipix_tune.trainer.own.preflight import check_run
from tests.trainers.runs import tiny
from trainers.cli.train import describe_data, train
from trainers.common.errors import DataError
from trainers.loop.fit import fit


@pytest.fixture
def all_ignored(monkeypatch):
    """Every mask holds nothing but 255."""

    def mask(item, **_):
        return torch.full((96, 96), 255, dtype=torch.uint8)

    monkeypatch.setattr("trainers.data.check.read_mask", mask)
    monkeypatch.setattr("trainers.data.read.read_mask", mask)


def test_a_training_prints_the_data_lines_of_the_dry_run(tmp_path, capsys):
    config = tiny(schedule={"epochs": 1})
    train(config, tmp_path / "run")
    said = capsys.readouterr().out.splitlines()
    data = describe_data(config)
    assert said[: len(data)] == data
    assert [line for line in check_run(config, workers=1)[0] if line in data] == data
    assert said[0].startswith("digits: 12 labelled, ")
    assert said[1] == "images of 96 x 96 pixels; classes seen: 11 of 11 in labelled images, 11 of 11 in held-out images"


def test_a_training_with_nothing_to_learn_from_ends_before_its_first_step(tmp_path, all_ignored):
    with pytest.raises(DataError, match=r"data\.labelled: every pixel of its 12 masks is 255 = ignore"):
        train(tiny(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_evaluation_without_a_counted_pixel_is_an_error_and_no_score(tmp_path, all_ignored, monkeypatch):
    monkeypatch.setattr("trainers.loop.run.Run.train_epoch", lambda run, epoch, hook: {"train/skipped_images": 0.0})
    with pytest.raises(
        DataError, match=r"data\.holdout: every pixel of its 4 masks is 255 = ignore, .* nothing to score"
    ):
        fit(tiny(data={"cache_gb": 0}), tmp_path / "run")
