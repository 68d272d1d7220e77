"""PseudoSeg against straight-line code from its steps, in float64; activation maps by their closed form."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from tests.trainers.methods.deep_nets import HIGH, deep_context, deep_net, same_gradients, shuffled
from tests.trainers.methods.nets import CLASSES, SIDE, batch, step_of
from trainers.interface.batch import Labelled, SemiBatch, Unlabelled
from trainers.methods.pseudoseg import PseudoSeg, PseudoSegConfig

B, SMALL = 2, SIDE // 2


def built(model, *, pairs=False, **changes):
    method = PseudoSeg(PseudoSegConfig(name="pseudoseg", attention_dim=4, **changes), deep_context(model, pairs=pairs))
    shuffled(method.heads, 4)
    return method


def known_classes(data, presence):
    unlabelled = data.unlabelled
    return SemiBatch(
        labelled=data.labelled,
        unlabelled=Unlabelled(view=unlabelled.view, boxes=(), partner=None, presence=presence),
        seed=data.seed,
    )


def maps_of(heads, high, present):
    """With a linear classifier of the mean, the gradient of logit k by a pixel's channel c is w_kc / (h w)."""
    weight = heads.classifier.weight.detach()
    result = torch.zeros(B, len(weight), SMALL, SMALL, dtype=torch.float64)
    for b in range(B):
        for k in range(len(weight)):
            if present[b, k]:
                one = torch.stack([weight[k, c] / SMALL**2 * high[b, c] for c in range(HIGH)]).sum(0).clamp(min=0)
                result[b, k] = one / one.max() if one.max() > 0 else one
    return result


def refined(heads, features, valid, present, *, background):
    """m, pixel by pixel."""
    middle, high = features.middle.detach(), features.high.detach()
    cams = maps_of(heads, high, present)
    both = torch.cat([middle, high], 1)
    pixels = [(i, j) for i in range(SMALL) for j in range(SMALL)]
    query, key = heads.query(both), heads.key(both)
    images = []
    for b in range(B):
        keys = [(i, j) for i, j in pixels if valid[b, 2 * i, 2 * j]]
        rows = []
        for i, j in pixels:
            a = torch.stack([query[b, :, i, j] @ key[b, :, m, n] / math.sqrt(4) for m, n in keys]).softmax(0)
            score = sum(a[n] * cams[b, :, keys[n][0], keys[n][1]] for n in range(len(keys))) + cams[b, :, i, j]
            channels = list(score)
            if background is not None:
                channels.insert(background, 2 - score.max())
            rows.append(torch.stack(channels))
        images.append(torch.stack(rows, 1).view(CLASSES, SMALL, SMALL))
    return heads.out(torch.stack(images))


CASES = [
    {"conf_thresh": 0.45},
    {"background": None, "normaliser": "l2", "conf_thresh": 0.5, "temperature": 0.1},
    {"image_labels": True, "fusion": 0.3, "temperature": 0.7, "conf_thresh": 0.5},
]


@pytest.mark.parametrize("changes", CASES)
def test_the_loss_is_that_of_its_steps(changes):
    presence = torch.tensor([[True, True, False], [True, False, True]])
    model, data = deep_net(), known_classes(batch(1, boxes=0, partner=False), presence)
    method = built(model, pseudo_weight=0.8, cutout=0.5, **changes)
    twin, heads, config = copy.deepcopy(model), copy.deepcopy(method.heads).train(), method.config
    view, labelled, hole = data.unlabelled.view, data.labelled, method.holes(data)
    kept_classes = [c for c in range(CLASSES) if c != config.background]
    twin.train()
    weak, clean = twin(view.weak, features=True), twin(labelled.image, features=True)
    strong = twin(torch.where(hole[:, None], 0.0, view.strong[0]), features=True)
    twin.eval()
    with torch.no_grad():
        seen = twin(view.weak, features=True)
    found = (heads.classifier(seen.high.mean((2, 3))).sigmoid() >= 0.5).detach()
    known = presence[:, kept_classes] if config.image_labels else found
    m = refined(heads, seen, view.ignore != 255, known, background=config.background).detach()
    p = weak.coarse.detach()
    entries = [float(x) ** 2 for x in (*p.flatten(), *m.flatten())]
    scale = math.sqrt(sum(entries) / (len(entries) if config.normaliser == "rms" else 1))
    total, count, used = 0.0, 0, 0
    for b in range(B):
        for i in range(SMALL):
            for j in range(SMALL):
                if view.ignore[b, 2 * i, 2 * j] == 255 or hole[b, 2 * i, 2 * j]:
                    continue
                count += 1
                mixture = config.fusion * F.softmax(p[b, :, i, j] / scale, 0)
                mixture = mixture + (1 - config.fusion) * F.softmax(m[b, :, i, j] / scale, 0)
                sharp = mixture ** (1 / config.temperature)
                sharp = sharp / sharp.sum()
                if sharp.max() >= config.conf_thresh:
                    used += 1
                    total = total - sharp @ F.log_softmax(strong.coarse[b, :, i, j], 0)
    assert 0 < used < count < B * SMALL * SMALL
    truth = torch.tensor([[float((labelled.mask[b] == c).any()) for c in kept_classes] for b in range(B)]).double()
    on_labelled = refined(heads, clean, labelled.mask != 255, truth > 0, background=config.background)
    source = weak if config.image_labels else clean
    truth = known.double() if config.image_labels else truth
    p_class = heads.classifier(source.high.mean((2, 3))).sigmoid()
    expected = {
        "supervised": F.cross_entropy(clean.logits, labelled.mask, ignore_index=255),
        "pseudo": total / count,
        "classify": -(truth * p_class.log() + (1 - truth) * (1 - p_class).log()).mean(),
        "refine": F.cross_entropy(model.upsample(on_labelled, (SIDE, SIDE)), labelled.mask, ignore_index=255),
    }
    output = method.losses(step_of(model, data))
    assert output.weights == {"supervised": 1, "pseudo": 0.8, "classify": 1, "refine": 1}
    for name, value in expected.items():
        assert float(output.terms[name].detach()) == pytest.approx(float(value.detach()), rel=1e-5), name
    sum(output.terms.values()).backward()
    sum(expected.values()).backward()
    same_gradients((model, method.heads), (twin, heads))
    for mine, theirs in zip(model.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs)


