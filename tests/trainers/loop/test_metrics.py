import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion
from sklearn.metrics import accuracy_score, f1_score, jaccard_score
from sklearn.metrics import confusion_matrix as sklearn_confusion
from torch import nn

from trainers.loop.class_scores import predict_sliding, window_starts
from trainers.loop.evaluate import boundary_counts, confusion_matrix, scores
from trainers.loop.optim import build_optimizer


@given(seed=st.integers(0, 10_000), classes=st.integers(2, 7))
@settings(max_examples=40, deadline=None)
def test_counts_and_iou_agree_with_scikit_learn(seed, classes):
    rng = np.random.default_rng(seed)
    target, prediction = rng.integers(0, classes, (2, 3, 8, 8))
    ignored = rng.random(target.shape) < 0.2
    labels = torch.from_numpy(np.where(ignored, 255, target))
    counts = confusion_matrix(torch.from_numpy(prediction), labels, classes)
    y, z = target[~ignored], prediction[~ignored]
    assert np.array_equal(counts.numpy(), sklearn_confusion(y, z, labels=range(classes)))
    found = scores(counts, absent="zero", prefix="val")
    expected = 100 * jaccard_score(y, z, labels=range(classes), average=None, zero_division=0)
    assert found["val/miou"] == pytest.approx(expected.mean())
    for index, value in enumerate(expected):
        assert found.get(f"val/iou/{index}", 0.0) == pytest.approx(value)


@given(seed=st.integers(0, 10_000), classes=st.integers(2, 7))
@settings(max_examples=40, deadline=None)
def test_dice_and_accuracy_agree_with_scikit_learn(seed, classes):
    rng = np.random.default_rng(seed)
    target, prediction = rng.integers(0, classes, (2, 3, 4, 4))
    labels = torch.from_numpy(np.where(rng.random(target.shape) < 0.2, 255, target))
    known = labels.numpy() != 255
    found = scores(confusion_matrix(torch.from_numpy(prediction), labels, classes), absent="zero", prefix="val")
    y, z = target[known], prediction[known]
    dice = 100 * f1_score(y, z, labels=range(classes), average=None, zero_division=0)
    assert found["val/dice"] == pytest.approx(dice.mean())
    assert [found.get(f"val/dice/{index}", 0.0) for index in range(classes)] == pytest.approx(list(dice))
    assert found["val/accuracy"] == pytest.approx(100 * accuracy_score(y, z))


def boundary_by_erosion(prediction, target, classes, reach):
    """Intersection and union of every class's band in one image, by scipy, a class at a time."""
    counts = np.zeros((2, classes), dtype=np.int64)
    known = target != 255
    for index in range(classes):
        masks = [(one == index) & known for one in (prediction, target)]
        bands = [mask & ~binary_erosion(mask, np.ones((3, 3)), iterations=reach, border_value=0) for mask in masks]
        counts[:, index] = (bands[0] & bands[1]).sum(), (bands[0] | bands[1]).sum()
    return counts


