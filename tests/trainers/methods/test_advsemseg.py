"""AdvSemSeg against straight-line code from its equations, in float64."""

import copy

import pytest
import torch
from torch.nn import functional as F

from tests.trainers.methods.deep_nets import deep_context, deep_net, same_gradients, shuffled
from tests.trainers.methods.nets import CLASSES, SIDE, batch, step_of
from trainers.config import OptimConfig
from trainers.loop.optim import build_optimizer
from trainers.methods.advsemseg import AdvSemSeg, AdvSemSegConfig
from trainers.methods.discriminators import PixelDiscriminator

B = 2


def built(model, *, pairs=False, **changes):
    config = AdvSemSegConfig(**{"name": "advsemseg", "discriminator_width": 3, "self_training_start": 0, **changes})
    method = AdvSemSeg(config, deep_context(model, pairs=pairs))
    shuffled(method.discriminator, 4)
    with torch.no_grad():  # judgements on both sides of the threshold
        said = method.discriminator(torch.randn(8, CLASSES, SIDE, SIDE, dtype=torch.float64).softmax(1))
        method.discriminator.classify.weight.mul_(2 / said.std())
        method.discriminator.classify.bias.mul_(0).add_(-2 * said.mean() / said.std())
    return method


def judged(weights, maps):
    """The discriminator by its definition: maps with zeros up to 32 pixels, five convolutions, brought to size."""
    whole = torch.zeros(len(maps), CLASSES, 32, 32, dtype=torch.float64)
    whole[:, :, :SIDE, :SIDE] = maps
    for n in range(4):
        whole = F.conv2d(whole, weights[f"halve.{n}.0.weight"], weights[f"halve.{n}.0.bias"], stride=2, padding=1)
        whole = torch.where(whole > 0, whole, 0.2 * whole)
    whole = F.conv2d(whole, weights["classify.weight"], weights["classify.bias"], stride=2, padding=1)
    whole = F.interpolate(whole, size=(32, 32), mode="bilinear", align_corners=True)
    return whole[:, 0, :SIDE, :SIDE]


def mean_over(values, where):
    """Pixel by pixel."""
    total, count = 0.0, 0
    for b in range(len(values)):
        for i in range(SIDE):
            for j in range(SIDE):
                if where[b, i, j]:
                    total, count = total + values[b, i, j], count + 1
    return total / max(count, 1)


def expected(twin, weights, data, *, thresh=0.2, unlabelled=True):
    """All terms. ``weights``: the discriminator's, with gradient; held where the student learns from it."""
    held = {name: weight.detach() for name, weight in weights.items()}
    twin.train()
    q_u, q_l = twin(data.unlabelled.view.weak), twin(data.labelled.image)
    known, seen = data.labelled.mask != 255, data.unlabelled.view.ignore != 255
    d_l, d_u = (torch.sigmoid(judged(held, q.softmax(1))) for q in (q_l, q_u))
    one_hot = torch.zeros(B, CLASSES, SIDE, SIDE, dtype=torch.float64)
    for c in range(CLASSES):
        one_hot[:, c][data.labelled.mask == c] = 1
    trusted = seen & (d_u >= thresh)
    own = F.cross_entropy(q_u, q_u.argmax(1), reduction="none")
    maps, among = q_l.softmax(1), known
    if unlabelled:
        maps, among = torch.cat([maps, q_u.softmax(1)]), torch.cat([known, seen])
    fake, real = torch.sigmoid(judged(weights, maps.detach())), torch.sigmoid(judged(weights, one_hot))
    return {
        "supervised": F.cross_entropy(q_l, data.labelled.mask, ignore_index=255),
        "labelled_adversarial": mean_over(-d_l.log(), known),
        "unlabelled_adversarial": mean_over(-d_u.log(), seen),
        "self_training": mean_over(own, trusted),
        "discriminator": (mean_over(-(1 - fake).log(), among) + mean_over(-real.log(), known)) / 2,
    }, trusted


@pytest.mark.parametrize("unlabelled", [True, False])
def test_terms_and_gradients_are_those_of_the_equations(unlabelled):
    model, data = deep_net(), batch(0)
    weights = {"labelled_adversarial": 0.3, "unlabelled_adversarial": 0.2, "self_training": 0.5}
    given = {f"{name}_weight": weight for name, weight in weights.items()}
    method = built(model, trust_thresh=0.4, unlabelled_predictions=unlabelled, **given)
    twin = copy.deepcopy(model)
    own = copy.deepcopy(method.discriminator)
    terms, trusted = expected(twin, dict(own.named_parameters()), data, thresh=0.4, unlabelled=unlabelled)
    assert 0 < int(trusted.sum()) < trusted.numel() * 0.9
    output = method.losses(step_of(model, data))
    assert output.weights == {"supervised": 1, "discriminator": 1, **weights}
    for name, term in terms.items():
        assert float(output.terms[name].detach()) == pytest.approx(float(term.detach()), rel=1e-9), name
    sum(output.weights[name] * term for name, term in output.terms.items()).backward()
    sum(output.weights[name] * term for name, term in terms.items()).backward()
    same_gradients((model, method.discriminator), (twin, own))


def test_the_student_learns_its_own_classes_from_the_start_on_only():
    model, data = deep_net(), batch(0)
    method = built(model, self_training_start=0.4)
    for step, weight in ((3, 0), (4, 0.1)):  # of 10
        assert method.losses(step_of(model, data, step=step)).weights["self_training"] == weight


def test_where_no_pixel_is_trusted_the_term_is_nothing_and_the_others_stay():
    model, data = deep_net(), batch(0)
    output = built(model, trust_thresh=1.0).losses(step_of(model, data))
    assert float(output.terms["self_training"].detach()) == 0
    assert float(output.terms["unlabelled_adversarial"].detach()) > 0


def test_a_strong_view_is_taught_for_the_inter_pixel_loss_alone():
    model, data = deep_net(), batch(1)
    method, twin = built(model, pairs=True), copy.deepcopy(model).train()
    weak = twin(data.unlabelled.view.weak)
    twin(data.labelled.image)
    (pair,) = method.losses(step_of(model, data)).pairs
    torch.testing.assert_close(pair.teacher, weak.detach())
    torch.testing.assert_close(pair.student, twin(data.unlabelled.view.strong[0]))
    assert method.needs.strong == 1
    plain = built(model)
    assert plain.needs.strong == 0
    assert plain.losses(step_of(model, data)).pairs == ()


def test_the_discriminator_has_adam_with_its_own_rate_and_betas():
    one = built(deep_net(), discriminator_lr=3e-4).trained()["discriminator"]
    optimizer = build_optimizer(one.module, None, OptimConfig(), adam_lr=one.adam_lr, adam_betas=one.adam_betas)
    assert isinstance(optimizer, torch.optim.Adam)
    assert [(group["lr"], group["betas"]) for group in optimizer.param_groups] == [(3e-4, (0.9, 0.99))]


def test_a_judgement_does_not_depend_on_the_other_images_and_has_the_maps_size():
    net = PixelDiscriminator(CLASSES, width=2)
    maps = torch.rand(2, CLASSES, 45, 70, generator=torch.Generator().manual_seed(0))
    whole = net(maps)
    assert whole.shape == (2, 45, 70)
    torch.testing.assert_close(net(maps[:1]), whole[:1])
    assert bool(whole.isfinite().all())
