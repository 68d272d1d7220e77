"""The losses of labelled pixels in float64, against PyTorch's and segmentation_models.pytorch's."""

import math

import pytest
import torch
from segmentation_models_pytorch.losses import DiceLoss, LovaszLoss
from segmentation_models_pytorch.losses._functional import softmax_focal_loss_with_logits
from torch.nn import functional as F

from trainers.losses.functional import cross_entropy
from trainers.losses.labelled import LabelledLoss, frequency_weights
from trainers.losses.labelled_config import LossConfig
from trainers.methods.supervised import OhemConfig

CLASSES = 4
WEIGHTS = torch.tensor([0.5, 2.0, 0.0, 4.0], dtype=torch.float64)


def count_or_one(count):
    return count.clamp(min=1)


def problem(seed=0, ignored=0.3):
    """Class 3 is in no label."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, CLASSES, 5, 4, generator=generator, dtype=torch.float64) * 3
    labels = torch.randint(0, CLASSES - 1, (3, 5, 4), generator=generator)
    labels[torch.rand(3, 5, 4, generator=generator) < ignored] = 255
    return logits, labels


def with_gradient(loss, logits, *given):
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, *given)
    value.backward()
    return value.detach(), leaf.grad


def ours(labelled, logits, labels, *, weights=None, hard=None, **config):
    loss = LabelledLoss(LossConfig(labelled=labelled, **config), weights=weights)
    return with_gradient(lambda one: loss(one, labels, count_or_one, hard=hard), logits)


def same(found, expected):
    torch.testing.assert_close(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1])


@pytest.mark.parametrize("seed", range(3))
def test_weighted_cross_entropy_is_pytorchs(seed):
    logits, labels = problem(seed)
    theirs = with_gradient(lambda one: F.cross_entropy(one, labels, weight=WEIGHTS, ignore_index=255), logits)
    same(ours("ce", logits, labels, weights=WEIGHTS), theirs)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 3.5])
def test_the_focal_loss_is_smps_over_the_labelled_pixels(gamma):
    logits, labels = problem()
    known = labels != 255

    def smp(one):
        pixels = one.permute(0, 2, 3, 1)[known]
        return softmax_focal_loss_with_logits(pixels, labels[known], gamma=gamma)

    same(ours("focal", logits, labels, focal_gamma=gamma), with_gradient(smp, logits))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_a_focal_loss_with_gamma_0_is_the_cross_entropy(weights):
    logits, labels = problem()
    focal = ours("focal", logits, labels, weights=weights, focal_gamma=0)
    same(focal, ours("ce", logits, labels, weights=weights))


@pytest.mark.parametrize("gamma", [0.1, 0.5, 2.0])
def test_a_pixel_that_is_classified_without_a_doubt_has_a_finite_slope(gamma):
    logits, labels = problem()
    logits = logits + 1000 * F.one_hot(labels % 255, CLASSES).permute(0, 3, 1, 2)
    value, gradient = ours("focal", logits.float(), labels, focal_gamma=gamma)
    assert value.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("seed", range(3))
def test_dice_is_smps(seed, weights):
    logits, labels = problem(seed)
    smp = DiceLoss("multiclass", ignore_index=255, class_weights=None if weights is None else weights.tolist())
    same(ours("dice", logits, labels, weights=weights), with_gradient(lambda one: smp(one, labels), logits))


def test_lovasz_is_the_mean_of_smps_over_images():
    logits, labels = problem()
    smp = LovaszLoss("multiclass", per_image=True, ignore_index=255)
    same(ours("lovasz", logits, labels), with_gradient(lambda one: smp(one.float(), labels).double(), logits))


def test_lovasz_of_sure_predictions_is_one_minus_the_iou_of_the_classes_that_an_image_shows():
    _, labels = problem()
    answers = torch.randint(0, CLASSES, labels.shape, generator=torch.Generator().manual_seed(5))
    expected = []
    for answer, label in zip(answers, labels, strict=True):
        known = label != 255
        sets = [((answer == one) & known, label == one) for one in label[known].unique()]
        expected.append(sum(1 - float((a & b).sum() / (a | b).sum()) for a, b in sets) / len(sets))
    logits = 1000.0 * F.one_hot(answers, CLASSES).permute(0, 3, 1, 2).double()
    assert float(ours("lovasz", logits, labels)[0]) == pytest.approx(sum(expected) / len(expected), abs=1e-6)


def test_an_image_without_a_labelled_pixel_is_not_in_the_mean_of_lovasz():
    logits, labels = problem()
    labels[1] = 255
    value, gradient = ours("lovasz", logits, labels)
    assert value == pytest.approx(float(ours("lovasz", logits[[0, 2]], labels[[0, 2]])[0]))
    assert not gradient[1].any()


@pytest.mark.parametrize("kind", ["ce", "focal", "dice", "lovasz", "ce+dice", "focal+dice", "ce+lovasz"])
def test_with_every_pixel_ignored_every_loss_is_zero_with_a_graph(kind):
    logits, labels = problem(ignored=1.1)
    value, gradient = ours(kind, logits, labels)
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize("kind", ["ce+dice", "focal+dice", "ce+lovasz"])
def test_a_sum_of_two_weighs_the_region_s_part(kind):
    logits, labels = problem()
    pixels, region = kind.split("+")
    found = ours(kind, logits, labels, region_weight=0.3)
    parts = ours(pixels, logits, labels), ours(region, logits, labels)
    same(found, [first + 0.3 * second for first, second in zip(*parts, strict=True)])


@pytest.mark.parametrize("kind", ["ce", "focal", "dice"])
def test_only_the_ratios_of_class_weights_matter(kind):
    logits, labels = problem()
    first, second = (ours(kind, logits, labels, weights=weights) for weights in (WEIGHTS, 1e-3 * WEIGHTS))
    same(first, second)


def test_hard_pixels_are_chosen_as_without_weights_and_then_weighed():
    logits, labels = problem()
    hard = OhemConfig(thresh=0.3, min_kept=12)
    p = logits.softmax(1)
    flat = [
        (float(p[b, int(labels[b, i, j]), i, j]), int(labels[b, i, j]))
        for b in range(3) for i in range(5) for j in range(4) if labels[b, i, j] != 255
    ]  # fmt: skip
    kept = sorted(flat)[: max(12, sum(one <= 0.3 for one, _ in flat))]
    above = sum(float(WEIGHTS[label]) * -math.log(one) for one, label in kept)
    expected = above / sum(float(WEIGHTS[label]) for _, label in kept)
    assert float(ours("ce", logits, labels, weights=WEIGHTS, hard=hard)[0]) == pytest.approx(expected)


def test_by_default_the_loss_is_bit_for_bit_the_cross_entropy():
    logits, labels = problem()
    value, gradient = ours("ce", logits, labels)
    plain = with_gradient(lambda one: cross_entropy(one, labels, count_or_one), logits)
    assert torch.equal(value, plain[0])
    assert torch.equal(gradient, plain[1])


def test_weights_by_frequency_are_powers_of_the_share_with_mean_1_over_pixels():
    pixels = [600, 300, 0, 100]
    for power in (0.0, 0.5, 1.0):
        found = frequency_weights(pixels, power=power).double()
        ratios = [float(found[0] / found[index]) for index in (1, 3)]
        assert ratios == pytest.approx([(300 / 600) ** power, (100 / 600) ** power])
        assert float((found * torch.tensor(pixels)).sum() / 1000) == pytest.approx(1)
        assert found[2] == 0


def test_at_full_power_weights_by_frequency_are_scikit_learns_balanced_ones():
    import numpy as np
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.repeat([0, 1, 2], [50, 30, 20])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert frequency_weights([50, 30, 20], power=1).tolist() == pytest.approx(list(expected))
