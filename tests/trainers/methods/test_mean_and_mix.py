"""Mean Teacher, CutMix-Seg, ClassMix and CPS against straight-line code from their equations, in float64."""

import copy

import pytest
import torch
from torch.nn import functional as F

from tests.trainers.methods.nets import CLASSES, SIDE, batch, context, net, put, step_of, swap
from trainers.losses.interpixel_config import InterPixelConfig
from trainers.losses.ramps import gaussian_ramp
from trainers.methods.classmix import ClassMixConfig
from trainers.methods.cps import CpsConfig
from trainers.methods.cutmixseg import CutMixSegConfig
from trainers.methods.meanteacher import MeanTeacherConfig
from trainers.methods.registry import build_method

B = 2


def built(config, model, *, alpha=0.0):
    """The method, with a teacher that differs from its student."""
    method = build_method(config, context(model, InterPixelConfig(alpha=alpha)))
    if hasattr(method, "teacher"):
        method.teacher.network.load_state_dict(net(3).state_dict())
    return method


def pixels():
    return [(b, i, j) for b in range(B) for i in range(SIDE) for j in range(SIDE)]


def supervised(logits, labelled):
    return F.cross_entropy(logits, labelled.mask, ignore_index=255)


def compare(method, model, data, expected, weights, *, peer=None):
    """``expected``: terms by name from twins, whose gradients lie in ``model`` and ``peer``: (ours, twin) each."""
    output = method.losses(step_of(model[0], data))
    assert output.terms.keys() == expected.keys()
    assert output.weights == pytest.approx(weights)
    for name, value in expected.items():
        assert float(output.terms[name].detach()) == pytest.approx(float(value.detach()), rel=1e-6), name
    sum(output.weights[name] * term for name, term in output.terms.items()).backward()
    sum(weights[name] * term for name, term in expected.items()).backward()
    for ours, twin in [model, *([peer] if peer else [])]:
        for mine, theirs in zip(ours.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-5, atol=1e-10)
        for mine, theirs in zip(ours.buffers(), twin.buffers(), strict=True):
            torch.testing.assert_close(mine, theirs)


def test_mean_teacher_is_that_of_its_equation():
    model, data = net(), batch(0)
    config = MeanTeacherConfig(name="meanteacher", consistency_weight=7, ramp_epochs=4)
    method, twin, teacher = built(config, model), copy.deepcopy(model), net(3)
    images = torch.cat([data.labelled.image, data.unlabelled.view.weak])
    twin.train()
    logits, target = twin(images), teacher.train()(images).detach()
    apart = sum(
        (F.softmax(logits[b, :, i, j], 0)[c] - F.softmax(target[b, :, i, j], 0)[c]) ** 2
        for b in range(2 * B)
        for i in range(SIDE)
        for j in range(SIDE)
        for c in range(CLASSES)
    ) / (2 * B * SIDE * SIDE * CLASSES)
    expected = {"supervised": supervised(logits[:B], data.labelled), "consistency": apart}
    ramp = gaussian_ramp(3, length=8)
    compare(method, (model, twin), data, expected, {"supervised": 1, "consistency": 7 * ramp})


@pytest.mark.parametrize("partner", [True, False])
@pytest.mark.parametrize("confidence", ["mean", "per_pixel"])
@pytest.mark.parametrize("over_classes", ["sum", "mean"])
def test_cutmix_seg_is_that_of_its_equation(partner, confidence, over_classes):
    model, data = net(), batch(1, partner=partner)
    config = CutMixSegConfig(
        name="cutmixseg", consistency_weight=3, conf_thresh=0.4, confidence=confidence, over_classes=over_classes
    )
    method, twin, teacher = built(config, model), copy.deepcopy(model), net(3).train()
    view, other, box = data.unlabelled.view, data.unlabelled.partner, data.unlabelled.boxes[0]
    own = teacher(view.weak).detach()
    theirs = teacher(other.weak).detach() if partner else swap(own)
    p = F.softmax(put(own, theirs, box), 1)
    ignore = put(view.ignore, other.ignore if partner else swap(view.ignore), box)
    twin.train()
    clean = twin(data.labelled.image)
    q = F.softmax(twin(put(view.strong[0], other.strong[0] if partner else swap(view.strong[0]), box)), 1)
    share = sum(float(p[b, :, i, j].max() >= 0.4) for b, i, j in pixels()) / len(pixels())
    total = 0.0
    for b, i, j in pixels():
        if ignore[b, i, j] == 255:
            continue
        kappa = share if confidence == "mean" else float(p[b, :, i, j].max() >= 0.4)
        squares = ((q[b, :, i, j] - p[b, :, i, j]) ** 2).sum()
        total = total + kappa * squares / (1 if over_classes == "sum" else CLASSES)
    expected = {"supervised": supervised(clean, data.labelled), "consistency": total / len(pixels())}
    compare(method, (model, twin), data, expected, {"supervised": 1, "consistency": 3})


