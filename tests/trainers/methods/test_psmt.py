"""PS-MT against straight-line code from its equations, in float64; the adversarial direction by finite differences."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.trainers.methods.deep_nets import deep_context, deep_net, same_gradients, shuffled
from tests.trainers.methods.nets import CLASSES, SIDE, batch, images, put, step_of, swap
from trainers.common.errors import ConfigError
from trainers.interface.batch import Labelled, SemiBatch
from trainers.losses.ramps import cosine_ramp
from trainers.methods.adversarial import adversarial_noise
from trainers.methods.mixing import centred_box, image_generators, noise
from trainers.methods.psmt import PsMt, PsMtConfig

B = 2


def published_noise(features, tails, start, *, xi, eps):
    """One power iteration with a finite step, each direction divided by its norm + 1e-8."""

    def divided(x):
        return torch.stack([one / (one.norm() + 1e-8) for one in x])

    with torch.no_grad():
        p = F.softmax(sum(tail(features) for tail in tails) / 2, dim=1)
    d = divided(start).requires_grad_()
    log_q = F.log_softmax(sum(tail(features + xi * d) for tail in tails) / 2, dim=1)
    apart = (p * (p.log() - log_q)).sum() / len(features)
    (gradient,) = torch.autograd.grad(apart, d)
    return eps * divided(gradient)


def drawn_features():
    features = torch.randn(B, 9, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    start = torch.randn(features.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return features, start, [shuffled(deep_net(), seed).eval().tail for seed in (3, 4)]


@pytest.mark.parametrize("xi", [1e-6, 1e-3, 0.1, 1.0])
def test_a_finite_step_is_that_of_the_public_code(xi):
    features, start, tails = drawn_features()
    found = adversarial_noise(features, tails, start, eps=2.0, xi=xi)
    torch.testing.assert_close(found, published_noise(features, tails, start, xi=xi, eps=2.0), rtol=1e-6, atol=1e-9)


def test_at_the_published_step_the_noise_nearly_vanishes_and_in_the_limit_it_has_its_norm():
    features, start, tails = drawn_features()

    def size(xi):
        return adversarial_noise(features, tails, start, eps=2.0, xi=xi).flatten(1).norm(dim=1)

    assert bool((size(1e-6) < 0.02).all())
    assert bool((size(0.1) > 1.99).all())
    assert size(None).tolist() == pytest.approx([2, 2])


def test_a_small_step_finds_the_direction_of_the_limit():
    features, start, tails = drawn_features()
    limit, step = (adversarial_noise(features, tails, start, eps=1.0, xi=xi) for xi in (None, 0.01))
    cosine = (limit * step).flatten(1).sum(dim=1) / step.flatten(1).norm(dim=1)
    assert bool((cosine > 0.99).all())


@pytest.mark.parametrize(("labelled", "batch_size", "steps"), [(12, 4, 15), (10, 4, 13), (662, 32, 104)])
def test_the_warm_up_is_passes_over_the_labelled_list(labelled, batch_size, steps):
    method = PsMt(PsMtConfig(name="psmt"), deep_context(deep_net(), labelled=labelled, batch_size=batch_size))
    assert method.warm == steps


def test_a_training_that_is_all_warm_up_is_refused():
    model, data = deep_net(), with_strong_labelled(batch(1, boxes=0, partner=False))
    with pytest.raises(ConfigError, match="10 passes over 4 labelled images in steps of 4 are 10 steps, the whole tra"):
        built(model, warmup_passes=10).losses(step_of(model, data))


def with_strong_labelled(data):
    labelled = data.labelled
    strong = images(torch.Generator().manual_seed(9))
    return SemiBatch(
        labelled=Labelled(image=labelled.image, mask=labelled.mask, strong=(strong,)),
        unlabelled=data.unlabelled,
        seed=data.seed,
    )


def built(model, *, pairs=False, **changes):
    """A pass over the labelled list is one step."""
    method = PsMt(PsMtConfig(name="psmt", **changes), deep_context(model, pairs=pairs, labelled=4, batch_size=4))
    for number, teacher in enumerate(method.teachers):
        teacher.network.load_state_dict(shuffled(deep_net(), 3 + number).state_dict())
    return method


def test_in_the_warm_up_all_three_networks_learn_from_labels_alone():
    model, data = deep_net(), with_strong_labelled(batch(1, boxes=0, partner=False))
    method = built(model, warmup_passes=5)
    twins = [copy.deepcopy(one).train() for one in (model, *(teacher.network for teacher in method.teachers))]
    output = method.losses(step_of(model, data, step=3))
    inputs = (data.labelled.strong[0], data.labelled.image, data.labelled.image)
    expected = [
        F.cross_entropy(twin(one), data.labelled.mask, ignore_index=255)
        for twin, one in zip(twins, inputs, strict=True)
    ]
    assert output.pairs is None
    assert list(output.terms) == ["supervised", "supervised_teacher1", "supervised_teacher2"]
    for term, value in zip(output.terms.values(), expected, strict=True):
        assert float(term.detach()) == pytest.approx(float(value.detach()), rel=1e-9)
    sum(output.terms.values()).backward()
    sum(expected).backward()
    same_gradients((model, *(teacher.network for teacher in method.teachers)), twins)


def kl_gradient(tails, features, direction, xi):
    """d KL(p(x) || p(x + r)) / dr at r = xi d, by automatic differentiation of the divergence itself."""
    with torch.no_grad():
        p = F.softmax(sum(tail(features) for tail in tails) / 2, dim=1)
    moved = (xi * direction).requires_grad_()
    log_q = F.log_softmax(sum(tail(features + moved) for tail in tails) / 2, dim=1)
    (gradient,) = torch.autograd.grad((p * (p.log() - log_q)).sum(), moved)
    return gradient


def unit(x):
    return torch.stack([one / one.norm() for one in x])


def test_the_noise_is_the_direction_of_one_power_iteration_with_a_small_step():
    features = torch.randn(B, 9, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    start = torch.randn(features.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    tails = [shuffled(deep_net(), seed).eval().tail for seed in (3, 4)]
    found = adversarial_noise(features, tails, start, eps=2.0)
    d, xi = unit(start), 1e-4
    central = kl_gradient(tails, features, d, xi) - kl_gradient(tails, features, d, -xi)
    torch.testing.assert_close(found, 2 * unit(central), rtol=1e-5, atol=1e-7)
    assert found.flatten(1).norm(dim=1).tolist() == pytest.approx([2, 2])


def test_the_noise_moves_the_prediction_more_than_one_of_equal_norm_along_its_start():
    features = torch.randn(B, 9, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    start = torch.randn(features.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    tail = shuffled(deep_net(), 3).eval().tail

    @torch.no_grad()
    def divergence(r):
        p, q = F.softmax(tail(features), 1), F.softmax(tail(features + r), 1)
        return float((p * (p / q).log()).sum())

    assert divergence(adversarial_noise(features, [tail], start, eps=0.1)) > 1.5 * divergence(0.1 * unit(start))


def decoder_of(network):
    """From decoder features to logits of the image's size."""
    return lambda features: F.interpolate(network.tail(features), (SIDE, SIDE), mode="bilinear", align_corners=True)


