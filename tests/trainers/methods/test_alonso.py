"""Alonso et al. against straight-line code from the equations, in float64: bank and quality filter by brute force."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from tests.trainers.methods.deep_nets import WIDTH, deep_context, deep_net, same_gradients, shuffled
from tests.trainers.methods.nets import CLASSES, SIDE, batch, put, step_of, swap
from trainers.interface.batch import Labelled, SemiBatch
from trainers.methods.alonso import Alonso, AlonsoConfig
from trainers.methods.bank import ClassBank
from trainers.methods.mixing import chosen_classes, drawn_images
from trainers.methods.supervised import supervised_loss

B, SMALL = 2, SIDE // 2
EARLY = {"name": "alonso", "pseudo_start": 0, "bank_start": 0, "contrast_start": 0, "memory_size": 5}


def built(model, *, labelled=10, pairs=False, **changes):
    method = Alonso(
        AlonsoConfig(**{**EARLY, "quality_thresh": 0.35, **changes}),
        deep_context(model, labelled=labelled, pairs=pairs),
    )
    method.teacher.network.load_state_dict(shuffled(deep_net(), 3).state_dict())
    shuffled(method.heads, 4)
    shuffled(method.head_teacher.network, 5)
    generator = torch.Generator().manual_seed(6)
    for label in range(CLASSES):
        method.bank.push(label, torch.randn(2, WIDTH, generator=generator, dtype=torch.float64))
    return method


def small(labels):
    """Every second label, as nearest resizing by half takes them."""
    return labels[:, ::2, ::2]


def places():
    return [(b, i, j) for b in range(B) for i in range(SMALL) for j in range(SMALL)]


def rows_where(features, keep):
    return [
        features[b, :, i, j]
        for b, i, j in [(b, i, j) for b in range(len(features)) for i in range(SMALL) for j in range(SMALL)]
        if keep(b, i, j)
    ]


def rating(selector, rows):
    return [torch.sigmoid(one) for one in selector(torch.stack(rows)[:, :, None, None]).flatten()]


def filled(bank, heads, features, mask, *, phi, most, order):
    """The bank, lists of rows by class, after this batch."""
    projected = heads.train().project(features.fused)
    p = F.softmax(features.coarse, dim=1)
    bank = [list(rows) for rows in bank]
    for c in range(CLASSES):
        found = rows_where(
            projected,
            lambda b, i, j, c=c: (
                int(mask[b, 2 * i, 2 * j]) == c == int(p[b, :, i, j].argmax()) and float(p[b, :, i, j].max()) > phi
            ),
        )
        if len(found) > most:
            scores = [float(one) for one in rating(heads.select_memory[c], found)]
            ranked = sorted(range(len(found)), key=lambda n: -scores[n] if order == "best" else scores[n])
            found = [found[n] for n in ranked[:most]][::-1]
        bank[c] = (bank[c] + found)[-5:]
    return bank


def contrast(heads, features, labels, bank, *, memory_weights):
    predicted = heads.predict(heads.project(features))
    total = 0.0
    for c in range(CLASSES):
        rows = rows_where(predicted, lambda b, i, j, c=c: int(labels[b, i, j]) == c)
        if len(rows) < 2 or len(bank[c]) < 2:
            continue
        mine, theirs = rating(heads.select[c], [row.detach() for row in rows]), rating(heads.select_memory[c], bank[c])
        if memory_weights == "one":
            theirs = [torch.ones(())] * len(theirs)
        pairs = [
            (mine[p] / (sum(mine) / len(mine)))
            * (theirs[z] / (sum(theirs) / len(theirs)))
            * (1 - rows[p] @ bank[c][z] / (rows[p].norm() * bank[c][z].norm()))
            for p in range(len(rows))
            for z in range(len(bank[c]))
        ]
        total = total + sum(pairs) / len(pairs)
    return total / CLASSES


@pytest.mark.parametrize(
    ("order", "memory_weights", "weighted"), [("best", "rows", False), ("worst", "one", False), ("best", "rows", True)]
)
def test_the_loss_is_that_of_its_equations(order, memory_weights, weighted):
    model, data = deep_net(), batch(2, boxes=0, partner=False)
    method = built(model, bank_order=order, memory_weights=memory_weights, class_weights=weighted, classmix_p=0.5)
    twin, heads = copy.deepcopy(model).train(), copy.deepcopy(method.heads).train()
    teacher, head_teacher = (copy.deepcopy(one.network).train() for one in (method.teacher, method.head_teacher))
    bank = [list(method.bank.of(c).clone()) for c in range(CLASSES)]
    view, labelled = data.unlabelled.view, data.labelled
    with torch.no_grad():
        own = teacher(view.weak)
        bank = filled(
            bank, head_teacher, teacher(labelled.image, features=True), labelled.mask, phi=0.35, most=2, order=order
        )
    masks = []
    for stream in range(2):
        chosen = chosen_classes(data, own.argmax(1), num_classes=CLASSES, fraction=0.5, more=1, last=0, stream=stream)
        masks.append(~chosen & drawn_images(data, probability=0.5, stream=stream)[:, None, None])
    images = torch.cat([put(view.strong[v], swap(view.strong[v]), masks[v]) for v in range(2)])
    soft = F.softmax(torch.cat([put(own, swap(own), masks[v]) for v in range(2)]), dim=1)
    ignore = torch.cat([put(view.ignore, swap(view.ignore), masks[v]) for v in range(2)])
    clean, strong = twin(labelled.image, features=True), twin(images, features=True)
    label = torch.where(ignore == 255, 255, soft.argmax(1))
    weights = torch.ones(CLASSES, dtype=torch.float64)
    if weighted:
        counts = [float((labelled.mask == c).sum() + (label == c).sum()) for c in range(CLASSES)]
        weights = torch.tensor([math.sqrt(sorted(counts)[1] / one) for one in counts], dtype=torch.float64)
    pseudo, entropy, valid = 0.0, 0.0, 0
    for b in range(2 * B):
        for i in range(SIDE):
            for j in range(SIDE):
                if ignore[b, i, j] != 255:
                    c, q = label[b, i, j], F.softmax(strong.logits[b, :, i, j], 0)
                    pseudo = pseudo - weights[c] * soft[b, c, i, j] ** 6 * q[c].log()
                    entropy = entropy - sum(q * torch.log2(q)) / math.log2(CLASSES)
                    valid += 1
    nll = F.cross_entropy(clean.logits, labelled.mask, ignore_index=255, reduction="none", weight=weights)
    expected = {
        "supervised": nll.sum() / sum(float(weights[c]) for c in labelled.mask.flatten() if c != 255),
        "pseudo": pseudo / (2 * B * SIDE * SIDE),
        "entropy": entropy / valid,
        "contrast": contrast(heads, clean.fused, small(labelled.mask), bank, memory_weights=memory_weights)
        + contrast(heads, strong.fused, small(label), bank, memory_weights=memory_weights),
    }
    output = method.losses(step_of(model, data))
    assert output.weights == {"supervised": 1, "pseudo": 1, "entropy": 0.01, "contrast": 0.1}
    for c in range(CLASSES):
        torch.testing.assert_close(method.bank.of(c), torch.stack(bank[c]))
    for name, value in expected.items():
        assert float(output.terms[name].detach()) == pytest.approx(float(value.detach()), rel=1e-5), name
    (sum(output.terms.values())).backward()
    sum(expected.values()).backward()
    same_gradients((model, method.heads), (twin, heads))
    assert any(parameter.grad is not None for parameter in method.heads.select_memory.parameters()) == (
        memory_weights == "rows"
    )


def test_the_batch_above_fills_a_class_beyond_its_share_and_keeps_the_best():
    model, data = deep_net(), batch(2, boxes=0, partner=False)
    method = built(model, memory_size=5)
    features = copy.deepcopy(method.teacher.network).train()(data.labelled.image, features=True)
    good = (features.coarse.argmax(1) == small(data.labelled.mask)) & (F.softmax(features.coarse, 1).amax(1) > 0.35)
    assert max(int((good & (small(data.labelled.mask) == c)).sum()) for c in range(CLASSES)) > 2


def test_before_their_starts_pseudo_labels_have_no_weight_and_the_bank_stays_empty():
    model = deep_net()
    config = AlonsoConfig(name="alonso", pseudo_start=0.5, bank_start=0.5, contrast_start=0.5)
    method = Alonso(config, deep_context(model))
    output = method.losses(step_of(model, batch(2, boxes=0, partner=False)))
    assert output.weights["pseudo"] == 0
    assert float(output.terms["contrast"]) == 0
    assert int(method.bank.count.sum()) == 0


def test_the_teachers_decay_rises_along_a_cosine():
    model = deep_net()
    method = built(model, ema_decay=0.9)
    for step, expected in ((0, 0.9), (5, 0.95), (10, 1.0)):
        method.losses(step_of(model, batch(2, boxes=0, partner=False), step=step))
        assert method.decay == pytest.approx(expected)


def test_all_state_goes_round():
    first, second = built(deep_net(0)), Alonso(AlonsoConfig(**EARLY), deep_context(deep_net(1), labelled=10))
    first.after_step()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert first.state_dict().keys() == second.state_dict().keys()
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_both_mixed_views_are_offered_to_the_inter_pixel_loss():
    model = deep_net()
    pairs = built(model, pairs=True).losses(step_of(model, batch(2, boxes=0, partner=False))).pairs
    assert [pair.view for pair in pairs] == ["s1", "s2"]
    assert all(pair.student.requires_grad and not pair.teacher.requires_grad for pair in pairs)


def test_a_bank_keeps_the_newest_rows_of_each_class():
    bank, kept = ClassBank(2, size=3, width=1), []
    for number in range(7):
        bank.push(1, torch.tensor([[float(number)], [number + 0.5]]))
        kept = [*kept, float(number), number + 0.5][-3:]
        assert bank.of(1).flatten().tolist() == kept
    assert len(bank.of(0)) == 0


@pytest.mark.parametrize(
    ("shown", "counts"),
    [([0], {0}), ([1], {1}), ([0, 1], {1}), ([1, 2], {1, 2}), ([0, 1, 2, 3, 4], {1, 2, 3, 4}), ([3, 4, 5], {3, 4, 5})],
)
def test_half_of_the_classes_and_one_stay_and_the_background_only_where_it_is_alone(shown, counts):
    """`counts`: classes that may stay."""
    prediction = torch.full((B, SIDE, SIDE), 255)
    prediction[:, 1] = torch.tensor(shown)[torch.arange(SIDE) % len(shown)]
    number, seen = min(len(counts) // 2 + 1, len(counts)), set()
    for seed in range(20):
        data = batch(0)
        data = SemiBatch(labelled=data.labelled, unlabelled=data.unlabelled, seed=seed)
        where = chosen_classes(data, prediction, num_classes=6, fraction=0.5, more=1, last=0)
        for image, one in zip(where, prediction, strict=True):
            stay = set(one[image].tolist())
            assert len(stay) == number
            assert stay <= counts
            assert torch.equal(image, torch.isin(one, torch.tensor(sorted(stay))))
            seen |= stay
    assert seen == counts


def test_without_a_background_all_classes_may_stay():
    prediction = torch.zeros(B, SIDE, SIDE, dtype=torch.int64)
    prediction[:, :2] = 1
    assert chosen_classes(batch(0), prediction, num_classes=2, fraction=0.5, more=1).all()


def test_weighted_cross_entropy_is_a_weighted_mean():
    model, data = deep_net(), batch(2, boxes=0, partner=False)
    weights = torch.tensor([0.2, 3.0, 1.1], dtype=torch.float64)
    logits = torch.randn(B, CLASSES, SIDE, SIDE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = supervised_loss(logits, data.labelled, step_of(model, data), None, weights=weights)
    torch.testing.assert_close(found, F.cross_entropy(logits, data.labelled.mask, weight=weights, ignore_index=255))


def test_drawn_images_and_classes_of_two_processes_are_those_of_one():
    whole = batch(0)
    both = Labelled(image=whole.labelled.image.repeat(2, 1, 1, 1), mask=whole.labelled.mask.repeat(2, 1, 1))
    one = SemiBatch(labelled=both, unlabelled=whole.unlabelled, seed=5)
    prediction = torch.randint(0, CLASSES, (4, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    draws = drawn_images(one, probability=0.5, stream=1)
    chosen = chosen_classes(one, prediction, num_classes=CLASSES, fraction=0.5)
    for rank in range(2):
        part = SemiBatch(labelled=whole.labelled, unlabelled=whole.unlabelled, seed=5, rank=rank, world=2)
        mine = slice(2 * rank, 2 * rank + 2)
        assert torch.equal(drawn_images(part, probability=0.5, stream=1), draws[mine])
        assert torch.equal(chosen_classes(part, prediction[mine], num_classes=CLASSES, fraction=0.5), chosen[mine])