@pytest.mark.parametrize("confidence", ["mean", "per_pixel"])
def test_classmix_is_that_of_its_equation(confidence):
    model, data = net(), batch(1, boxes=0, partner=False)
    config = ClassMixConfig(name="classmix", consistency_weight=2, conf_thresh=0.4, confidence=confidence)
    method, twin, teacher = built(config, model), copy.deepcopy(model), net(3).train()
    view = data.unlabelled.view
    own = teacher(view.weak).detach()
    others = ~method.chosen_classes(data, own.argmax(1))
    p = F.softmax(put(own, swap(own), others), 1)
    ignore = put(view.ignore, swap(view.ignore), others)
    twin.train()
    clean, strong = twin(data.labelled.image), twin(put(view.strong[0], swap(view.strong[0]), others))
    share = sum(float(p[b, :, i, j].max() >= 0.4) for b, i, j in pixels()) / len(pixels())
    total = 0.0
    for b, i, j in pixels():
        if ignore[b, i, j] == 255:
            continue
        kappa = share if confidence == "mean" else float(p[b, :, i, j].max() >= 0.4)
        total = total + kappa * F.cross_entropy(strong[b, :, i, j], p[b, :, i, j].argmax())
    expected = {"supervised": supervised(clean, data.labelled), "consistency": total / len(pixels())}
    compare(method, (model, twin), data, expected, {"supervised": 1, "consistency": 2})


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.8])
def test_classmix_pastes_whole_classes_and_the_share_of_them_that_is_asked(fraction):
    method = built(ClassMixConfig(name="classmix", class_fraction=fraction), net())
    generator = torch.Generator().manual_seed(1)
    prediction = torch.randint(0, CLASSES, (B, SIDE, SIDE), generator=generator)
    prediction[1] = 2
    chosen = method.chosen_classes(batch(1), prediction)
    for b in range(B):
        classes, pasted = set(prediction[b].unique().tolist()), set(prediction[b][chosen[b]].unique().tolist())
        assert len(pasted) == int(len(classes) * fraction)
        assert not pasted & set(prediction[b][~chosen[b]].unique().tolist())


def cross(logits, other, ignore):
    total, count = 0.0, 0
    for b in range(len(logits)):
        for i in range(SIDE):
            for j in range(SIDE):
                if ignore[b, i, j] != 255:
                    total = total + F.cross_entropy(logits[b, :, i, j], other[b, :, i, j].argmax())
                    count += 1
    return total / count


def test_cps_is_that_of_its_equation():
    model, data = net(), batch(0)
    method = built(CpsConfig(name="cps", cps_weight=0.7), model)
    twin, peer = copy.deepcopy(model).train(), copy.deepcopy(method.peer).train()
    images = torch.cat([data.labelled.image, data.unlabelled.view.weak])
    ignore = torch.cat([data.labelled.mask, data.unlabelled.view.ignore])
    first, second = twin(images), peer(images)
    expected = {
        "supervised": supervised(first[:B], data.labelled),
        "supervised_peer": supervised(second[:B], data.labelled),
        "cross": cross(first, second.detach(), ignore),
        "cross_peer": cross(second, first.detach(), ignore),
    }
    weights = {"supervised": 1, "supervised_peer": 1, "cross": 0.7, "cross_peer": 0.7}
    compare(method, (model, twin), data, expected, weights, peer=(method.peer, peer))


@pytest.mark.parametrize("partner", [True, False])
def test_cps_with_cutmix_is_that_of_its_equation(partner):
    model, data = net(), batch(0, boxes=1, partner=partner)
    method = built(CpsConfig(name="cps", cutmix=True, cps_weight=1), model)
    networks = twin, peer = copy.deepcopy(model).train(), copy.deepcopy(method.peer).train()
    view, other, box = data.unlabelled.view, data.unlabelled.partner, data.unlabelled.boxes[0]
    soft = []
    with torch.no_grad():
        for network in networks:
            own = network(view.weak)
            soft.append(put(own, network(other.weak) if partner else swap(own), box))
    ignore = put(view.ignore, other.ignore if partner else swap(view.ignore), box)
    images = put(view.weak, other.weak if partner else swap(view.weak), box)
    labelled, mixed = zip(*((network(data.labelled.image), network(images)) for network in networks), strict=True)
    expected = {
        "supervised": supervised(labelled[0], data.labelled),
        "supervised_peer": supervised(labelled[1], data.labelled),
        "cross": cross(mixed[0], soft[1], ignore),
        "cross_peer": cross(mixed[1], soft[0], ignore),
    }
    compare(method, (model, twin), data, expected, dict.fromkeys(expected, 1), peer=(method.peer, peer))


CONFIGS = {
    "meanteacher": MeanTeacherConfig(name="meanteacher"),
    "cutmixseg": CutMixSegConfig(name="cutmixseg"),
    "classmix": ClassMixConfig(name="classmix"),
    "cps": CpsConfig(name="cps"),
    "cps+cutmix": CpsConfig(name="cps", cutmix=True),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_pairs_are_a_detached_teacher_and_a_student_and_none_without_alpha(name):
    for alpha in (0.0, 1.0):
        model = net()
        method = built(CONFIGS[name], model, alpha=alpha)
        pairs = method.losses(step_of(model, batch(method.needs.strong, boxes=method.needs.mixed))).pairs
        assert bool(pairs) == (alpha > 0)
        for pair in pairs:
            assert not pair.teacher.requires_grad
            assert pair.student.requires_grad
            assert pair.teacher.shape == pair.student.shape == (B, CLASSES, SIDE, SIDE)
            assert pair.ignore.shape == (B, SIDE, SIDE)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_step_draws_nothing_from_the_global_random_state(name):
    model = net()
    method = built(CONFIGS[name], model, alpha=1.0)
    before = torch.get_rng_state()
    method.losses(step_of(model, batch(method.needs.strong, boxes=method.needs.mixed)))
    assert torch.equal(torch.get_rng_state(), before)