@pytest.mark.parametrize(("top", "step"), [(None, 3), (1, 3), (1, 4)])
def test_after_it_the_loss_is_that_of_its_equations(top, step):
    model, data = deep_net(), with_strong_labelled(batch(1, boxes=0, partner=False))
    method = built(model, warmup_passes=2, ramp=0.3, conf_thresh=0.45, assistant_top=top, vat_eps=0.7)
    twin = copy.deepcopy(model).train()
    teachers = [copy.deepcopy(teacher.network).train() for teacher in method.teachers]
    view, box = data.unlabelled.view, method.boxes(data)
    active = (step // 2) % 2
    with torch.no_grad():
        moving, resting = teachers[active](view.weak), teachers[1 - active](view.weak)
        if top:
            for b in range(B):
                for i in range(SIDE):
                    for j in range(SIDE):
                        best = int(resting[b, :, i, j].argmax())
                        for c in range(CLASSES):
                            if c != best:
                                resting[b, c, i, j] = moving[b, c, i, j]
        own = (moving + resting) / 2
    decoders = [decoder_of(teacher.eval()) for teacher in teachers]  # with the batch in their running statistics
    soft, ignore = F.softmax(put(own, swap(own), box), 1), put(view.ignore, swap(view.ignore), box)

    def perturbed(features, stream):
        start = noise(data, features, stream)
        central = sum(s * kl_gradient(decoders, features.detach(), unit(start), s * 1e-4) for s in (1, -1))
        return features + 0.7 * unit(central)

    clean = twin(data.labelled.strong[0], perturb=lambda features: perturbed(features, 1))
    mixed = twin(put(view.strong[0], swap(view.strong[0]), box), perturb=lambda features: perturbed(features, 2))
    total, count = 0.0, 0
    for b in range(B):
        for i in range(SIDE):
            for j in range(SIDE):
                conf, label = soft[b, :, i, j].max(0)
                if conf >= 0.45 and ignore[b, i, j] != 255:
                    total, count = total + conf * F.cross_entropy(mixed[b, :, i, j], label), count + 1
    assert 0 < count < B * SIDE * SIDE
    expected = {
        "supervised": F.cross_entropy(clean, data.labelled.mask, ignore_index=255),
        "consistency": total / count,
    }
    output = method.losses(step_of(model, data, step=step))
    ramp = 0.5 * (1 - math.cos(math.pi * (step - 2) / 3))
    assert output.weights == pytest.approx({"supervised": 1, "consistency": 1.5 * ramp})
    for name, value in expected.items():
        assert float(output.terms[name].detach()) == pytest.approx(float(value.detach()), rel=1e-5), name
    sum(output.terms.values()).backward()
    sum(expected.values()).backward()
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-5, atol=1e-7)
    assert all(parameter.grad is None for teacher in method.teachers for parameter in teacher.network.parameters())