@given(seed=st.integers(0, 10_000), reach=st.integers(1, 4), block=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_boundary_counts_are_those_of_masks_without_their_erosion(seed, reach, block):
    rng = np.random.default_rng(seed)
    maps = rng.integers(0, 3, (2, 2, 4, 5)).repeat(block, 2).repeat(block, 3)
    prediction, target = maps
    target = np.where(rng.random((2, 4, 5)).repeat(block, 1).repeat(block, 2) < 0.1, 255, target)
    share = reach / np.hypot(*target.shape[1:])
    found = boundary_counts(torch.from_numpy(prediction), torch.from_numpy(target), 3, share=share)
    expected = sum(boundary_by_erosion(*pair, 3, reach) for pair in zip(prediction, target, strict=True))
    assert np.array_equal(found.numpy(), expected)


def test_boundary_iou_is_the_mean_over_classes_that_have_a_band():
    square, shifted = torch.zeros(2, 1, 20, 20, dtype=torch.int64)
    square[:, 4:14, 4:14] = 1
    shifted[:, 4:14, 5:15] = 1
    counts = boundary_counts(shifted, square, 3, share=1 / 28)
    found = scores(confusion_matrix(shifted, square, 3), absent="skip", prefix="val", boundary=counts)
    inside = 9 * 2 / (2 * 36 - 9 * 2)  # the squares' rims of 36 pixels share two edges of 9
    frame = 4 * 19
    rims = 44 - 2  # beside a square of 10 x 10 lie 44 pixels of the other class
    outside = (frame + 11 * 2) / (2 * (frame + rims + 2) - (frame + 11 * 2))
    assert found["val/boundary_iou"] == pytest.approx(100 * (inside + outside) / 2)


def test_without_a_band_there_is_no_boundary_score():
    assert "val/boundary_iou" not in scores(torch.eye(2, dtype=torch.int64), absent="skip", prefix="val")


def test_an_absent_class_is_left_out_of_the_mean_or_counts_zero():
    counts = torch.tensor([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    skipped, zeroed = (scores(counts, absent=mode, prefix="val") for mode in ("skip", "zero"))
    assert skipped["val/miou"] == pytest.approx(100 * (3 / 4 + 4 / 5) / 2)
    assert zeroed["val/miou"] == pytest.approx(100 * (3 / 4 + 4 / 5) / 3)
    assert skipped["val/absent_classes"] == 1
    assert "val/iou/2" not in skipped


@given(length=st.integers(1, 400), window=st.integers(3, 120))
@settings(deadline=None)
def test_windows_cover_every_pixel_and_never_leave_the_image(length, window):
    starts = window_starts(length, window=window)
    covered = {pixel for start in starts for pixel in range(start, min(start + window, length))}
    assert covered == set(range(length))
    assert all(start >= 0 and (start + window <= length or start == 0) for start in starts)
    assert len(set(starts)) == len(starts)


class Positional(nn.Module):
    """A network whose answer at a pixel depends on the window that it is seen through."""

    def forward(self, images):
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        return torch.cat([images[:, :1] - mean, mean - images[:, 1:2], images[:, 2:] * mean], dim=1)


def test_sliding_windows_sum_the_softmax_of_every_window_that_sees_a_pixel():
    image = torch.randn(1, 3, 13, 17, generator=torch.Generator().manual_seed(0))
    window, stride = 6, 4
    total = torch.zeros(3, 13, 17)
    rows = [*range(0, 13 - window, stride), 13 - window]
    columns = [*range(0, 17 - window, stride), 17 - window]
    for top in rows:
        for left in columns:
            crop = image[:, :, top : top + window, left : left + window]
            total[:, top : top + window, left : left + window] += Positional()(crop)[0].softmax(dim=0)
    found = predict_sliding(Positional(), image, window=window, num_classes=3)
    assert torch.equal(found[0], total.argmax(dim=0))


def two_parts():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    return model, model[0]


def optim_config(**values):
    from trainers.config import OptimConfig

    return OptimConfig(**values)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_every_parameter_is_optimised_once_the_head_at_a_multiple(name):
    model, backbone = two_parts()
    optimizer = build_optimizer(model, backbone, optim_config(name=name, lr=0.1, head_lr_multiplier=5))
    groups = optimizer.param_groups
    assert [group["lr"] for group in groups] == [0.1, 0.5]
    listed = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(listed) == sorted(id(parameter) for parameter in model.parameters())
    assert {id(parameter) for parameter in groups[0]["params"]} == {id(one) for one in backbone.parameters()}


@pytest.mark.parametrize("absent", ["skip", "zero"])
def test_no_counted_pixel_is_no_score_and_not_a_score_of_zero(absent):
    found = scores(torch.zeros(3, 3, dtype=torch.int64), absent=absent, prefix="val")
    assert np.isnan(found["val/miou"])
    wrong = scores(torch.tensor([[0, 4], [0, 0]]), absent=absent, prefix="val")
    assert wrong["val/miou"] == 0
