"""The inter-pixel loss where it could break: the fewest pixels, boxes without an inside, float32 at its limits."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.interface.step import Pair
from trainers.losses.interpixel import InterPixelLoss
from trainers.losses.interpixel_config import InterPixelConfig


def pair(p, q, *, ignore=None, box=None):
    if ignore is None:
        ignore = torch.zeros(p.shape[0], *p.shape[2:], dtype=torch.int64)
    return Pair(view="s1", teacher=p, student=q, ignore=ignore, box=box)


def loss_of(*pairs, **values):
    return InterPixelLoss(InterPixelConfig(alpha=1, **values))(pairs)[0]


def two_confident_pixels():
    """Two classes on 1 x 3 pixels; the teacher is sure of the first two only."""
    p = torch.tensor([[9.0, 1.0, 0.0], [0.0, 6.0, 0.0]], dtype=torch.float64)[None, :, None]
    q = torch.tensor([[2.0, 1.0, 7.0], [0.5, 3.0, 8.0]], dtype=torch.float64)[None, :, None]
    return p, q


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_two_confident_pixels_cost_what_is_worked_out_by_hand():
    p, q = two_confident_pixels()
    t, total = 4.0, 0.0
    for teacher, student in ((9.0 - 1.0, 2.0 - 1.0), (0.0 - 6.0, 0.5 - 3.0)):
        first, other = sigmoid(teacher / t), sigmoid(student / t)
        total += first * math.log(first / other) + (1 - first) * math.log((1 - first) / (1 - other))
    assert float(loss_of(pair(p, q), temperature=t)) == pytest.approx(total / (2 * math.log(2)), rel=1e-12)


def test_two_pixels_in_the_same_order_correlate_perfectly():
    p, q = two_confident_pixels()
    assert float(loss_of(pair(p, q), distance="cr")) == pytest.approx(0, abs=1e-6)
    assert float(loss_of(pair(p, -q), distance="cr", normalise_cr=False)) == pytest.approx(2, rel=1e-6)


@pytest.mark.parametrize("distance", ["kl", "cr"])
def test_a_region_with_one_confident_pixel_adds_nothing(distance):
    p, q = two_confident_pixels()
    box = torch.tensor([[[True, False, False]]])
    q.requires_grad_()
    loss = loss_of(pair(p, q, box=box), distance=distance, target="per_region")
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.equal(q.grad, torch.zeros_like(q))


@pytest.mark.parametrize("box", [None, torch.zeros(2, 5, 4, dtype=torch.bool), torch.ones(2, 5, 4, dtype=torch.bool)])
def test_with_one_region_only_the_regions_loss_is_that_of_the_mixed_map(box):
    generator = torch.Generator().manual_seed(0)
    p, q = torch.randn(2, 2, 3, 5, 4, generator=generator, dtype=torch.float64) * 3
    mixed = loss_of(pair(p, q), tau=0.5)
    assert float(mixed) > 0
    assert float(loss_of(pair(p, q, box=box), tau=0.5, target="per_region")) == pytest.approx(float(mixed), rel=1e-12)


@given(
    seed=st.integers(0, 2**16),
    teacher_scale=st.sampled_from([0.0, 1.0, 1e3]),
    student_scale=st.sampled_from([0.0, 1.0, 1e3]),
    values=st.fixed_dictionaries(
        {
            "distance": st.sampled_from(["kl", "cr"]),
            "domain": st.sampled_from(["omega", "full"]),
            "target": st.sampled_from(["mixed", "per_region"]),
            "resolution": st.sampled_from(["input", "stride4"]),
            "temperature": st.sampled_from([0.01, 1.0, 16.0]),
            "tau": st.sampled_from([0.0, 0.6, 0.99]),
            "t2_scale": st.booleans(),
        }
    ).filter(lambda values: values["distance"] == "kl" or not values["t2_scale"]),
)
@settings(deadline=None, max_examples=150)
def test_in_float32_every_reading_is_finite_with_finite_gradients(seed, teacher_scale, student_scale, values):
    generator = torch.Generator().manual_seed(seed)
    p = torch.randn(2, 3, 9, 6, generator=generator) * teacher_scale
    q = (torch.randn(2, 3, 9, 6, generator=generator) * student_scale).requires_grad_()
    ignore = (torch.rand(2, 9, 6, generator=generator) < 0.3) * 255
    loss = loss_of(pair(p, q, ignore=ignore, box=torch.rand(2, 9, 6, generator=generator) < 0.4), **values)
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert bool(q.grad.isfinite().all())


def test_a_bfloat16_students_gradient_is_the_float32_one_rounded_once():
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.randn(2, 2, 3, 6, 5, generator=generator) * 3).bfloat16()
    half, single = q.clone().requires_grad_(), q.float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss_of(pair(p, half), tau=0.3).backward()
    loss_of(pair(p.float(), single), tau=0.3).backward()
    assert bool(single.grad.any())
    assert torch.equal(half.grad, single.grad.bfloat16())


def test_without_a_pair_to_compare_it_says_so():
    with pytest.raises(ValueError, match="no pair"):
        loss_of()
