"""GCT against straight-line code from its equations, in float64; true flaws pixel by pixel."""

import copy
import dataclasses
import math

import pytest
import torch
from torch.nn import functional as F

from tests.trainers.methods.deep_nets import deep_context, deep_net, same_gradients, shuffled
from tests.trainers.methods.nets import CLASSES, SIDE, batch, step_of
from trainers.config import OptimConfig
from trainers.loop.optim import build_optimizer, set_lr
from trainers.losses.ramps import gaussian_ramp
from trainers.methods.flaws import FlawDetector, handled, true_flaws
from trainers.methods.gct import Gct, GctConfig

B, LARGE = 2, 4 * SIDE


def built(model, *, pairs=False, **changes):
    config = GctConfig(**{"name": "gct", "detector_width": 4, "ramp_epochs": 4, **changes})
    method = Gct(config, deep_context(model, pairs=pairs))
    shuffled(method.peer, 3)
    shuffled(method.detector, 4)
    with torch.no_grad():  # flaws on both sides of the threshold
        generator = torch.Generator().manual_seed(6)
        drawn = torch.randn(8, 3 + CLASSES, LARGE, LARGE, generator=generator, dtype=torch.float64)
        said = method.detector(drawn[:, :3], drawn[:, 3:].softmax(dim=1))
        method.detector.classify.weight.mul_(0.3 / said.std())
        method.detector.classify.bias.mul_(0.3 / said.std()).add_(0.3 - 0.3 * said.mean() / said.std())
    return method


def large(data):
    """Images of four times the size, on which the detector's coarse map has several pixels."""
    generator = torch.Generator().manual_seed(5)

    def image(one):
        wide = one.repeat_interleave(4, dim=-1).repeat_interleave(4, dim=-2)
        return wide + torch.randn(wide.shape, generator=generator, dtype=torch.float64)

    def mask(one):
        return one.repeat_interleave(4, dim=-1).repeat_interleave(4, dim=-2)

    view = data.unlabelled.view
    view = dataclasses.replace(view, weak=image(view.weak), ignore=mask(view.ignore))
    labelled = dataclasses.replace(data.labelled, image=image(data.labelled.image), mask=mask(data.labelled.mask))
    return dataclasses.replace(data, labelled=labelled, unlabelled=dataclasses.replace(data.unlabelled, view=view))


def blurred(values, part):
    """By the definition: a weighted mean over a square window, mirrored at the border."""
    side = len(values)
    length = side // part if side // part % 2 else side // part + 1
    half, deviation = length // 2, 0.3 * ((length - 1) * 0.5 - 1) + 0.8
    weight = [math.exp(-0.5 * (x / deviation) ** 2) for x in range(-half, half + 1)]

    def at(n):
        return -n if n < 0 else 2 * (side - 1) - n if n >= side else n

    found = torch.zeros(side, side, dtype=torch.float64)
    for i in range(side):
        for j in range(side):
            window = [[float(values[at(i + a - half), at(j + b - half)]) for b in range(length)] for a in range(length)]
            found[i, j] = sum(weight[a] * weight[b] * window[a][b] for a in range(length) for b in range(length))
    return found / sum(weight) ** 2


def stretched(values):
    return (values - values.min()) / (values.max() - values.min() + 1e-9)


def flaws_of(p, labels, *, mu, nu, rescale=True):
    """True flaws of one image."""
    side = len(labels)
    values = torch.zeros(side, side, dtype=torch.float64)
    for i in range(side):
        for j in range(side):
            y = int(labels[i, j])
            if y != 255:
                values[i, j] = mu * sum(abs(float(p[c, i, j]) - (c == y)) for c in range(CLASSES))
    values = blurred(values, 8)
    for _ in range(nu):
        near = torch.zeros_like(values)
        for i in range(side):
            for j in range(side):
                near[i, j] = values[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].max()
        values = blurred(near, 4)
    return stretched(values) if rescale else values


