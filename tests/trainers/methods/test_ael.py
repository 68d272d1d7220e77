"""AEL against straight-line code from its step, in float64: banks, regions, sampling and pasting by brute force."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.trainers.methods.deep_nets import deep_kit, deep_net, same_gradients, shuffled
from tests.trainers.methods.nets import CLASSES, SIDE, batch, step_of
from trainers.methods.ael import (
    COPY_PASTE,
    PARTNER,
    SAMPLING_LABELLED,
    SAMPLING_UNLABELLED,
    Ael,
    AelConfig,
    region,
)
from trainers.methods.base import Asked
from trainers.methods.mixing import image_generators
from trainers.methods.pasting import by_need, moved_object

B, IMAGES = 2, 7
SHOWN = [frozenset({0, 1}), frozenset({1}), frozenset({0, 1, 2})]
CONFIDENCE = torch.tensor([0.7, 0.2, 0.4], dtype=torch.float64)
ONE_PIXEL = 1 / SIDE**2


def crop(index, draw, kind):
    generator = torch.Generator().manual_seed(1000 * index + draw % 1000 + kind)
    image = torch.randn(3, SIDE, SIDE, generator=generator, dtype=torch.float64)
    mask = torch.randint(0, CLASSES, (SIDE, SIDE), generator=generator)
    ignore = torch.zeros(SIDE, SIDE, dtype=torch.int64)
    ignore[-1] = 255
    return image, ignore if kind else mask


ASKED = Asked(labelled=lambda i, d: crop(i, d, 0), unlabelled=lambda i, d: crop(i, d, 1), classes=lambda: SHOWN)


def built(model, *, pairs=False, **changes):
    small = {"region_area": ONE_PIXEL, "bank_area": ONE_PIXEL}
    config = AelConfig(**{"name": "ael", "conf_thresh": 0.4, "copy_paste_p": 0.5, **small, **changes})
    method = Ael(config, deep_kit(model, pairs=pairs, unlabelled=IMAGES))
    method.teacher.network.load_state_dict(shuffled(deep_net(), 3).state_dict())
    method.confidence = CONFIDENCE.clone()
    method.shown[1, 4] = method.shown[2, [0, 5]] = True
    return method


def step(model, data):
    return dataclasses.replace(step_of(model, data), asked=ASKED)


def data_of(seed=0):
    data = batch(0, boxes=0, partner=False, seed=seed)
    return dataclasses.replace(data, unlabelled=dataclasses.replace(data.unlabelled, index=torch.tensor([6, 2])))


def pixels():
    return [(b, i, j) for b in range(B) for i in range(SIDE) for j in range(SIDE)]


def drawn_class(rng):
    weights = np.exp(1 - CONFIDENCE.numpy())
    return int(rng.choice(CLASSES, p=weights / weights.sum()))


CASES = [
    {},
    {"gamma": 0, "conf_thresh": 0, "bank_absent": "decay", "bank_momentum": 0.5},
    {"adaptive_sampling": False, "copy_paste_p": 1, "copy_paste_classes": 3},
    {"adaptive_cutmix": False, "copy_paste_p": 0},
]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("changes", CASES)
def test_the_loss_is_that_of_its_step(changes, seed):
    model, data = deep_net(), data_of(seed)
    method = built(model, **changes)
    config, view = method.config, data.unlabelled.view
    twin, teacher = copy.deepcopy(model).train(), copy.deepcopy(method.teacher.network).train()
    images, masks = data.labelled.image.clone(), data.labelled.mask.clone()
    for b, rng in enumerate(image_generators(data, COPY_PASTE)):
        if config.copy_paste_p and rng.random() < config.copy_paste_p:
            weights = np.exp(1 - CONFIDENCE.numpy())
            chosen = rng.choice(CLASSES, size=config.copy_paste_classes, replace=False, p=weights / weights.sum())
            for c in chosen.tolist():
                having = [n for n in range(len(SHOWN)) if c in SHOWN[n]]
                image, mask = crop(having[rng.integers(len(having))], int(rng.integers(2**31)), 0)
                moved, where = moved_object(image, mask == c, rng, scale=(0.1, 2.0))
                for i in range(SIDE):
                    for j in range(SIDE):
                        if where[i, j]:
                            images[b, :, i, j], masks[b, i, j] = moved[:, i, j], c
    boxes, partners, padding = np.zeros((B, SIDE, SIDE), bool), view.weak.clone(), view.ignore.clone()
    rngs, classes = image_generators(data, PARTNER), []
    with torch.no_grad():
        if config.adaptive_cutmix:
            for b, rng in enumerate(rngs):
                classes.append(drawn_class(rng))
                having = [n for n in range(IMAGES) if {1: [4], 2: [0, 5]}.get(classes[b], range(IMAGES)).count(n)]
                partners[b], padding[b] = crop(having[rng.integers(len(having))], int(rng.integers(2**31)), 1)
            own, theirs = teacher(torch.cat([view.weak, partners])).chunk(2)
            for b, rng in enumerate(rngs):
                seen = np.array([[int(theirs[b, :, i, j].argmax()) == classes[b] and int(padding[b, i, j]) != 255
                                  for j in range(SIDE)] for i in range(SIDE)])  # fmt: skip
                boxes[b] = region(seen, rng, least=ONE_PIXEL)
        else:
            own = theirs = teacher(view.weak)
        taught = [teacher(images), torch.where(torch.from_numpy(boxes)[:, None], theirs, own)]
    ignore = [
        torch.where(masks == 255, 255, 0),
        torch.where(torch.from_numpy(boxes), padding, view.ignore),
    ]
    mixed = torch.where(torch.from_numpy(boxes)[:, None], partners, view.weak)
    clean, strong = twin(images), twin(mixed)
    need = [(1 - float(one)) / (1 - min(CONFIDENCE.tolist())) for one in CONFIDENCE]
    above, below = 0.0, 0.0
    streams = (SAMPLING_LABELLED, SAMPLING_UNLABELLED)
    for logits, soft, skipped, stream in zip((clean, strong), taught, ignore, streams, strict=True):
        drawn = [rng.random((SIDE, SIDE)) for rng in image_generators(data, stream)]
        for b, i, j in pixels():
            conf, c = (float(one) for one in F.softmax(soft[b, :, i, j], 0).max(0))
            kept = not config.adaptive_sampling or drawn[b][i, j] < need[int(c)]
            if skipped[b, i, j] == 255 or conf < config.conf_thresh or not kept:
                continue
            above = above + conf**config.gamma * F.cross_entropy(logits[b, :, i, j], torch.tensor(int(c)))
            below += conf**config.gamma
    expected = {"supervised": F.cross_entropy(clean, masks, ignore_index=255), "consistency": above / max(below, 1)}
    bank = CONFIDENCE.clone()
    for c in range(CLASSES):
        right = [float(F.softmax(clean[b, :, i, j].detach(), 0)[c]) for b, i, j in pixels() if masks[b, i, j] == c]
        if right or config.bank_absent == "decay":
            mean = sum(right) / max(len(right), 1)
            bank[c] = config.bank_momentum * bank[c] + (1 - config.bank_momentum) * mean
    output = method.losses(step(model, data))
    for name, value in expected.items():
        assert float(output.terms[name].detach()) == pytest.approx(float(value.detach()), rel=1e-5), name
    sum(output.terms.values()).backward()
    sum(expected.values()).backward()
    same_gradients([model], [twin])
    torch.testing.assert_close(method.confidence, bank)
    for b, index in enumerate([6, 2]):
        for c in range(CLASSES):
            seen = any(int(own[b, :, i, j].argmax()) == c and view.ignore[b, i, j] != 255
                       for i in range(SIDE) for j in range(SIDE))  # fmt: skip
            assert bool(method.shown[c, index]) == seen


def test_a_region_is_the_box_of_connected_pixels():
    shown = np.zeros((8, 8), dtype=bool)
    shown[1:3, 1:4] = shown[5, 6] = shown[6, 7] = True
    found = {tuple(np.argwhere(region(shown, np.random.default_rng(seed), least=1 / 64)).ravel()) for seed in range(20)}
    first, second = np.zeros_like(shown), np.zeros_like(shown)
    first[1:3, 1:4] = second[5:7, 6:8] = True
    assert found == {tuple(np.argwhere(one).ravel()) for one in (first, second)}
    assert not region(np.zeros((8, 8), dtype=bool), np.random.default_rng(0), least=1 / 64).any()


def test_smaller_regions_are_not_pasted_and_smaller_classes_not_remembered():
    shown = np.zeros((10, 10), dtype=bool)
    shown[2:4, 3:5] = True
    assert region(shown, np.random.default_rng(0), least=0.04).sum() == 4
    assert region(shown, np.random.default_rng(0), least=0.05).sum() == 0
    model, data = deep_net(), data_of()
    method = built(model, bank_area=0.5, adaptive_cutmix=False)
    with torch.no_grad():
        label = copy.deepcopy(method.teacher.network).train()(data.unlabelled.view.weak).argmax(dim=1)
    method.losses(step(model, data))
    valid = data.unlabelled.view.ignore != 255
    for b, index in enumerate([6, 2]):
        for c in range(CLASSES):
            assert bool(method.shown[c, index]) == (int(((label[b] == c) & valid[b]).sum()) >= 0.5 * SIDE**2)


@pytest.mark.parametrize("factor", [0.3, 1.0, 2.0])
def test_a_moved_object_keeps_its_colour_and_lies_inside(factor):
    image = torch.zeros(3, 10, 10)
    where = torch.zeros(10, 10, dtype=torch.bool)
    where[2:8, 2:8] = True
    image[:] = 0.5
    moved, mask = moved_object(image, where, np.random.default_rng(3), scale=(factor, factor))
    assert mask.any()
    assert torch.allclose(moved[:, mask], torch.tensor(0.5))
    if factor == 1.0:
        assert torch.equal(mask, where)
    if factor < 1:
        assert int(mask.sum()) < int(where.sum())


def test_weak_classes_are_drawn_more_often():
    probability = by_need(CONFIDENCE)
    torch.testing.assert_close(torch.from_numpy(probability), F.softmax(1 - CONFIDENCE, dim=0))
    assert probability.argmax() == 1


@pytest.mark.parametrize("start", ["uniform", "random"])
def test_banks_and_teacher_come_back_from_their_state(start):
    first, second = (built(deep_net(seed), bank_start=start) for seed in (0, 1))
    first.losses(step(first.student, data_of()))
    first.after_step()
    state = {name: value.clone() for name, value in first.state_dict().items()}
    second.load_state_dict(state)
    assert all(torch.equal(second.state_dict()[name], value) for name, value in state.items())
    assert {"confidence", "shown"} <= state.keys()


def test_a_fresh_bank_is_uniform_or_drawn_from_the_runs_seed():
    def fresh(start):
        return Ael(AelConfig(name="ael", bank_start=start), deep_kit(deep_net(), unlabelled=IMAGES)).confidence

    assert torch.equal(fresh("uniform"), torch.full((CLASSES,), 1 / CLASSES, dtype=torch.float64))
    assert torch.equal(fresh("random"), fresh("random"))
    assert len(set(fresh("random").tolist())) == CLASSES


def test_the_pair_is_the_mixed_teacher_and_the_student_of_the_mixed_images():
    for pairs in (True, False):
        model = deep_net()
        found = built(model, pairs=pairs).losses(step(model, data_of())).pairs
        assert bool(found) == pairs
        for pair in found:
            assert not pair.teacher.requires_grad
            assert pair.student.requires_grad
            assert pair.teacher.shape == pair.student.shape == (B, CLASSES, SIDE, SIDE)


def test_a_step_draws_nothing_from_the_global_random_state():
    model = deep_net()
    method = built(model)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    method.losses(step(model, data_of()))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
