"""GCT against straight-line code from its equations, in float64; true flaws pixel by pixel."""

import copy
import dataclasses
import math

import pytest
import torch
from torch.nn import functional as F

from tests.trainers.methods.deep_nets import deep_kit, deep_net, same_gradients, shuffled
from tests.trainers.methods.nets import CLASSES, SIDE, batch, step_of
from trainers.config import OptimConfig
from trainers.losses.ramps import gaussian_ramp
from trainers.methods.flaws import FlawDetector, true_flaws
from trainers.methods.gct import Gct, GctConfig
from trainers.optim import build_optimizer, set_poly_lr

B, LARGE = 2, 4 * SIDE


def built(model, *, pairs=False, **changes):
    config = GctConfig(**{"name": "gct", "detector_width": 4, "ramp_epochs": 4, **changes})
    method = Gct(config, deep_kit(model, pairs=pairs))
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


def blurred(values, side):
    """3 x 3 Gaussian of deviation 1/2, mirrored at the border."""
    weight = [math.exp(-0.5 * (x / 0.5) ** 2) for x in (-1, 0, 1)]
    weight = [one / sum(weight) for one in weight]

    def at(n):
        return -n if n < 0 else 2 * (side - 1) - n if n >= side else n

    return {
        (i, j): sum(
            weight[di + 1] * weight[dj + 1] * values[at(i + di), at(j + dj)] for di in (-1, 0, 1) for dj in (-1, 0, 1)
        )
        for i, j in values
    }


def flaws_of(p, labels, *, mu, nu):
    """True flaws of one image."""
    side = len(labels)
    values = {}
    for i in range(side):
        for j in range(side):
            y = int(labels[i, j])
            apart = sum(abs(float(p[c, i, j]) - (c == y)) for c in range(CLASSES))
            values[i, j] = 0.0 if y == 255 else mu * apart
    values = blurred(values, side)
    for _ in range(nu):
        near = {(i, j): max(values[a, b] for a, b in values if abs(a - i) <= 1 and abs(b - j) <= 1) for i, j in values}
        values = blurred(near, side)
    return torch.tensor([[values[i, j] for j in range(side)] for i in range(side)], dtype=torch.float64)


@pytest.mark.parametrize(("mu", "nu"), [(0.5, 1), (0.3, 0), (1.0, 2)])
def test_true_flaws_are_blurred_and_dilated_differences(mu, nu):
    data = batch(0)
    p = F.softmax(torch.randn(B, CLASSES, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).double(), 1)
    found = true_flaws(p, data.labelled.mask, scale=mu, dilations=nu)
    expected = torch.stack([flaws_of(p[b], data.labelled.mask[b], mu=mu, nu=nu) for b in range(B)])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("thresh", [0.2, 0.4])
def test_the_loss_is_that_of_its_equations(thresh, seed):
    model, data = deep_net(), large(batch(0, seed=seed))
    method = built(model, flaw_thresh=thresh, consistency_weight=7, correction_weight=2)
    networks = [copy.deepcopy(model).train(), copy.deepcopy(method.peer).train()]
    detector, frozen = copy.deepcopy(method.detector), copy.deepcopy(method.detector).requires_grad_(False)
    labelled, count = data.labelled, 2 * B * LARGE * LARGE
    images = torch.cat([labelled.image, data.unlabelled.view.weak])
    q = [F.softmax(network(images), dim=1) for network in networks]
    f = [frozen(images, one) for one in q]
    expected, taught, bad = {}, 0, 0
    for own, other, name in ((0, 1, ""), (1, 0, "_peer")):
        ce = -q[own][:B].log().gather(1, torch.where(labelled.mask == 255, 0, labelled.mask)[:, None])[:, 0]
        expected[f"supervised{name}"] = ce[labelled.mask != 255].mean()
        consistency, correction = 0.0, 0.0
        for b in range(2 * B):
            for i in range(LARGE):
                for j in range(LARGE):
                    mine, theirs = float(f[own][b, i, j].detach()), float(f[other][b, i, j].detach())
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
        true = torch.stack([flaws_of(answers[b], labelled.mask[b], mu=0.5, nu=1) for b in range(B)])
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
    set_poly_lr(optimizer, step=5, total=10, power=1.0)
    assert [group["lr"] for group in optimizer.param_groups] == [0.005]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(method.detector.parameters()))


def test_a_step_draws_nothing_from_the_global_random_state():
    model = deep_net()
    method = built(model, pairs=True)
    before = torch.get_rng_state()
    method.losses(step_of(model, batch(0)))
    assert torch.equal(torch.get_rng_state(), before)
