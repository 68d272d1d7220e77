"""AEL against straight-line code from its step, in float64: banks, regions, sampling and pasting by brute force."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.trainers.methods.deep_nets import deep_context, deep_net, same_gradients, shuffled
from tests.trainers.methods.nets import CLASSES, SIDE, batch, step_of
from trainers.common.errors import ConfigError
from trainers.interface.step import OnDemandCrops
from trainers.methods.ael import (
    COPY_PASTE,
    PARTNER,
    SAMPLING_LABELLED,
    SAMPLING_UNLABELLED,
    Ael,
    AelConfig,
    region,
)
from trainers.methods.mixing import half_box, image_generators
from trainers.methods.pasting import by_need

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


def resized(index, draw, scale):
    """A crop that depends on the range of sizes."""
    assert scale == (0.1, 2.0)
    image, mask = crop(index, draw, 0)
    return image + scale[0], mask


ASKED = OnDemandCrops(
    labelled=lambda i, d, *, scale=None: resized(i, d, scale),
    unlabelled=lambda i, d: crop(i, d, 1),
    classes=lambda: SHOWN,
)


def built(model, *, pairs=False, **changes):
    small = {"region_area": ONE_PIXEL, "bank_area": ONE_PIXEL}
    config = AelConfig(**{"name": "ael", "conf_thresh": 0.4, "copy_paste_p": 0.5, **small, **changes})
    method = Ael(config, deep_context(model, pairs=pairs, unlabelled=IMAGES))
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
    {"adaptive_sampling": False, "copy_paste_p": 1, "copy_paste_classes": 3, "copy_paste_never": (1, 9)},
    {"adaptive_cutmix": False, "copy_paste_p": 0},
    {"sampling_class": "teacher", "consistency_mean": "joint", "region_area": 0.2, "bank_area": 0.3},
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
            weights = np.exp(np.sqrt(1 - CONFIDENCE.numpy()))
            weights[[c for c in range(CLASSES) if c in config.copy_paste_never]] = 0
            chosen = rng.choice(CLASSES, size=config.copy_paste_classes, p=weights / weights.sum())
            for c in sorted(set(chosen.tolist())):
                assert c not in config.copy_paste_never
                having = [n for n in range(len(SHOWN)) if c in SHOWN[n]]
                image, mask = resized(having[rng.integers(len(having))], int(rng.integers(2**31)), (0.1, 2.0))
                for i in range(SIDE):
                    for j in range(SIDE):
                        if mask[i, j] == c:
                            images[b, :, i, j], masks[b, i, j] = image[:, i, j], c
    boxes, partners, padding = np.zeros((B, SIDE, SIDE), bool), view.weak.clone(), view.ignore.clone()
    rngs, classes, asked = image_generators(data, PARTNER), [], []
    with torch.no_grad():
        if config.adaptive_cutmix:
            for b, rng in enumerate(rngs):
                classes.append(drawn_class(rng))
                having = [n for n in range(IMAGES) if {1: [4], 2: [0, 5]}.get(classes[b], range(IMAGES)).count(n)]
                asked.append(having[rng.integers(len(having))])
                partners[b], padding[b] = crop(asked[b], int(rng.integers(2**31)), 1)
            own, theirs = teacher(torch.cat([view.weak, partners])).chunk(2)
            for b, rng in enumerate(rngs):
                seen = np.array([[int(theirs[b, :, i, j].argmax()) == classes[b] and int(padding[b, i, j]) != 255
                                  for j in range(SIDE)] for i in range(SIDE)])  # fmt: skip
                boxes[b] = region(seen, rng, least=config.region_area).numpy()
        else:
            own = theirs = teacher(view.weak)
        taught = [teacher(images), torch.where(torch.from_numpy(boxes)[:, None], theirs, own)]
    ignore = [
        torch.where(masks == 255, 255, 0),
        torch.where(torch.from_numpy(boxes), padding, view.ignore),
    ]
    mixed = torch.where(torch.from_numpy(boxes)[:, None], partners, view.weak)
    clean, strong = twin(images), twin(mixed)
    bank = CONFIDENCE.clone()
    for c in range(CLASSES):
        right = [float(F.softmax(clean[b, :, i, j].detach(), 0)[c]) for b, i, j in pixels() if masks[b, i, j] == c]
        if right or config.bank_absent == "decay":
            mean = sum(right) / max(len(right), 1)
            bank[c] = config.bank_momentum * bank[c] + (1 - config.bank_momentum) * mean
    need = [(1 - float(one)) / (1 - min(bank.tolist())) for one in bank]
    sums = []
    streams = (SAMPLING_LABELLED, SAMPLING_UNLABELLED)
    for logits, soft, skipped, stream in zip((clean, strong), taught, ignore, streams, strict=True):
        drawn = [rng.random((SIDE, SIDE)) for rng in image_generators(data, stream)]
        above, below = 0.0, 0.0
        for b, i, j in pixels():
            conf, c = (float(one) for one in F.softmax(soft[b, :, i, j], 0).max(0))
            seen = int(logits[b, :, i, j].argmax()) if config.sampling_class == "student" else int(c)
            kept = not config.adaptive_sampling or drawn[b][i, j] < need[seen]
            if skipped[b, i, j] == 255 or not kept:
                continue
            below += conf**config.gamma
            if conf >= config.conf_thresh:
                above = above + conf**config.gamma * F.cross_entropy(logits[b, :, i, j], torch.tensor(int(c)))
        sums.append((above, below))
    joint = sums[0][1] + sums[1][1]
    divisors = [joint, joint] if config.consistency_mean == "joint" else [below for _, below in sums]
    expected = {
        "supervised": F.cross_entropy(clean, masks, ignore_index=255),
        "consistency_labelled": sums[0][0] / max(divisors[0], 1),
        "consistency": sums[1][0] / max(divisors[1], 1),
    }
    output = method.losses(step(model, data))
    for name, value in expected.items():
        assert float(output.terms[name].detach()) == pytest.approx(float(value.detach()), rel=1e-5), name
    sum(output.terms.values()).backward()
    sum(expected.values()).backward()
    same_gradients([model], [twin])
    torch.testing.assert_close(method.confidence, bank)
    if not config.adaptive_cutmix:
        return
    remembered = {6: (own[0], view.ignore[0]), 2: (own[1], view.ignore[1])}
    for b, place in enumerate(asked):
        remembered[place] = theirs[b], padding[b]
    for index, (logits, ignored) in remembered.items():
        for c in range(CLASSES):
            area = sum(int(logits[:, i, j].argmax()) == c and int(ignored[i, j]) != 255
                       for i in range(SIDE) for j in range(SIDE))  # fmt: skip
            assert bool(method.shown[c, index]) == (area > 0 and area >= config.bank_area * SIDE**2)


def test_a_region_is_the_box_of_connected_pixels():
    shown = np.zeros((8, 8), dtype=bool)
    shown[1:3, 1:4] = shown[5, 6] = shown[6, 7] = True

    def found_of(least):
        boxes = [region(shown, np.random.default_rng(seed), least=least).numpy() for seed in range(20)]
        return {tuple(np.argwhere(box).ravel()) for box in boxes}

    first, second = np.zeros_like(shown), np.zeros_like(shown)
    first[1:3, 1:4] = second[5:7, 6:8] = True
    assert found_of(0) == {tuple(np.argwhere(one).ravel()) for one in (first, second)}
    assert found_of(6 / 64) == {tuple(np.argwhere(first).ravel())}


def test_where_no_region_is_large_enough_half_of_the_crop_is_pasted():
    shown = np.zeros((40, 40), dtype=bool)
    shown[:6, :6] = True
    for seed in range(20):
        box = region(shown, np.random.default_rng(seed), least=0.03)
        assert torch.equal(box, half_box(np.random.default_rng(seed), (40, 40)))
        assert 0.48 * 1600 <= int(box.sum()) <= 0.52 * 1600


def test_half_boxes_have_heights_from_half_to_all_of_the_images_and_lie_anywhere_in_it():
    boxes = torch.stack([half_box(np.random.default_rng(seed), (60, 40)) for seed in range(400)])
    heights = boxes.any(dim=2).sum(dim=1)
    assert 30 <= int(heights.min()) <= 32
    assert int(heights.max()) >= 59
    assert heights.double().median() == pytest.approx(60 * 0.5**0.5, abs=2)
    assert bool(boxes.any(dim=0).all())


def test_weak_classes_are_drawn_more_often_and_some_never():
    probability = by_need(CONFIDENCE)
    torch.testing.assert_close(torch.from_numpy(probability), F.softmax(1 - CONFIDENCE, dim=0))
    assert probability.argmax() == 1
    others = by_need(CONFIDENCE, power=0.5, never=(1, 9))
    pair = F.softmax((1 - CONFIDENCE[[0, 2]]).sqrt(), dim=0)
    assert others.tolist() == pytest.approx([float(pair[0]), 0, float(pair[1])])


def test_a_list_of_all_classes_that_are_never_pasted_is_refused():
    config = AelConfig(name="ael", copy_paste_never=(0, 1, 2))
    with pytest.raises(ConfigError, match=r"are all 3 classes; leave one out, or set method\.copy_paste_p: 0"):
        Ael(config, deep_context(deep_net(), unlabelled=IMAGES))


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
        return Ael(AelConfig(name="ael", bank_start=start), deep_context(deep_net(), unlabelled=IMAGES)).confidence

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
