"""CCT against straight-line code from its equations, in float64; every perturbation by itself, pixel by pixel."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.trainers.methods.deep_nets import HIGH, deep_context, deep_net, same_gradients, shuffled
from tests.trainers.methods.nets import CLASSES, SIDE, batch, step_of
from trainers.losses.ramps import gaussian_ramp
from trainers.methods import perturbations
from trainers.methods.cct import FIRST_STREAM, KINDS, Cct, CctConfig
from trainers.methods.mixing import image_generators, noise

B, SMALL = 2, SIDE // 2
NONE = dict.fromkeys(KINDS, 0)


def built(model, *, pairs=False, **changes):
    method = Cct(CctConfig(name="cct", **changes), deep_context(model, pairs=pairs))
    shuffled(method.decoders, 4)
    return method


def whole_generator(data, stream):
    return np.random.default_rng([*divmod(data.seed, 2**32), stream])


def places():
    return [(b, i, j) for b in range(B) for i in range(SMALL) for j in range(SMALL)]


def regions(shown):
    """Sets of pixels that touch, corners included, by flood fill, in the order of their first pixels."""
    left, found = {(i, j) for i in range(SIDE) for j in range(SIDE) if shown[i, j]}, []
    for start in sorted(left):
        if start not in left:
            continue
        region, edge = set(), [start]
        while edge:
            at = edge.pop()
            if at in left:
                left.remove(at)
                region.add(at)
                edge += [(at[0] + di, at[1] + dj) for di in (-1, 0, 1) for dj in (-1, 0, 1)]
        found.append(region)
    return found


def whole(logits):
    return F.interpolate(logits, (SIDE, SIDE), mode="bilinear", align_corners=True)


def perturbed(kind, z, label, data, stream, decoder, config):
    """What ``kind`` makes of the features z."""
    out, rngs = z.clone(), image_generators(data, stream)
    match kind:
        case "feature_drop":
            share = whole_generator(data, stream).uniform(config.drop_min, config.drop_max)
            mean = z.detach().mean(dim=1)
            for b, i, j in places():
                if mean[b, i, j] >= share * mean[b].max():
                    out[b, :, i, j] = 0
        case "feature_noise":
            n = whole_generator(data, stream).uniform(-config.noise, config.noise, size=(HIGH, SMALL, SMALL))
            out = z + z * torch.from_numpy(n)
        case "dropout":
            for b in range(B):
                drawn = rngs[b].random(HIGH)
                for c in range(HIGH):
                    out[b, c] = z[b, c] / (1 - config.dropout_p) if drawn[c] >= config.dropout_p else 0
        case "cutout":
            for b in range(B):
                kept, boxes = np.ones((SIDE, SIDE)), []
                for region in regions(label[b] > 0):
                    if len(region) >= perturbations.SMALLEST_OBJECT:
                        rows, columns = zip(*region, strict=True)
                        boxes.append((min(rows), max(rows) + 1, min(columns), max(columns) + 1))
                for top, below, left, right in boxes:
                    height, width = int((below - top) * config.cutout_side), int((right - left) * config.cutout_side)
                    i = top + int(rngs[b].integers(below - top - height + 1))
                    j = left + int(rngs[b].integers(right - left - width + 1))
                    kept[i : i + height, j : j + width] = 0
                out[b] = z[b] * torch.from_numpy(kept)[::2, ::2]
        case "vat":  # one power iteration with a finite step; with 1e-6 it is 3e-5 off its limit
            d, xi = noise(data, z, stream), 1e-7
            point = z.detach()
            step = xi * d / d.flatten(1).norm(dim=1).view(B, 1, 1, 1)
            step.requires_grad_()
            p = F.softmax(whole(decoder(point)), dim=1).detach()
            F.kl_div(F.log_softmax(whole(decoder(point + step)), dim=1), p, reduction="sum").backward()
            decoder.zero_grad()
            out = z + config.vat_eps * step.grad / step.grad.flatten(1).norm(dim=1).view(B, 1, 1, 1)
        case "context_mask" | "object_mask":
            for b, i, j in places():
                if (label[b, 2 * i, 2 * j] > 0) != (kind == "context_mask"):
                    out[b, :, i, j] = 0
    return out


@pytest.mark.parametrize("least", [3, 50])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_loss_of_its_equation(kind, least, monkeypatch):
    monkeypatch.setattr(perturbations, "SMALLEST_OBJECT", least)
    compare({**NONE, kind: 2})


def test_an_image_without_objects_is_not_cut():
    features = torch.rand(B, HIGH, SMALL, SMALL)
    label = torch.zeros(B, SIDE, SIDE, dtype=torch.int64)
    label[1] = 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(perturbations, "SMALLEST_OBJECT", 3)
        cut = perturbations.cut_objects(features, label, image_generators(batch(0), 0), share=0.7)
    assert torch.equal(cut[0], features[0])
    assert not torch.equal(cut[1], features[1])


def test_the_mean_over_all_kinds_is_the_loss():
    compare(dict.fromkeys(KINDS, 1))


def compare(numbers):
    model, data = deep_net(), batch(0)
    method = built(model, consistency_weight=7, ramp=0.5, dropout_p=0.3, **numbers)
    config = method.config
    twin, decoders = copy.deepcopy(model).train(), copy.deepcopy(method.decoders)
    view = data.unlabelled.view
    clean, main = twin(data.labelled.image), twin(view.weak, features=True)
    p = F.softmax(main.logits, dim=1).detach()
    label, total = p.argmax(1), 0.0
    kinds = [kind for kind in KINDS for _ in range(numbers[kind])]
    for k, (kind, decoder) in enumerate(zip(kinds, decoders, strict=True)):
        changed = perturbed(kind, main.context, label, data, FIRST_STREAM + k, decoder, config)
        q = F.softmax(F.interpolate(decoder(changed), (SIDE, SIDE), mode="bilinear", align_corners=True), dim=1)
        total = total + sum(
            (q[b, c, i, j] - p[b, c, i, j]) ** 2
            for b in range(B)
            for c in range(CLASSES)
            for i in range(SIDE)
            for j in range(SIDE)
        ) / (B * CLASSES * SIDE * SIDE)
    expected = {
        "supervised": F.cross_entropy(clean, data.labelled.mask, ignore_index=255),
        "consistency": total / len(kinds),
    }
    output = method.losses(step_of(model, data))
    weights = {"supervised": 1, "consistency": 7 * gaussian_ramp(3, length=5)}
    assert output.weights == pytest.approx(weights)
    for name, value in expected.items():
        assert float(output.terms[name].detach()) == pytest.approx(float(value.detach()), rel=1e-5), name
    sum(output.weights[name] * term for name, term in output.terms.items()).backward()
    sum(weights[name] * term for name, term in expected.items()).backward()
    same_gradients([model, method.decoders], [twin, decoders])
    for mine, theirs in zip(model.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_pair_is_the_main_decoder_and_the_mean_of_the_others():
    for pairs in (True, False):
        model, data = deep_net(), batch(0)
        found = built(model, pairs=pairs).losses(step_of(model, data)).pairs
        assert bool(found) == pairs
        for pair in found:
            assert not pair.teacher.requires_grad
            assert pair.teacher.shape == pair.student.shape == (B, CLASSES, SIDE, SIDE)
            (pair.student * torch.randn_like(pair.student)).sum().backward()
    assert all(parameter.grad is None for parameter in model.classify.parameters())


def test_the_pair_reaches_every_auxiliary_decoder():
    model, data = deep_net(), batch(0)
    method = built(model, pairs=True)
    (pair,) = method.losses(step_of(model, data)).pairs
    (pair.student * torch.linspace(-1, 1, SIDE)).sum().backward()
    assert all(bool(parameter.grad.any()) for parameter in method.decoders.parameters())


def test_a_step_draws_nothing_from_the_global_random_state():
    model = deep_net()
    method = built(model, pairs=True)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    method.losses(step_of(model, batch(0)))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


def test_no_decoder_at_all_is_refused():
    with pytest.raises(ValueError, match="set at least one of feature_drop, feature_noise"):
        CctConfig(name="cct", **NONE)