def without_class(data, label):
    """The data with ``label`` in no mask, so that presence is not every class."""
    mask = torch.where(data.labelled.mask == label, 0, data.labelled.mask)
    return SemiBatch(
        labelled=Labelled(image=data.labelled.image, mask=mask), unlabelled=data.unlabelled, seed=data.seed
    )


def test_labelled_crops_take_their_maps_of_the_classes_that_their_masks_show():
    model, data = deep_net(), without_class(batch(1, boxes=0, partner=False), 2)
    method, asked = built(model), []
    inner = method.activation_maps

    def spied(high, present):
        asked.append(present)
        return inner(high, present)

    method.activation_maps = spied
    method.losses(step_of(model, data))
    assert asked[0] is None
    assert asked[1].tolist() == [[True, False], [True, False]]


def test_the_classifier_trains_the_encoder_with_the_batchs_statistics():
    model, data = deep_net(), batch(1, boxes=0, partner=False)
    method, twin = built(model), copy.deepcopy(model).train()
    with torch.no_grad():  # running statistics that would give another answer
        for module in (model, twin):
            for name, buffer in module.named_buffers():
                if "running_var" in name:
                    buffer.fill_(100.0)
    method.losses(step_of(model, data)).terms["classify"].backward()
    truth = torch.tensor([[float((one == c).any()) for c in (1, 2)] for one in data.labelled.mask]).double()
    high = twin(data.labelled.image, features=True).high
    logits = copy.deepcopy(method.heads.classifier)(high.mean((2, 3)))
    F.binary_cross_entropy_with_logits(logits, truth).backward()
    same_gradients([model.backbone], [twin.backbone])
    assert model.backbone.low[0].weight.grad.any()


def test_refining_activation_maps_trains_the_refinement_alone():
    model, data = deep_net(), batch(1, boxes=0, partner=False)
    method = built(model)
    method.losses(step_of(model, data)).terms["refine"].backward()
    assert not any(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
    assert method.heads.classifier.weight.grad is None
    assert method.heads.key.weight.grad.any()


def test_absent_classes_have_no_map_and_the_others_reach_one():
    model = deep_net()
    method = built(model)
    high = torch.randn(B, HIGH, SMALL, SMALL, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    maps = method.activation_maps(high, torch.tensor([[True, False], [True, True]]))
    assert not maps[0, 1].any()
    assert maps.amax((2, 3))[0, 0] == 1
    torch.testing.assert_close(maps, maps_of(method.heads, high, torch.tensor([[True, False], [True, True]])))


def test_without_a_valid_pixel_nothing_is_nan():
    model, data = deep_net(), batch(1, boxes=0, partner=False)
    data.labelled.mask.fill_(255)
    data.unlabelled.view.ignore.fill_(255)
    terms = built(model).losses(step_of(model, data)).terms
    assert all(bool(term.isfinite()) for term in terms.values())


def test_a_sharper_pseudo_label_is_nearer_to_one_class():
    model = deep_net()
    p, m = torch.randn(2, B, CLASSES, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    blunt, sharp = (built(model, temperature=t).fused(p, m) for t in (1.0, 0.2))
    torch.testing.assert_close(sharp.sum(1), torch.ones(B, 2, 2, dtype=torch.float64))
    assert bool((sharp.amax(1) > blunt.amax(1)).all())


def test_the_pair_leaves_out_padding_and_the_cut_square():
    model, data = deep_net(), batch(1, boxes=0, partner=False)
    method = built(model, pairs=True)
    (pair,) = method.losses(step_of(model, data)).pairs
    assert torch.equal(pair.ignore == 255, (data.unlabelled.view.ignore == 255) | method.holes(data))
    assert pair.student.requires_grad
    assert not pair.teacher.requires_grad
