"""UCC against straight-line code from its equations, in float64."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.trainers.methods.deep_nets import deep_context, deep_net, same_gradients, shuffled
from tests.trainers.methods.nets import CLASSES, SIDE, batch, step_of
from trainers.methods.mixing import image_generators
from trainers.methods.ucc import COPY_PASTE, Ucc, UccConfig

B = 2
SEEN = torch.tensor([90.0, 10.0, 3.0], dtype=torch.float64)


def built(model, *, pairs=False, **changes):
    method = Ucc(UccConfig(**{"name": "ucc", "cross_weight": 0.7, **changes}), deep_context(model, pairs=pairs))
    shuffled(method.head, 4)
    method.seen = SEEN.clone()
    return method


def resized(coarse):
    return F.interpolate(coarse, (SIDE, SIDE), mode="bilinear", align_corners=True)


@pytest.mark.parametrize("changes", [{}, {"reweight": False, "copy_paste_p": 1, "copy_paste_classes": 2}])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_loss_is_that_of_its_equation(changes, seed):
    model, data = deep_net(), batch(1, boxes=0, partner=False, seed=seed)
    method = built(model, **changes)
    config, labelled, view = method.config, data.labelled, data.unlabelled.view
    twin, head = copy.deepcopy(model).train(), copy.deepcopy(method.head).train()
    seen = [float(SEEN[c]) + int((labelled.mask == c).sum()) for c in range(CLASSES)]
    images, label, ignore = view.strong[0].clone(), torch.full((B, SIDE, SIDE), -1), view.ignore.clone()
    for b, rng in enumerate(image_generators(data, COPY_PASTE)):
        if rng.random() >= config.copy_paste_p:
            continue
        shown = sorted(set(labelled.mask[b].flatten().tolist()) - {255})
        weights = np.array([1 / seen[c] for c in shown])
        count = min(config.copy_paste_classes, len(shown))
        for c in rng.choice(shown, size=count, replace=False, p=weights / weights.sum()).tolist():
            for i in range(SIDE):
                for j in range(SIDE):
                    if labelled.mask[b, i, j] == c:
                        images[b, :, i, j], label[b, i, j], ignore[b, i, j] = labelled.image[b, :, i, j], c, 0

    def heads(batch_of_images):
        features = twin(batch_of_images, features=True)
        return features.logits, resized(head.classify(head.fuse(torch.cat(features.maps, 1))))

    clean, strong = heads(torch.cat([labelled.image, view.weak])), heads(images)
    p = [F.softmax(one[B:].detach(), 1) for one in clean]
    expected = {}
    for learner, teacher, name in ((0, 1, ""), (1, 0, "_second")):
        expected[f"supervised{name}"] = F.cross_entropy(clean[learner][:B], labelled.mask, ignore_index=255)
        total = 0.0
        for b in range(B):
            for i in range(SIDE):
                for j in range(SIDE):
                    if ignore[b, i, j] == 255:
                        continue
                    mine, theirs = p[learner][b, :, i, j], p[teacher][b, :, i, j]
                    weight, target = torch.exp(-(theirs * (theirs / mine).log()).sum()), theirs.argmax()
                    if label[b, i, j] >= 0:
                        weight, target = 1.0, label[b, i, j]
                    ce = F.cross_entropy(strong[learner][b, :, i, j], target)
                    total = total + (weight if config.reweight else 1.0) * ce
        expected[f"cross{name}"] = total / int((ignore != 255).sum())
    output = method.losses(step_of(model, data))
    assert output.weights == {"supervised": 1, "supervised_second": 1, "cross": 0.7, "cross_second": 0.7}
    for name, value in expected.items():
        assert float(output.terms[name].detach()) == pytest.approx(float(value.detach()), rel=1e-5), name
    sum(output.weights[name] * term for name, term in output.terms.items()).backward()
    sum(output.weights[name] * term for name, term in expected.items()).backward()
    same_gradients([model, method.head], [twin, head])
    torch.testing.assert_close(method.seen, torch.tensor(seen, dtype=torch.float64))


def test_rare_classes_are_pasted_more_often():
    method, pasted = built(deep_net(), copy_paste_p=1), torch.zeros(CLASSES)
    for seed in range(200):
        data = batch(1, boxes=0, partner=False)
        data.labelled.mask.copy_(torch.arange(SIDE).expand(B, SIDE, SIDE) % CLASSES)
        seeded = type(data)(labelled=data.labelled, unlabelled=data.unlabelled, seed=seed)
        where = method.pasted(seeded, [list(range(CLASSES))] * B)
        pasted += torch.bincount(data.labelled.mask[where], minlength=CLASSES)
    share = pasted / pasted.sum()
    expected = (1 / SEEN) / (1 / SEEN).sum()
    assert torch.allclose(share.double(), expected, atol=0.06)


def test_nothing_is_pasted_from_an_image_without_labels():
    method, data = built(deep_net(), copy_paste_p=1), batch(1, boxes=0, partner=False)
    data.labelled.mask[0] = 255
    where = method.pasted(data, [[], [0, 1, 2]])
    assert not where[0].any()
    assert where[1].any()


def test_pairs_are_both_directions_without_pasted_pixels():
    for pairs in (True, False):
        model, data = deep_net(), batch(1, boxes=0, partner=False)
        method = built(model, pairs=pairs, copy_paste_p=1)
        found = method.losses(step_of(model, data)).pairs
        assert len(found) == (2 if pairs else 0)
        for pair in found:
            assert not pair.teacher.requires_grad
            assert pair.student.requires_grad
            shown = [sorted(set(mask.flatten().tolist()) - {255}) for mask in data.labelled.mask]
            assert (pair.ignore[method.pasted(data, shown)] == 255).all()
            assert (pair.ignore != 255).any()


def test_the_second_network_is_the_students_encoder_with_the_other_head():
    model = deep_net()
    method, images = built(model), torch.randn(1, 3, SIDE, SIDE, dtype=torch.float64)
    networks = method.networks()
    for network in networks.values():
        network.eval()
    features = model(images, features=True)
    expected = resized(method.head.tail(method.head.join(features.maps, None).neck))
    torch.testing.assert_close(networks["second"](images), expected)
    assert not torch.allclose(networks["second"](images), networks["student"](images))


def test_class_counts_come_back_from_their_state():
    first, second = built(deep_net()), built(deep_net())
    first.losses(step_of(first.student, batch(1, boxes=0)))
    second.load_state_dict({name: value.clone() for name, value in first.state_dict().items()})
    assert torch.equal(first.seen, second.seen)
    assert not torch.equal(first.seen, SEEN)


def test_a_step_draws_nothing_from_the_global_random_state():
    model = deep_net()
    method = built(model, pairs=True)
    before = torch.get_rng_state()
    method.losses(step_of(model, batch(1, boxes=0)))
    assert torch.equal(torch.get_rng_state(), before)