def test_the_teachers_move_in_turns_of_an_epoch_and_not_in_the_warm_up():
    model, data = deep_net(), with_strong_labelled(batch(1, boxes=0, partner=False))
    method = built(model, warmup_passes=2, ema_decay=0.5)
    for step, moved in ((1, None), (2, 1), (3, 1), (4, 0), (5, 0), (6, 1)):
        weights = [dict(copy.deepcopy(teacher.network).named_parameters()) for teacher in method.teachers]
        method.losses(step_of(model, data, step=step))
        before = [copy.deepcopy(teacher.network) for teacher in method.teachers]
        method.after_step()
        for was, one in zip(weights, before, strict=True):
            assert all(torch.equal(value, was[name]) for name, value in one.named_parameters())
        for number, (was, teacher) in enumerate(zip(before, method.teachers, strict=True)):
            state = teacher.network.state_dict()
            for name, value in was.state_dict().items():
                if number == moved and value.is_floating_point():
                    torch.testing.assert_close(state[name], (value + model.state_dict()[name]) / 2)
                elif number != moved:
                    assert torch.equal(state[name], value), (step, name)


def test_the_mean_of_both_teachers_is_evaluated_and_teaches_the_inter_pixel_loss():
    model, data = deep_net(), with_strong_labelled(batch(1, boxes=0, partner=False))
    method = built(model, warmup_passes=0, pairs=True, assistant_top=None)
    first, second = (copy.deepcopy(teacher.network).train() for teacher in method.teachers)
    (pair,) = method.losses(step_of(model, data)).pairs
    weak, box = data.unlabelled.view.weak, method.boxes(data)
    own = (first(weak) + second(weak)).detach() / 2
    torch.testing.assert_close(pair.teacher, put(own, swap(own), box))
    evaluated = (first.eval()(weak) + second.eval()(weak)) / 2
    torch.testing.assert_close(method.networks()[method.eval_network].eval()(weak), evaluated)
    assert pair.student.requires_grad


def test_random_teachers_keep_nothing_of_the_weights_they_were_given():
    model = deep_net()
    method = PsMt(PsMtConfig(name="psmt", teachers="random"), deep_context(model))
    weights = [teacher.network.classify.weight for teacher in method.teachers]
    assert not torch.equal(weights[0], weights[1])
    assert not any(torch.equal(weight, deep_net(7).classify.weight) for weight in weights)
    assert isinstance(method.teachers[0].network, nn.Module)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.0), (1, 0.14644660940672627), (2, 0.5), (4, 1.0), (9, 1.0)])
def test_the_cosine_ramp(step, expected):
    assert cosine_ramp(step, length=4) == pytest.approx(expected)
    assert cosine_ramp(step, length=0) == 1


def test_a_centred_box_has_the_sides_that_are_asked_for_where_it_does_not_leave_the_image():
    areas = [
        int(centred_box(rng, (20, 10), share=0.5).sum()) for rng in image_generators(batch(0), 0) for _ in range(200)
    ]
    assert max(areas) == 50
    assert min(areas) > 0
    whole = centred_box(image_generators(batch(0), 0)[0], (20, 10), share=2.0)
    assert bool(whole.all())


def test_noise_of_two_processes_is_that_of_one():
    whole = batch(0)
    both = Labelled(image=whole.labelled.image.repeat(2, 1, 1, 1), mask=whole.labelled.mask.repeat(2, 1, 1))
    one = noise(SemiBatch(labelled=both, unlabelled=whole.unlabelled, seed=5), torch.zeros(4, 2, 3), 1)
    for rank in range(2):
        part = SemiBatch(labelled=whole.labelled, unlabelled=whole.unlabelled, seed=5, rank=rank, world=2)
        assert torch.equal(noise(part, torch.zeros(2, 2, 3), 1), one[2 * rank : 2 * rank + 2])
