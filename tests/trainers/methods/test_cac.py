"""CAC against straight-line code from its equations, cell by cell in float64."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from tests.trainers.methods.deep_nets import deep_context, deep_net, same_gradients, shuffled
from tests.trainers.methods.nets import CLASSES, count_or_one
from trainers.common.errors import ConfigError
from trainers.interface.batch import Labelled, SemiBatch, Unlabelled, View
from trainers.interface.step import Progress, Step
from trainers.methods.cac import Cac, CacConfig, shifted
from trainers.methods.projection import contrast_nll, pooled, whole_cells

B, SIDE, CELL = 2, 24, 8
OFFSETS = [[8, -8, 1, 0], [0, 8, 0, 1]]


def data(seed=0):
    generator = torch.Generator().manual_seed(seed)

    def images():
        return torch.randn(B, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)

    def view(padding):
        ignore = torch.zeros(B, SIDE, SIDE, dtype=torch.int64)
        ignore[0, SIDE - padding :] = 255
        return View(weak=images(), strong=(images(),), ignore=ignore)

    mask = torch.randint(0, CLASSES, (B, SIDE, SIDE), generator=generator)
    mask[0, :2] = 255
    unlabelled = Unlabelled(view=view(3), boxes=(), partner=None, second=view(0), offset=torch.tensor(OFFSETS))
    return SemiBatch(labelled=Labelled(image=images(), mask=mask), unlabelled=unlabelled, seed=11)


def built(model, *, pairs=False, **changes):
    settings = {"projection_width": 4, "supervised_epochs": 0, **changes}
    method = Cac(CacConfig(name="cac", **settings), deep_context(model, pairs=pairs))
    shuffled(method.head, 3)
    return method


def step_of(model, batch, *, step=3):
    progress = Progress(step=step, steps_per_epoch=2, total_steps=10)
    return Step(student=model, batch=batch, denominator=count_or_one, progress=progress)


def cells_of(model, head, view, flips):
    """By (image, row, column) of the unmirrored crop: feature, class, confidence, whether there is image."""
    seen, found = model(view.strong[0], features=True), {}
    for b in range(B):
        fused, coarse, ignore = seen.fused[b], seen.coarse[b].detach(), view.ignore[b]
        if flips[b]:
            fused, coarse, ignore = fused.flip(2), coarse.flip(2), ignore.flip(1)
        for i in range(SIDE // CELL):
            for j in range(SIDE // CELL):
                at = slice(4 * i, 4 * i + 4), slice(4 * j, 4 * j + 4)
                mean = fused[:, at[0], at[1]].mean(dim=(1, 2))
                z = F.normalize(head(mean[None, :, None, None])[0, :, 0, 0], dim=0)
                p = F.softmax(coarse[:, at[0], at[1]].mean(dim=(1, 2)), 0)
                image = not bool((ignore[8 * i : 8 * i + 8, 8 * j : 8 * j + 8] == 255).any())
                found[b, i, j] = z, int(p.argmax()), float(p.max()), image
    return found


def direction(own, other, sign, keys, *, thresh, t):
    total, count = 0.0, 0
    for (b, i, j), (z, label, p, image) in own.items():
        down, right = (sign * one // CELL for one in OFFSETS[b][:2])
        if (b, i - down, j - right) not in other:
            continue
        z2, _, p2, image2 = other[b, i - down, j - right]
        if not (image and image2 and p2 > thresh and p < p2):
            continue
        near = torch.exp(z @ z2.detach() / t)
        far = sum(torch.exp(z @ k.detach() / t) for k, c in keys if c != label)
        total, count = total - torch.log(near / (near + far)), count + 1
    return total / max(count, 1), count


def test_the_loss_is_that_of_its_equations_with_the_cells_of_the_step_before():
    model = shuffled(deep_net(), 2)
    method = built(model, conf_thresh=0.3, temperature=0.5)
    twin, head = copy.deepcopy(model).train(), copy.deepcopy(method.head.project)
    keys = []
    for number in range(2):
        batch = data(number)
        view, second = batch.unlabelled.view, batch.unlabelled.second
        output = method.losses(step_of(model, batch))
        for network in (model, twin):
            network.zero_grad()
        method.head.zero_grad()
        head.zero_grad()
        supervised = F.cross_entropy(twin(batch.labelled.image), batch.labelled.mask, ignore_index=255)
        first = cells_of(twin, head, view, [row[2] for row in OFFSETS])
        other = cells_of(twin, head, second, [row[3] for row in OFFSETS])
        keys.append([(z, c) for crop in (first, other) for z, c, _, image in crop.values() if image])
        known = [key for step in keys for key in step]
        there, some = direction(first, other, 1, known, thresh=0.3, t=0.5)
        back, more = direction(other, first, -1, known, thresh=0.3, t=0.5)
        assert some > 0
        assert more > 0
        expected = {"supervised": supervised, "contrast": there, "contrast_back": back}
        for name, term in output.terms.items():
            torch.testing.assert_close(term, expected[name], msg=lambda text, name=name: name + text)
        sum(output.weights[name] * term for name, term in output.terms.items()).backward()
        (supervised + 0.1 * (there + back)).backward()
        same_gradients((model, method.head.project), (twin, head))


def test_before_its_epochs_the_student_learns_from_labels_alone():
    model, batch = deep_net(), data()
    output = built(model, supervised_epochs=2, pairs=True).losses(step_of(model, batch, step=3))
    assert output.pairs is None
    assert float(output.terms["contrast"]) == 0


def test_as_many_earlier_steps_are_kept_as_are_asked_for_and_go_round():
    for steps, kept in ((0, 0), (2, 2)):
        model = deep_net()
        method = built(model, bank_steps=steps, samples=5)
        for number in range(4):
            method.losses(step_of(model, data(number)))
        assert len(method.bank) == kept
        other = built(deep_net(), bank_steps=steps, samples=5)
        other.load_state_dict(copy.deepcopy(method.state_dict()))
        assert len(other.bank) == kept
        for mine, theirs in zip(method.bank, other.bank, strict=True):
            assert mine[0].shape == (2 * 5, 4)
            assert all(torch.equal(*both) for both in zip(mine, theirs, strict=True))


def test_maps_are_placed_by_their_offset():
    maps = torch.arange(2 * 16.0).view(2, 1, 4, 4)
    found, inside = shifted(maps, torch.tensor([[1, -2], [0, 0]]))
    assert torch.equal(found[1], maps[1])
    assert inside[1].all()
    assert inside[0].nonzero().tolist() == [[i, j] for i in (1, 2, 3) for j in (0, 1)]
    assert torch.equal(found[0, 0, 1:, :2], maps[0, 0, :3, 2:])


def test_the_inter_pixel_loss_sees_the_surer_crop_of_either_pair():
    model, batch = shuffled(deep_net(), 2), data()
    output = built(model, pairs=True).losses(step_of(model, batch))
    first, second = output.pairs
    crops = (batch.unlabelled.view, batch.unlabelled.second)
    logits = [copy.deepcopy(model).train()(crop.strong[0]).detach() for crop in crops]
    one, other = (
        logits[0][0].flip(2),
        logits[1][0],
    )  # of image 0 the second is lower and to the left
    torch.testing.assert_close(first.teacher[0, :, 8:, :16], other[:, :16, 8:])
    torch.testing.assert_close(second.teacher[0, :, :16, 8:], one[:, 8:, :16])
    surer = other[:, :16, 8:].softmax(0).amax(0) > one[:, 8:, :16].softmax(0).amax(0)
    image = torch.ones(16, 16, dtype=torch.bool)
    image[-3:] = False
    assert torch.equal(first.ignore[0, 8:, :16] == 0, surer & image)
    assert bool((first.ignore[0, :8] == 255).all())
    assert torch.equal(second.ignore[0, :16, 8:] == 0, ~surer & image)
    assert first.student.requires_grad


def test_contrast_is_that_of_its_equation_slice_by_slice(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    anchors, positives, keys = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (5, 5, 7))
    labels, classes = torch.tensor([0, 1, 2, 0, 1]), torch.tensor([0, 1, 1, 255, 2, 0, 0])
    monkeypatch.setattr("trainers.methods.projection.PAIRS", 14)
    found = contrast_nll(anchors, positives, labels, keys, classes, temperature=0.7)
    for a in range(5):
        near = math.exp(float(anchors[a] @ positives[a]) / 0.7)
        far = sum(
            math.exp(float(anchors[a] @ keys[k]) / 0.7) for k in range(7) if classes[k] not in (int(labels[a]), 255)
        )
        assert float(found[a]) == pytest.approx(-math.log(near / (near + far)))


def test_features_too_coarse_for_the_cells_and_crops_too_small_are_refused():
    with pytest.raises(ConfigError, match="do not divide"):
        pooled(torch.zeros(1, 2, 2, 2), side=32, cell=8, method="cac")
    with pytest.raises(ConfigError, match="do not divide"):
        pooled(torch.zeros(1, 2, 16, 16), side=56, cell=8, method="cac")
    with pytest.raises(ConfigError, match="smaller than one"):
        pooled(torch.zeros(1, 2, 1, 1), side=4, cell=8, method="cac")
    assert pooled(torch.zeros(1, 2, 9, 9), side=33, cell=8, method="cac").shape == (1, 2, 4, 4)
    assert whole_cells(torch.zeros(1, 33, 33), cell=8).shape == (1, 4, 4)
