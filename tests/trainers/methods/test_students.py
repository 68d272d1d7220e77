"""Naive and Noisy Student against straight-line code from their equations, in float64."""

import copy
import dataclasses

import pytest
import torch
from torch.nn import functional as F

from tests.trainers.methods.deep_nets import deep_context, deep_net, same_gradients, shuffled
from tests.trainers.methods.nets import CLASSES, SIDE, batch
from trainers.data.read import mask_from_png, planes_from_png
from trainers.interface.step import Progress, Step
from trainers.methods.labelling import predict
from trainers.methods.st import UNLABELLED
from trainers.methods.students import NaiveStudent, NaiveStudentConfig, NoisyStudent, NoisyStudentConfig

B, IMAGES, K = 2, 4, 2
PLAIN = {"scales": (1.0,), "flip": False}


def naive(model, **changes):
    return NaiveStudent(NaiveStudentConfig(name="naive_student", **changes), deep_context(model, unlabelled=IMAGES))


def noisy(model, *, pairs=False, **changes):
    config = NoisyStudentConfig(name="noisy_student", soft_classes=K, **changes)
    return NoisyStudent(config, deep_context(model, pairs=pairs, unlabelled=IMAGES))


def images_of():
    generator = torch.Generator().manual_seed(8)
    kept = [torch.randn(1, 3, 6, 6 + 2 * (n % 2), generator=generator, dtype=torch.float64) for n in range(IMAGES)]
    return lambda places: ((place, kept[place]) for place in places)


def step_in(stage, model, data):
    progress = Progress(step=3, steps_per_epoch=2, total_steps=10, stage=stage)
    return Step(student=model, batch=data, denominator=lambda count: count.clamp(min=1), progress=progress)


def test_soft_labels_count_by_their_probabilities_in_one_mean_with_the_labels():
    model, made = deep_net(), batch(1)
    generator = torch.Generator().manual_seed(1)
    first = torch.randint(0, CLASSES, (B, SIDE, SIDE), generator=generator)
    second = (first + 1) % CLASSES
    first[torch.rand(first.shape, generator=generator) < 0.3] = 255
    shares = torch.randint(20, 128, (2, B, SIDE, SIDE), generator=generator)
    pseudo = torch.stack([first, shares[0], second, shares[1]], dim=1)
    data = dataclasses.replace(made, unlabelled=dataclasses.replace(made.unlabelled, pseudo=pseudo))
    method, twin = noisy(model, cutout_p=0.7), copy.deepcopy(model).train()
    images, hole = method.cut(data.unlabelled.view.strong[0], data, UNLABELLED)
    assert 0 < int(hole.sum()) < hole.numel()
    log_q = F.log_softmax(twin(torch.cat([data.labelled.image, images])), 1)
    total, count = 0.0, 0
    for b in range(B):
        for i in range(SIDE):
            for j in range(SIDE):
                if data.labelled.mask[b, i, j] != 255:
                    total, count = total - log_q[b, data.labelled.mask[b, i, j], i, j], count + 1
                if first[b, i, j] != 255 and not hole[b, i, j]:
                    p, other = (float(one[b, i, j]) for one in shares)
                    soft = p * log_q[B + b, first[b, i, j], i, j] + other * log_q[B + b, second[b, i, j], i, j]
                    total, count = total - soft / (p + other), count + 1
    output = method.losses(step_in(1, model, data))
    loss = output.terms["self_training"]
    assert float(loss.detach()) == pytest.approx(float((total / count).detach()), rel=1e-9)
    loss.backward()
    (total / count).backward()
    same_gradients((model,), (twin,))


def test_the_likeliest_classes_of_a_pixel_are_stored_with_their_probabilities():
    model = shuffled(deep_net(), 2)
    method = noisy(model, conf_thresh=0.5, **PLAIN)
    method.begin(1, images_of())
    assert sorted(method.pseudo_masks()) == list(range(IMAGES))
    for place, image in images_of()(range(IMAGES)):
        p = predict(copy.deepcopy(model).eval(), image, scales=(1.0,), flip=False)[0]
        order = p.argsort(0, descending=True)
        planes = planes_from_png(method.pseudo_masks()[place], 2 * K).long()
        assert torch.equal(planes[0], torch.where(p.amax(0) >= 0.5, order[0], 255))
        assert torch.equal(planes[2], order[1])
        for k in range(K):
            found = planes[2 * k + 1].double() / 255
            torch.testing.assert_close(found, p.gather(0, order[k : k + 1])[0], atol=0.5 / 255 + 1e-9, rtol=0)