def seen_flaws(flaws, *, rescale=True):
    """What is made of the detector's map of one image."""
    values = blurred(torch.where(flaws < 0, 0.0, flaws), 16)
    if not rescale:
        return values
    return torch.zeros_like(values) if values.max() <= 0.1 else stretched(values)


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize(("mu", "nu"), [(0.5, 1), (0.3, 0), (1.0, 2)])
def test_true_flaws_are_blurred_and_dilated_differences(mu, nu, rescale):
    labels = large(batch(0)).labelled.mask
    drawn = torch.randn(B, CLASSES, LARGE, LARGE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    p = F.softmax(3 * drawn, dim=1)
    found = true_flaws(p, labels, scale=mu, dilations=nu, rescale=rescale)
    expected = torch.stack([flaws_of(p[b], labels[b], mu=mu, nu=nu, rescale=rescale) for b in range(B)])
    torch.testing.assert_close(found, expected)
    if rescale:
        assert found.amin(dim=(1, 2)).tolist() == [0, 0]
        assert found.amax(dim=(1, 2)).tolist() == pytest.approx([1, 1])


def test_maps_of_the_detector_are_clipped_blurred_and_rescaled_by_image():
    """Of side 48, so that the blur has three pixels; the last map is too faint to show a flaw."""
    maps = torch.randn(3, 48, 48, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    maps = maps * torch.tensor([1.0, 0.4, 0.02])[:, None, None]
    for rescale in (True, False):
        expected = torch.stack([seen_flaws(one, rescale=rescale) for one in maps])
        torch.testing.assert_close(handled(maps, rescale=rescale), expected)
    assert handled(maps, rescale=True).amax(dim=(1, 2)).tolist() == pytest.approx([1, 1, 0])


def test_a_threshold_is_relative_to_an_images_worst_pixel_unless_flaws_are_left_as_they_are():
    maps = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    bad = [handled(size * maps, rescale=True) > 0.6 for size in (0.5, 5.0)]
    assert torch.equal(*bad)
    assert bad[0].any()
    assert not (handled(0.5 * maps, rescale=False) > 0.6).any()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("thresh", "rescale"), [(0.2, False), (0.4, True)])
def test_the_loss_is_that_of_its_equations(thresh, rescale, seed):
    model, data = deep_net(), large(batch(0, seed=seed))
    method = built(model, flaw_thresh=thresh, rescale=rescale, consistency_weight=7, correction_weight=2)
    networks = [copy.deepcopy(model).train(), copy.deepcopy(method.peer).train()]
    detector, frozen = copy.deepcopy(method.detector), copy.deepcopy(method.detector).requires_grad_(False)
    labelled, count = data.labelled, 2 * B * LARGE * LARGE
    images = torch.cat([labelled.image, data.unlabelled.view.weak])
    q = [F.softmax(network(images), dim=1) for network in networks]
    f = [frozen(images, one) for one in q]
    g = [torch.stack([seen_flaws(one, rescale=rescale) for one in maps.detach()]) for maps in f]
    expected, taught, bad = {}, 0, 0
    for own, other, name in ((0, 1, ""), (1, 0, "_peer")):
        ce = -q[own][:B].log().gather(1, torch.where(labelled.mask == 255, 0, labelled.mask)[:, None])[:, 0]
        expected[f"supervised{name}"] = ce[labelled.mask != 255].mean()
        consistency, correction = 0.0, 0.0
        for b in range(2 * B):
            for i in range(LARGE):
                for j in range(LARGE):
                    mine, theirs = float(g[own][b, i, j]), float(g[other][b, i, j])
                    if theirs < mine and theirs <= thresh:
                        apart = q[own][b, :, i, j] - q[other][b, :, i, j].detach()
                        consistency = consistency + (apart**2).sum() / CLASSES
                        taught += 1
                    if mine > thresh and theirs > thresh:
                        correction = correction + f[own][b, i, j] ** 2
                        bad += 1
        expected[f"consistency{name}"] = consistency / count
        expected[f"correction{name}"] = correction / count
        answers = q[own][:B].detach()
        true = torch.stack([flaws_of(answers[b], labelled.mask[b], mu=0.5, nu=1, rescale=rescale) for b in range(B)])
        expected[f"detector{name}"] = ((detector(labelled.image, answers) - true) ** 2)[labelled.mask != 255].mean()
    assert taught
    assert bad
    output = method.losses(step_of(model, data))
    weights = {"supervised": 1, "consistency": 7 * gaussian_ramp(3, length=8), "correction": 2, "detector": 10}
    assert output.weights == pytest.approx({name: weights[name.removesuffix("_peer")] for name in expected})
    for name, value in expected.items():
        assert float(output.terms[name].detach()) == pytest.approx(float(value.detach()), rel=1e-5), name
    sum(output.weights[name] * term for name, term in output.terms.items()).backward()
    sum(output.weights[name] * term for name, term in expected.items()).backward()
    same_gradients([model, method.peer, method.detector], [*networks, detector])


def test_pairs_are_both_directions_over_the_pixels_on_which_each_teaches():
    for pairs in (True, False):
        model, data = deep_net(), large(batch(0))
        found = built(model, pairs=pairs).losses(step_of(model, data)).pairs
        assert len(found) == (2 if pairs else 0)
        for pair in found:
            assert not pair.teacher.requires_grad
            assert pair.student.requires_grad
        if pairs:
            first, second = (pair.ignore != 255 for pair in found)
            assert not (first & second).any()
            assert not (first | second)[data.unlabelled.view.ignore == 255].any()
            assert (first | second).any()


def test_a_detector_looks_at_each_image_by_itself():
    detector = shuffled(FlawDetector(CLASSES, width=4).double(), 1)
    images, p = torch.randn(3, 3, 8, 8).double(), torch.rand(3, CLASSES, 8, 8).double()
    torch.testing.assert_close(detector(images, p)[:1], detector(images[:1], p[:1]))


def test_the_detector_trains_by_adam_at_its_own_rate_which_falls_as_the_others_do():
    model = deep_net()
    method = built(model, detector_lr=0.01)
    one = method.trained()["detector"]
    optimizer = build_optimizer(one.module, one.backbone, OptimConfig(), adam_lr=one.adam_lr)
    assert isinstance(optimizer, torch.optim.Adam)
    set_lr(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.005]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(method.detector.parameters()))


def test_a_step_draws_nothing_from_the_global_random_state():
    model = deep_net()
    method = built(model, pairs=True)
    before = torch.get_rng_state()
    method.losses(step_of(model, batch(0)))
    assert torch.equal(torch.get_rng_state(), before)
