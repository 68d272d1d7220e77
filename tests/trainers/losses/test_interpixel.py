"""The inter-pixel loss against the equations and their derivatives, written with loops over numpy float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trainers.interface.step import Pair
from trainers.losses.interpixel import InterPixelLoss
from trainers.losses.interpixel_config import InterPixelConfig


def softmax(values):
    shifted = np.exp(values - np.max(values))
    return shifted / shifted.sum()


def log_softmax(values):
    shifted = values - np.max(values)
    return shifted - np.log(np.exp(shifted).sum())


def reference_image(p, q, inside, config, domain):
    """One image: p, q (C, N); inside: pixel numbers of Omega; domain: pixels that the softmax runs over. The value, and
    its derivative by q (C, N)."""
    value, gradient = 0.0, np.zeros_like(q)
    if len(inside) < 2:
        return value, gradient
    t, n = config.temperature, len(inside)
    for k in range(len(p)):
        over = inside if config.domain == "omega" else domain
        log_p = dict(zip(over, log_softmax(p[k, over] / t), strict=True))
        log_q = dict(zip(over, log_softmax(q[k, over] / t), strict=True))
        if config.distance == "kl":
            value += sum(math.exp(log_p[i]) * (log_p[i] - log_q[i]) for i in inside)
            mass = sum(math.exp(log_p[i]) for i in inside)
            for j in over:
                gradient[k, j] = (math.exp(log_q[j]) * mass - (math.exp(log_p[j]) if j in inside else 0.0)) / t
            continue
        x = np.array([math.exp(log_p[i]) for i in inside]) * n
        y = np.array([math.exp(log_q[i]) for i in inside]) * n
        x, y = x - x.mean(), y - y.mean()
        tiny = 32 * np.finfo(np.float64).eps
        if np.sqrt((x**2).mean()) <= tiny or np.sqrt((y**2).mean()) <= tiny:
            continue
        across, length_x, length_y = (x * y).sum(), np.sqrt((x**2).sum()), np.sqrt((y**2).sum())
        norm = length_x * length_y + 1e-8
        value += 1 - across / norm
        by_y = -x / norm + across * length_x * y / length_y / norm**2
        by_psi = dict(zip(inside, n * by_y, strict=True))
        mean = sum(by_psi[i] * math.exp(log_q[i]) for i in inside)
        for j in over:
            gradient[k, j] = math.exp(log_q[j]) * (by_psi.get(j, 0.0) - mean) / t
    factor = 1 / len(p)
    if config.distance == "kl" or config.normalise_cr:
        factor /= math.log(n)
    if config.t2_scale:
        factor *= t**2
    return value * factor, gradient * factor


def reference(p, q, ignore, box, config):
    """The batch mean from (B, C, H, W) numpy arrays, and its derivative by q."""
    step = 4 if config.resolution == "stride4" else 1
    gradient = np.zeros_like(q)
    p, q, ignore, box = (
        p[..., ::step, ::step],
        q[..., ::step, ::step],
        ignore[..., ::step, ::step],
        box[..., ::step, ::step],
    )
    values = []
    for b in range(len(p)):
        pb, qb = p[b].reshape(len(p[b]), -1), q[b].reshape(len(q[b]), -1)
        pad, inbox = ignore[b].ravel() == 255, box[b].ravel()
        pixels = range(pb.shape[1])
        omega = [j for j in pixels if softmax(pb[:, j]).max() > config.tau and not pad[j]]
        parts = [(omega, list(pixels))]
        if config.target == "per_region":
            parts = [
                ([j for j in omega if inbox[j] == side], [j for j in pixels if inbox[j] == side])
                for side in (True, False)
            ]
        found = [(len(part) / max(len(omega), 1), reference_image(pb, qb, part, config, over)) for part, over in parts]
        values.append(sum(share * value for share, (value, _) in found))
        total = sum(share * slope for share, (_, slope) in found)
        gradient[b, :, ::step, ::step] = total.reshape(q[b].shape) / len(p)
    return float(np.mean(values)), gradient


def pair_of(p, q, ignore, box):
    return Pair(view="s1", teacher=p, student=q, ignore=torch.from_numpy(ignore), box=torch.from_numpy(box))


configs = st.builds(
    lambda t2, **values: InterPixelConfig(alpha=1, t2_scale=t2 and values["distance"] == "kl", **values),
    distance=st.sampled_from(["kl", "cr"]),
    domain=st.sampled_from(["omega", "full"]),
    target=st.sampled_from(["mixed", "per_region"]),
    resolution=st.sampled_from(["input", "stride4"]),
    temperature=st.floats(0.5, 16),
    tau=st.floats(0, 0.9),
    t2=st.booleans(),
    normalise_cr=st.booleans(),
)


@st.composite
def problems(draw, scales=(0.0, 0.1, 1.0, 10.0, 1000.0)):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = tuple(draw(st.integers(low, high)) for low, high in ((1, 3), (2, 5), (1, 9), (1, 9)))
    p, q = (rng.normal(0, 1, shape) * draw(st.sampled_from(scales)) for _ in range(2))
    ignore = np.where(rng.random((shape[0], *shape[2:])) < draw(st.sampled_from([0, 0.3, 1])), 255, 0)
    box = rng.random((shape[0], *shape[2:])) < 0.4
    return p, q, ignore.astype(np.int64), box


def loss_and_gradient(problem, config, *, dtype=torch.float64):
    p, q, ignore, box = problem
    student = torch.from_numpy(q).to(dtype).requires_grad_()
    loss, _ = InterPixelLoss(config)([pair_of(torch.from_numpy(p).to(dtype), student, ignore, box)])
    loss.backward()
    return float(loss.detach()), student.grad.double().numpy()


@given(problem=problems(), config=configs)
@settings(max_examples=200, deadline=None)
def test_value_and_gradient_are_those_of_the_equations(problem, config):
    value, gradient = loss_and_gradient(problem, config)
    expected, slope = reference(*problem, config)
    assert value == pytest.approx(expected, rel=1e-6, abs=1e-12)
    np.testing.assert_allclose(gradient, slope, rtol=1e-6, atol=1e-6 * np.abs(slope).max() + 1e-12)


@given(problem=problems(scales=(0.1, 1.0, 3.0)), config=configs)
@settings(max_examples=60, deadline=None)
def test_in_float32_value_and_gradient_are_near_those_of_the_equations(problem, config):
    problem = tuple(np.float32(part) if part.dtype == np.float64 else part for part in problem)
    value, gradient = loss_and_gradient(problem, config, dtype=torch.float32)
    p, q, ignore, box = problem
    assume(
        all(abs(softmax(p[b, :, i, j].astype(float)).max() - config.tau) > 1e-6 for b, i, j in np.ndindex(box.shape))
    )
    expected, slope = reference(p.astype(float), q.astype(float), ignore, box, config)
    rounding = 2e-7 * np.abs(q).max() * np.random.default_rng(0).choice([-1, 1], q.shape)
    moved = reference(p.astype(float), q.astype(float) + rounding, ignore, box, config)[1]
    assume(np.abs(moved - slope).max() <= 1e-4 * np.abs(slope).max() + 1e-5)  # a correlation of what hardly varies
    assert value == pytest.approx(expected, rel=1e-3, abs=1e-4)
    np.testing.assert_allclose(gradient, slope, atol=1e-3 * np.abs(slope).max() + 1e-4)


def loss_of(p, q, *, ignore=None, box=None, **values):
    shape = (p.shape[0], *p.shape[2:])
    ignore = np.zeros(shape, dtype=np.int64) if ignore is None else ignore
    box = np.zeros(shape, dtype=bool) if box is None else box
    return InterPixelLoss(InterPixelConfig(alpha=1, **values))([pair_of(p, q, ignore, box)])


def random_pair(shape=(2, 3, 6, 5), seed=0, scale=1.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    p, q = torch.randn(2, *shape, generator=generator, dtype=dtype) * scale
    return p, q.clone().requires_grad_()


@pytest.mark.parametrize("confident", [0, 1])
def test_an_image_with_fewer_than_two_confident_pixels_contributes_exactly_zero_and_keeps_its_graph(confident):
    p = torch.zeros(1, 3, 4, 4)
    p[0, 0, 0, :confident] = 50.0
    q = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss, seen = loss_of(p, q, tau=0.8)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.equal(q.grad, torch.zeros_like(q))
    assert float(seen["empty"]) == 1.0


def test_an_empty_image_is_counted_in_the_batch_mean():
    p, q = random_pair(scale=5)
    p[1] = 0
    both, seen = loss_of(p, q, tau=0.5)
    alone, _ = loss_of(p[:1], q[:1], tau=0.5)
    assert both.item() == pytest.approx(alone.item() / 2)
    assert float(seen["empty"]) == 0.5


def test_a_pixel_at_the_threshold_is_not_confident():
    p = torch.zeros(1, 2, 2, 2, dtype=torch.float64)
    assert float(loss_of(p, p.clone(), tau=0.5)[1]["omega"]) == 0.0
    assert float(loss_of(p, p.clone(), tau=0.49)[1]["omega"]) == 1.0


def test_padding_is_never_confident():
    p, q = random_pair(scale=5)
    ignore = np.zeros((2, 6, 5), dtype=np.int64)
    ignore[:, :, 2:] = 255
    cut, _ = loss_of(p[..., :2], q[..., :2], tau=0)
    padded, seen = loss_of(p, q, ignore=ignore, tau=0)
    assert float(padded) == pytest.approx(float(cut))
    assert float(seen["omega"]) == pytest.approx(2 / 5)


def test_equal_logits_cost_nothing():
    p, _ = random_pair()
    for distance in ("kl", "cr"):
        assert float(loss_of(p, p.clone(), tau=0, distance=distance)[0]) == pytest.approx(0, abs=1e-6)


def test_the_teacher_gets_no_gradient():
    p, q = random_pair()
    p.requires_grad_()
    loss_of(p, q, tau=0)[0].backward()
    assert p.grad is None


def test_kl_does_not_change_when_every_pixel_is_doubled_but_for_the_normaliser():
    p, q = random_pair(dtype=torch.float64)
    once, _ = loss_of(p, q, tau=0)
    twice, _ = loss_of(p.repeat_interleave(2, dim=3), q.repeat_interleave(2, dim=3), tau=0)
    assert float(twice) * math.log(60) == pytest.approx(float(once) * math.log(30))


def test_kl_times_t_squared_hardly_depends_on_t():
    p, q = random_pair((1, 4, 20, 20), dtype=torch.float64)
    found = [float(loss_of(p, q, tau=0, temperature=t, t2_scale=True)[0]) for t in (2.0, 4.0, 8.0)]
    assert max(found) / min(found) < 1.05


@pytest.mark.parametrize(("distance", "t2_scale"), [("kl", True), ("cr", False)])
def test_the_gradients_size_stays_within_a_factor_of_two_over_the_temperatures(distance, t2_scale):
    generator = torch.Generator().manual_seed(0)
    p = torch.randn(1, 11, 64, 64, generator=generator, dtype=torch.float64) * 1.5
    student = p + torch.randn(p.shape, generator=generator, dtype=torch.float64)
    sizes = []
    for temperature in (1, 2, 4, 8, 16):
        q = student.clone().requires_grad_()
        loss_of(p, q, tau=0, distance=distance, temperature=temperature, t2_scale=t2_scale)[0].backward()
        sizes.append(float(q.grad.abs().sum()))
    assert max(sizes) / min(sizes) < 2


def test_the_kls_gradient_without_the_factor_falls_as_one_over_t_squared():
    sizes = []
    for temperature in (4, 8, 16):
        p, q = random_pair((1, 4, 20, 20), dtype=torch.float64)
        loss_of(p, q, tau=0, temperature=temperature)[0].backward()
        sizes.append(float(q.grad.abs().sum()))
    assert sizes[0] / sizes[1] == pytest.approx(4, rel=0.05)
    assert sizes[1] / sizes[2] == pytest.approx(4, rel=0.05)


def test_the_factor_t_squared_is_refused_with_the_correlation():
    with pytest.raises(ValueError, match="only the KL falls as 1 / t\\^2"):
        InterPixelConfig(alpha=1, distance="cr", t2_scale=True)


@pytest.mark.parametrize("temperature", [1.0, 16.0])
def test_the_correlation_is_the_same_over_either_domain(temperature):
    p, start = random_pair((2, 4, 20, 20), scale=2, dtype=torch.float64)
    found = []
    for domain in ("omega", "full"):
        q = start.detach().clone().requires_grad_()
        loss, seen = loss_of(p, q, tau=0.6, distance="cr", temperature=temperature, domain=domain)
        loss.backward()
        found.append((float(loss.detach()), q.grad))
    assert 0.1 < float(seen["omega"]) < 0.9
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-5, atol=1e-9)


def test_a_nearly_flat_channel_of_a_hundred_thousand_pixels_keeps_its_correlation_in_float32():
    generator = torch.Generator().manual_seed(0)
    shape = torch.randn(1, 1, 320, 320, generator=generator)
    p = torch.cat([shape * 0.05, torch.zeros_like(shape)], dim=1)
    q = torch.cat(
        [shape * 0.05 + 0.01 * torch.randn(1, 1, 320, 320, generator=generator), torch.zeros_like(shape)], dim=1
    )
    found, _ = loss_of(p, q, tau=0, distance="cr", normalise_cr=False)
    exact, _ = loss_of(p.double(), q.double(), tau=0, distance="cr", normalise_cr=False)
    assert float(found) == pytest.approx(float(exact), rel=1e-3)
    assert 2 * float(found) < 0.1


def test_a_constant_channel_has_no_correlation_to_lose():
    p, q = random_pair()
    p[:, 1], other = 0.0, q.detach().clone()
    with_constant, _ = loss_of(p, other, tau=0, distance="cr")
    p2, q2 = p[:, [0, 2]], other[:, [0, 2]]
    without, _ = loss_of(p2, q2, tau=0, distance="cr")
    assert float(with_constant) == pytest.approx(float(without) * 2 / 3, rel=1e-5)


@pytest.mark.parametrize("distance", ["kl", "cr"])
@pytest.mark.parametrize("domain", ["omega", "full"])
@pytest.mark.parametrize("scale", [0.0, 1e3, 1e4])
def test_extreme_logits_give_finite_values_and_gradients_in_float32(distance, domain, scale):
    p, q = random_pair(scale=max(scale, 0.0))
    q = (q.detach() * 1).requires_grad_()
    loss, _ = loss_of(p, q, tau=0.3, distance=distance, domain=domain)
    loss.backward()
    assert math.isfinite(float(loss))
    assert bool(q.grad.isfinite().all())


def test_under_autocast_it_is_computed_in_float32():
    p, q = (logits.detach().bfloat16() for logits in random_pair(scale=3))
    plain, _ = loss_of(p.float(), q.float(), tau=0.3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed, _ = loss_of(p, q, tau=0.3)
    assert mixed.dtype == torch.float32
    assert float(mixed) == float(plain)


def test_views_are_averaged():
    pairs = []
    for seed in (0, 1):
        p, q = random_pair(seed=seed, scale=3)
        shape = (2, 6, 5)
        pairs.append(pair_of(p, q, np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=bool)))
    loss = InterPixelLoss(InterPixelConfig(alpha=1, tau=0.3))
    both, seen = loss(pairs)
    singles = [loss([pair]) for pair in pairs]
    assert float(both) == pytest.approx(sum(float(value) for value, _ in singles) / 2)
    assert float(seen["omega"]) == pytest.approx(sum(float(one["omega"]) for _, one in singles) / 2)
