"""ECS against straight-line code from its equations, in float64."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from tests.trainers.methods.deep_nets import deep_context, deep_net, same_gradients, shuffled
from tests.trainers.methods.nets import CLASSES, SIDE, batch, count_or_one
from trainers.interface.batch import Labelled, SemiBatch
from trainers.interface.step import Progress, Step
from trainers.losses.ramps import gaussian_ramp
from trainers.methods.ecs import Ecs, EcsConfig

B = 2


def built(model, *, pairs=False, **changes):
    settings = {"corrector_width": 4, "start": 0.1, "ramp": 0.5, **changes}
    method = Ecs(EcsConfig(name="ecs", **settings), deep_context(model, pairs=pairs))
    shuffled(method.corrector, 4)
    return method


def step_of(model, data, *, step=3):
    progress = Progress(step=step, steps_per_epoch=2, total_steps=10)
    return Step(student=model, batch=data, denominator=count_or_one, progress=progress)


def mean_over(values, weights):
    total, count = 0.0, 0.0
    for value, weight in zip(values.flatten(), weights.flatten().tolist(), strict=True):
        total, count = total + weight * value, count + weight
    return total / count


@pytest.mark.parametrize("view", ["weak", "strong"])
def test_the_loss_is_that_of_its_equations(view):
    model, data = deep_net(), batch(0, boxes=0, partner=False)
    if view == "strong":
        strong = data.labelled.image.flip(2) * 1.5
        labelled = Labelled(image=data.labelled.image, mask=data.labelled.mask, strong=(strong,))
        data = SemiBatch(labelled=labelled, unlabelled=data.unlabelled, seed=data.seed)
    method = built(model, corrector_view=view, correction_weight=0.3, unsupervised_weight=2)
    assert method.needs.labelled_strong == (view == "strong")
    twin, g, held = copy.deepcopy(model), copy.deepcopy(method.corrector), copy.deepcopy(method.corrector)
    held.requires_grad_(False)
    x, y, u, ignore = data.labelled.image, data.labelled.mask, data.unlabelled.view.weak, data.unlabelled.view.ignore
    images = x
    if view == "strong":
        images, answer = strong, twin.eval()(strong).detach()
    logits = twin.train()(torch.cat([x, u]))
    q, weak = logits[:B], logits[B:]
    answer = q.detach() if view == "weak" else answer
    known, right = y != 255, answer.argmax(1) == y
    assert bool((right & known).any())
    assert bool((~right & known).any())
    said = g(images, answer.softmax(1)).log_softmax(1)
    t = torch.where(right, 0, torch.where(known, y, 0) + 1)
    corrector = mean_over(-said.gather(1, t[:, None])[:, 0], torch.where(right, 0.2, 1.0) * known)
    judged = -held(x, q.softmax(1)).log_softmax(1)[:, 0]
    p = held(u, weak.detach().softmax(1)).softmax(1)
    label = torch.where(p.argmax(1) == 0, weak.argmax(1), p.argmax(1) - 1)
    assert len((p.argmax(1) == 0).unique()) == 2
    nll = -weak.log_softmax(1).gather(1, label[:, None])[:, 0]
    expected = {
        "supervised": F.cross_entropy(q, y, ignore_index=255),
        "right": judged[known].mean(),
        "unsupervised": (p.amax(1) * nll)[ignore != 255].mean(),
        "corrector": corrector,
    }
    output = method.losses(step_of(model, data))
    assert output.weights["unsupervised"] == pytest.approx(2 * gaussian_ramp(2, length=5))
    for name, term in output.terms.items():
        torch.testing.assert_close(term, expected[name], msg=lambda text, name=name: name + text)
    sum(output.weights[name] * term for name, term in output.terms.items()).backward()
    sum(output.weights[name] * term for name, term in expected.items()).backward()
    same_gradients((model, method.corrector), (twin, g))


def test_corrected_labels_wait_for_their_start():
    model, data = deep_net(), batch(0, boxes=0, partner=False)
    output = built(model, pairs=True, start=0.5).losses(step_of(model, data))
    assert output.weights["unsupervised"] == 0
    assert output.pairs is None


def test_corrected_logits_teach_the_inter_pixel_loss_which_are_the_students_where_nothing_is_wrong():
    model, data = deep_net(), batch(0, boxes=0, partner=False)
    method = built(model, pairs=True)
    weak = copy.deepcopy(model).train()(torch.cat([data.labelled.image, data.unlabelled.view.weak])).detach()[B:]
    p = method.corrector(data.unlabelled.view.weak, weak.softmax(1)).softmax(1).detach()
    (pair,) = method.losses(step_of(model, data)).pairs
    for b in range(B):
        for i in range(SIDE):
            z = weak[b, :, i, 0]
            scale = math.log(sum(math.exp(float(one)) for one in z))
            for c in range(CLASSES):
                mixed = float(p[b, 0, i, 0] * z.softmax(0)[c] + p[b, 1 + c, i, 0])
                assert float(pair.teacher[b, c, i, 0]) == pytest.approx(math.log(mixed) + scale)
    with torch.no_grad():
        method.corrector.classify.bias[0] += 100  # all is right
    (pair,) = method.losses(step_of(model, data)).pairs
    torch.testing.assert_close(pair.teacher, pair.student.detach())
