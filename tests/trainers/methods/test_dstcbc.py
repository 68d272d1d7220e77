"""DST-CBC: loss and curriculum against straight-line code; its stages in a real run."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from tests.trainers.methods.deep_nets import deep_context, deep_net, same_gradients, shuffled
from tests.trainers.methods.nets import CLASSES, SIDE
from tests.trainers.methods.test_st import IMAGES, B, data_of, images_of, step_in
from tests.trainers.runs import tiny
from trainers.data.read import mask_from_png
from trainers.interface.method import Needs
from trainers.loop.run import Run
from trainers.methods.curriculum import ratios, sureness
from trainers.methods.dstcbc import DstCbc, DstCbcConfig


def made(model, *, pairs=False, **changes):
    return DstCbc(
        DstCbcConfig(name="dstcbc", **changes), deep_context(model, pairs=pairs, unlabelled=IMAGES, labelled=3)
    )


@pytest.mark.parametrize("gamma", [0, 2.5])
def test_the_loss_is_that_of_its_equation(gamma):
    model, data = deep_net(), data_of(strong=0)
    method, twin = made(model, gamma=gamma), copy.deepcopy(model).train()
    logits = twin(torch.cat([data.labelled.image, data.unlabelled.view.weak]))
    targets = torch.cat([data.labelled.mask, data.unlabelled.pseudo])
    total, count = 0.0, 0
    for b in range(2 * B):
        for i in range(SIDE):
            for j in range(SIDE):
                label = int(targets[b, i, j])
                if label != 255:
                    p = F.softmax(logits[b, :, i, j], 0)[label]
                    total = total - (1 if b < B else p.detach() ** gamma) * p.log()
                    count += 1
    output = method.losses(step_in(1, model, data))
    loss = sum(output.weights[name] * term for name, term in output.terms.items())
    assert float(loss.detach()) == pytest.approx(float((total / count).detach()), rel=1e-9)
    loss.backward()
    (total / count).backward()
    same_gradients((model,), (twin,))
    valid, taught = (data.unlabelled.view.ignore != 255).sum(), (data.unlabelled.pseudo != 255).sum()
    assert float(output.metrics["mask_ratio"]) == pytest.approx(float(taught / valid))


def test_the_first_training_learns_from_labels_alone():
    model, data = deep_net(), data_of(strong=0)
    method, twin = made(model), copy.deepcopy(model).train()
    assert method.needs == Needs(unlabelled=False)
    output = method.losses(step_in(0, model, data))
    expected = F.cross_entropy(twin(data.labelled.image), data.labelled.mask, ignore_index=255)
    assert float(output.terms["supervised"].detach()) == pytest.approx(float(expected.detach()), rel=1e-9)
    assert output.pairs is None


@pytest.mark.parametrize(("stage", "ratio"), [(1, 0.25), (2, 0.625), (3, 1.0)])
def test_the_surest_share_of_each_classs_pixels_is_labelled(stage, ratio):
    model = shuffled(deep_net(), 2)
    method = made(model, iterations=3, first_ratio=0.25)
    method.begin(stage, images_of())
    answers = {place: copy.deepcopy(model).eval()(image).softmax(1)[0] for place, image in images_of()(range(IMAGES))}
    for c in range(CLASSES):
        sure = sorted(
            (float(p.amax(0)[at]) for p in answers.values() for at in zip(*torch.where(p.argmax(0) == c), strict=True)),
            reverse=True,
        )
        if not sure:
            continue
        least = sure[math.ceil(ratio * len(sure) - 1e-9) - 1]
        for place, p in answers.items():
            mask = mask_from_png(method.pseudo_masks()[place])
            mine = p.argmax(0) == c
            assert torch.equal((mask == c) & mine, (p.amax(0) >= least) & mine)
            assert set(mask[mine].tolist()) <= {c, 255}


def test_sureness_has_the_order_of_confidences_up_to_one_without_doubt():
    confidence = torch.tensor([0.05, 0.3, 0.30001, 0.9, 0.99999, 0.9999999, 1.0, 1.0], dtype=torch.float64)
    levels = sureness(confidence).tolist()
    assert levels == sorted(levels)
    assert len(set(levels)) >= 6
    assert sureness(torch.ones(1)) == sureness(torch.ones(1, dtype=torch.float64)) == levels[-1]


def test_the_curriculum_ends_with_every_pixel():
    assert ratios(0.2, 5) == pytest.approx((0.2, 0.4, 0.6, 0.8, 1.0))
    assert ratios(0.2, 1) == (1.0,)


def test_trainings_go_on_with_the_weights_of_the_last_and_passes_have_the_published_length():
    stages = made(deep_net(), iterations=2, supervised_share=0.5, stage_length="passes").stages()
    assert [stage.fresh for stage in stages] == [True, False, False]
    assert [stage.share for stage in stages] == [0.5, 0.25, 0.25]
    assert [stage.needs.epoch_images for stage in stages] == [3, 2 * IMAGES, 2 * IMAGES]
    assert [stage.needs.labelled_batches for stage in stages] == [2, 1, 1]
    assert [stage.share for stage in made(deep_net(), iterations=3).stages()] == [0.25] * 4


def test_a_run_keeps_its_weights_between_trainings(tmp_path):
    sections = {"data": {"draw": {"labelled": 228}}, "schedule": {"epochs": 2, "steps_per_epoch": 2}}
    base = tiny(**sections)
    method = {"name": "dstcbc", "iterations": 1, "labeller": "best"}
    config = type(base).model_validate(base.model_dump(mode="json") | {"method": method})
    run = Run(config, tmp_path)
    run.train_epoch(0, None)
    run.method.after_epoch(20.0)
    before, optimizer = run.student.classify.weight.clone(), run.networks.optimizers["student"]
    run._reach(1)
    run.close()
    assert torch.equal(run.student.classify.weight, before)
    assert run.networks.optimizers["student"] is not optimizer
    assert len(run.method.pseudo_masks()) == len(run.data.unlabelled)
    assert run.method.best[0] == 20.0


def test_a_training_goes_on_with_the_weights_of_the_network_that_labelled():
    model = shuffled(deep_net(), 2)
    method, best = made(model, labeller="best"), copy.deepcopy(model.state_dict())
    method.after_epoch(60.0)
    for stage in (1, 2):
        shuffled(model, 4)
        method.after_epoch(50.0)
        method.begin(stage, images_of())
        assert all(torch.equal(value, best[name]) for name, value in model.state_dict().items())


def test_the_network_that_labelled_teaches_the_inter_pixel_loss():
    model = shuffled(deep_net(), 2)
    method, data = made(model, pairs=True), data_of(strong=0)
    teacher = copy.deepcopy(model).eval()
    method.begin(1, images_of())
    shuffled(model, 4)
    (pair,) = method.losses(step_in(1, model, data)).pairs
    torch.testing.assert_close(pair.teacher, teacher(data.unlabelled.view.weak).detach())
    assert pair.student.requires_grad