def test_naive_student_stores_classes_as_the_last_student_gives_them():
    model = shuffled(deep_net(), 2)
    method = naive(model, rounds=2, **PLAIN)
    for stage in (1, 2):
        method.begin(stage, images_of())
        for place, image in images_of()(range(IMAGES)):
            expected = copy.deepcopy(model).eval()(image)[0].argmax(0)
            assert torch.equal(mask_from_png(method.pseudo_masks()[place]).long(), expected)
        shuffled(model, 5 + stage)


def test_there_is_a_training_more_than_rounds_and_students_start_as_asked():
    stages = naive(deep_net(), rounds=2).stages()
    assert ([one.share for one in stages], {one.fresh for one in stages}) == (pytest.approx([1 / 3] * 3), {True})
    stages = noisy(deep_net(), rounds=2, student_weights="teacher").stages()
    assert {one.fresh for one in stages[1:]} == {False}
    assert {one.needs.pseudo_planes for one in stages} == {2 * K}


def test_a_batch_of_the_later_trainings_has_more_pseudo_labelled_images_where_asked():
    first, second = (one.needs for one in naive(deep_net(), rounds=1, unlabelled_batches=3).stages())
    assert (first.unlabelled_batches, second.unlabelled_batches, second.labelled_batches) == (1, 3, 1)
    needs = naive(deep_net(), unlabelled_batches=2, stage_length="passes").stages()[1].needs
    assert needs.epoch_images == IMAGES * 3 // 2


def test_three_pseudo_labelled_images_for_each_labelled_one_count_in_one_mean_each_with_a_box_of_its_own():
    model, made = deep_net(), batch(1)
    parts = [batch(1, seed=seed).unlabelled for seed in range(3)]
    view = dataclasses.replace(
        made.unlabelled.view,
        weak=torch.cat([one.view.weak for one in parts]),
        strong=(torch.cat([one.view.strong[0] for one in parts]),),
        ignore=torch.cat([one.view.ignore for one in parts]),
    )
    pseudo = torch.randint(0, CLASSES, (3 * B, SIDE, SIDE), generator=torch.Generator().manual_seed(1))
    data = dataclasses.replace(made, unlabelled=dataclasses.replace(made.unlabelled, view=view, pseudo=pseudo))
    method, twin = naive(model, unlabelled_batches=3, cutout_p=1.0), copy.deepcopy(model).train()
    images, hole = method.cut(view.strong[0], data, UNLABELLED)
    assert len({tuple(one.flatten().tolist()) for one in hole}) > 1
    logits = twin(torch.cat([data.labelled.image, images]))
    target = torch.cat([data.labelled.mask, pseudo.masked_fill(hole, 255)])
    expected = F.cross_entropy(logits, target, ignore_index=255)
    found = method.losses(step_in(1, model, data)).terms["self_training"]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("begins", ["fresh", "teacher"])
def test_a_student_with_its_teachers_weights_has_those_of_the_best_where_that_one_labels(begins):
    model = shuffled(deep_net(), 2)
    method, best = naive(model, labeller="best", student_weights=begins, **PLAIN), copy.deepcopy(model.state_dict())
    method.after_epoch(60.0)
    last = copy.deepcopy(shuffled(model, 4).state_dict())
    method.after_epoch(50.0)
    method.begin(1, images_of())
    expected = best if begins == "teacher" else last
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_the_frozen_teacher_of_soft_labels_teaches_the_inter_pixel_loss():
    model, made = shuffled(deep_net(), 2), batch(1)
    method, teacher = noisy(model, pairs=True, **PLAIN), copy.deepcopy(model).eval()
    method.begin(1, images_of())
    shuffled(model, 4)
    pseudo = torch.zeros(B, 2 * K, SIDE, SIDE, dtype=torch.int64)
    data = dataclasses.replace(made, unlabelled=dataclasses.replace(made.unlabelled, pseudo=pseudo))
    (pair,) = method.losses(step_in(1, model, data)).pairs
    torch.testing.assert_close(pair.teacher, teacher(data.unlabelled.view.weak).detach())
    assert pair.ignore.shape == (B, SIDE, SIDE)
