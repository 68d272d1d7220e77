import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from trainers.losses.functional import cross_entropy, ohem_cross_entropy, pixel_nll, pseudo_label_cross_entropy
from trainers.losses.ramps import gaussian_ramp, warmup_steps


def identity(count):
    return count.clamp(min=1)


def problem(seed, ignored=0.3):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 4, 5, 3, generator=generator, dtype=torch.float64) * 3
    labels = torch.randint(0, 4, (2, 5, 3), generator=generator)
    labels[torch.rand(2, 5, 3, generator=generator) < ignored] = 255
    return logits.requires_grad_(), labels


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_cross_entropy_and_its_gradient_are_pytorchs(seed):
    logits, labels = problem(seed)
    twin = logits.detach().clone().requires_grad_()
    cross_entropy(logits, labels, identity).backward()
    F.cross_entropy(twin, labels, ignore_index=255).backward()
    torch.testing.assert_close(logits.grad, twin.grad)


def test_with_every_pixel_ignored_the_loss_is_zero_with_a_graph():
    logits, labels = problem(0, ignored=1.1)
    loss = cross_entropy(logits, labels, identity)
    loss.backward()
    assert float(loss) == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@given(seed=st.integers(0, 1000), thresh=st.floats(0.05, 1.0), kept=st.integers(1, 40))
@settings(deadline=None, max_examples=60)
def test_ohem_keeps_the_hard_pixels_that_its_rule_names(seed, thresh, kept):
    logits, labels = problem(seed)
    losses = []
    for b in range(2):
        for i in range(5):
            for j in range(3):
                if labels[b, i, j] != 255:
                    losses.append(float(F.cross_entropy(logits[b, :, i, j], labels[b, i, j])))
    probabilities = sorted(math.exp(-loss) for loss in losses)
    if len(losses) < kept:
        chosen = losses
    else:
        limit = max(thresh, probabilities[kept - 1])
        chosen = [loss for loss in losses if math.exp(-loss) <= limit + 1e-12]
    expected = sum(chosen) / max(len(chosen), 1)
    found = ohem_cross_entropy(logits, labels, identity, thresh=thresh, min_kept=kept)
    assert float(found) == pytest.approx(expected)


def test_pseudo_labels_are_divided_by_all_pixels_without_padding():
    logits, labels = problem(1, ignored=0.0)
    confidence = torch.full(labels.shape, 0.5)
    confidence[0, 0, 0] = 0.9
    ignore = torch.zeros_like(labels)
    ignore[1] = 255
    found = pseudo_label_cross_entropy(logits, labels, confidence, ignore, identity, thresh=0.8)
    expected = F.cross_entropy(logits[0, :, 0, 0], labels[0, 0, 0]) / 15
    assert float(found) == pytest.approx(float(expected))


def test_a_pseudo_label_at_the_threshold_trains():
    logits, labels = problem(1, ignored=0.0)
    confidence = torch.full(labels.shape, 0.8, dtype=torch.float64)
    found = pseudo_label_cross_entropy(logits, labels, confidence, torch.zeros_like(labels), identity, thresh=0.8)
    assert float(found) == pytest.approx(float(F.cross_entropy(logits, labels)))


def test_a_padded_pixel_never_trains_however_confident():
    logits, labels = problem(1, ignored=0.0)
    everywhere = torch.full_like(labels, 255)
    found = pseudo_label_cross_entropy(logits, labels, torch.ones(labels.shape), everywhere, identity, thresh=0)
    assert float(found) == 0.0


def test_half_precision_logits_are_taken_in_float32():
    logits, labels = problem(2)
    assert pixel_nll(logits.bfloat16(), labels).dtype == torch.float32


@given(step=st.integers(0, 500), length=st.floats(0, 400))
def test_the_gaussian_ramp_is_its_closed_form(step, length):
    expected = 1.0 if step >= length else math.exp(-5 * (1 - step / length) ** 2)
    assert gaussian_ramp(step, length=length) == pytest.approx(expected)


def test_the_ramp_starts_at_e_to_the_minus_five_and_is_one_without_a_length():
    assert gaussian_ramp(0, length=100) == pytest.approx(0.0067, abs=1e-4)
    assert gaussian_ramp(0, length=0) == 1.0


def test_a_warmup_in_epochs_takes_the_place_of_the_fraction():
    assert warmup_steps(fraction=0.25, epochs=None, steps_per_epoch=10, total_steps=800) == 200
    assert warmup_steps(fraction=0.25, epochs=5, steps_per_epoch=10, total_steps=800) == 50
