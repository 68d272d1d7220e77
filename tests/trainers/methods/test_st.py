"""ST and ST++: loss, labelling and ranking against straight-line code; stages in a real run."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.trainers.methods.deep_nets import deep_context, deep_net, same_gradients, shuffled
from tests.trainers.methods.nets import CLASSES, SIDE, batch
from trainers.common.errors import ConfigError
from trainers.data.read import mask_from_png, mask_to_png
from trainers.interface.batch import Labelled, SemiBatch, Unlabelled
from trainers.interface.method import Needs, Stage
from trainers.interface.step import Progress, Step
from trainers.loop.stages import stage_epochs
from trainers.methods.labelling import masks_from_tensors, mean_iou, predict, tensors_from_masks
from trainers.methods.st import LABELLED, UNLABELLED, St, StConfig
from trainers.methods.stpp import StPlusPlus, StPlusPlusConfig

B, IMAGES = 2, 5


def data_of(*, strong=1, labelled_strong=0):
    made = batch(strong, boxes=0, partner=False)
    generator = torch.Generator().manual_seed(3)
    pseudo = torch.randint(0, CLASSES, (B, SIDE, SIDE), generator=generator)
    pseudo[made.unlabelled.view.ignore == 255] = 255
    extra = tuple(
        torch.randn(B, 3, SIDE, SIDE, generator=generator, dtype=torch.float64) for _ in range(labelled_strong)
    )
    return SemiBatch(
        labelled=Labelled(image=made.labelled.image, mask=made.labelled.mask, strong=extra),
        unlabelled=Unlabelled(view=made.unlabelled.view, boxes=(), partner=None, pseudo=pseudo),
        seed=made.seed,
    )


def step_in(stage, model, data, *, step=3, total=10):
    progress = Progress(step=step, steps_per_epoch=2, total_steps=total, stage=stage)
    return Step(student=model, batch=data, denominator=lambda count: count.clamp(min=1), progress=progress)


def images_of(count=IMAGES):
    """Whole images of different sizes, as the loop would hand them over."""
    generator = torch.Generator().manual_seed(8)
    kept = [torch.randn(1, 3, 6, 6 + 2 * (n % 2), generator=generator, dtype=torch.float64) for n in range(count)]
    return lambda places: ((place, kept[place]) for place in places)


def st(model, *, pairs=False, **changes):
    return St(StConfig(name="st", **changes), deep_context(model, pairs=pairs, unlabelled=IMAGES))


def stpp(model, **changes):
    return StPlusPlus(StPlusPlusConfig(name="stpp", **changes), deep_context(model, unlabelled=IMAGES))


@pytest.mark.parametrize("strong", ["unlabelled", "both", "none"])
def test_the_loss_is_one_mean_over_labels_and_stored_pseudo_labels(strong):
    model, data = deep_net(), data_of(strong=0 if strong == "none" else 1, labelled_strong=int(strong == "both"))
    method, twin = st(model, strong=strong, cutout_p=0.7), copy.deepcopy(model).train()
    assert method.stages()[1].needs.strong == (0 if strong == "none" else 1)
    images, mask = data.unlabelled.view.weak, data.unlabelled.pseudo.clone()
    labelled, labels = data.labelled.image, data.labelled.mask.clone()
    if strong != "none":
        images, hole = method.cut(data.unlabelled.view.strong[0], data, UNLABELLED)
        mask[hole] = 255
    if strong == "both":
        labelled, hole = method.cut(data.labelled.strong[0], data, LABELLED)
        labels[hole] = 255
    logits, targets = twin(torch.cat([labelled, images])), torch.cat([labels, mask])
    total, count = 0.0, 0
    for b in range(2 * B):
        for i in range(SIDE):
            for j in range(SIDE):
                if targets[b, i, j] != 255:
                    total, count = total - F.log_softmax(logits[b, :, i, j], 0)[targets[b, i, j]], count + 1
    output = method.losses(step_in(1, model, data))
    assert output.weights == {"self_training": 1}
    loss = output.terms["self_training"]
    assert float(loss.detach()) == pytest.approx(float((total / count).detach()), rel=1e-9)
    loss.backward()
    (total / count).backward()
    same_gradients((model,), (twin,))


def test_the_first_stage_learns_from_labels_alone_and_offers_no_pair():
    model, data = deep_net(), data_of()
    method, twin = st(model), copy.deepcopy(model).train()
    assert method.needs == method.stages()[0].needs == Needs(unlabelled=False)
    output = method.losses(step_in(0, model, data))
    expected = F.cross_entropy(twin(data.labelled.image), data.labelled.mask, ignore_index=255)
    assert float(output.terms["supervised"].detach()) == pytest.approx(float(expected.detach()), rel=1e-9)
    assert output.pairs is None


def test_a_cut_box_is_noise_without_labels_and_all_else_is_left_alone():
    data = data_of()
    images, hole = st(deep_net(), cutout_p=1.0).cut(data.unlabelled.view.weak, data, UNLABELLED)
    same = (images == data.unlabelled.view.weak).all(1)
    assert torch.equal(~same, hole)
    assert bool(hole.flatten(1).any(1).all())
    assert not bool(st(deep_net(), cutout_p=0.0).cut(data.unlabelled.view.weak, data, UNLABELLED)[1].any())


def test_probabilities_are_the_mean_over_sizes_and_mirror_images():
    network = shuffled(deep_net(), 2).eval()
    image = next(images_of()([1]))[1]
    expected = 0.0
    for scale in (0.5, 1.0, 1.5):
        size = (int(6 * scale), int(8 * scale))
        for flip in (False, True):
            resized = F.interpolate(image, size=size, mode="bilinear", align_corners=True)
            logits = network(resized.flip(3) if flip else resized)
            logits = F.interpolate(logits, size=(6, 8), mode="bilinear", align_corners=True)
            expected = expected + F.softmax(logits.flip(3) if flip else logits, 1) / 6
    found = predict(network, image, scales=(0.5, 1.0, 1.5), flip=True)
    torch.testing.assert_close(found, expected)


def test_every_image_is_stored_as_its_last_student_labels_it():
    model = shuffled(deep_net(), 2)
    method = st(model, conf_thresh=0.5)
    method.begin(1, images_of())
    masks = method.pseudo_masks()
    assert sorted(masks) == list(range(IMAGES))
    for place, image in images_of()(range(IMAGES)):
        p = predict(copy.deepcopy(model).eval(), image, scales=method.config.scales, flip=True)[0]
        expected = torch.where(p.amax(0) >= 0.5, p.argmax(0), 255)
        assert torch.equal(mask_from_png(masks[place]).long(), expected)


def brute_iou(mask, other):
    scores = []
    for c in range(CLASSES):
        union = int(((mask == c) | (other == c)).sum())
        if union:
            scores.append(int(((mask == c) & (other == c)).sum()) / union)
    return float(np.mean(scores))


def test_the_mean_iou_of_two_masks_is_over_the_classes_that_either_shows():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        one, other = torch.randint(0, 2, (2, 3, 4), generator=generator)
        assert mean_iou(one, other, CLASSES) == pytest.approx(brute_iou(one, other))


def test_the_more_reliable_half_is_labelled_first_and_the_rest_by_the_second_student():
    model = shuffled(deep_net(), 2)
    method = stpp(model, reliable_fraction=0.4, scales=(1.0,), flip=False)
    states = [shuffled(deep_net(), seed) for seed in (5, 6)]
    method.snapshots = [copy.deepcopy(one.state_dict()) for one in states]
    scores = {}
    for place, image in images_of()(range(IMAGES)):
        masks = [copy.deepcopy(one).eval()(image).argmax(1)[0] for one in (*states, model)]
        scores[place] = (brute_iou(masks[0], masks[2]) + brute_iou(masks[1], masks[2])) / 2
    expected = sorted(scores, key=lambda place: -scores[place])
    assert len(set(scores.values())) > 2
    method.begin(1, images_of())
    first = dict(method.pseudo_masks())
    assert sorted(first) == sorted(expected[:2])
    shuffled(model, 9)
    second = {place: copy.deepcopy(model).eval()(image).argmax(1)[0] for place, image in images_of()(range(IMAGES))}
    method.begin(2, images_of())
    masks = method.pseudo_masks()
    assert sorted(masks) == list(range(IMAGES))
    for place in range(IMAGES):
        if place in first:
            assert masks[place] == first[place]
        else:
            assert torch.equal(mask_from_png(masks[place]).long(), second[place])


def test_snapshots_are_taken_evenly_in_the_first_stage_alone():
    model = deep_net()
    method = stpp(model, snapshots=4)
    taken = []
    for step in range(10):
        method.losses(step_in(0, model, data_of(), step=step))
        before = len(method.snapshots)
        method.after_step()
        taken += [step + 1] * (len(method.snapshots) - before)
    assert taken == [3, 5, 8]
    method.snapshots = []
    method.losses(step_in(1, model, data_of(), step=9))
    method.after_step()
    assert method.snapshots == []


def test_the_best_student_labels_where_that_is_asked_for():
    model = shuffled(deep_net(), 2)
    best, masks = copy.deepcopy(model.state_dict()), {}
    for labeller in ("best", "final"):
        model.load_state_dict(best)
        method = st(model, labeller=labeller)
        for score, seed in ((40.0, None), (30.0, 7)):
            if seed is not None:
                shuffled(model, seed)
            method.after_epoch(score)
        method.begin(1, images_of())
        masks[labeller] = dict(method.pseudo_masks())
        assert method.best is None
    model.load_state_dict(best)
    method = st(model)
    method.begin(1, images_of())
    assert masks["best"] == method.pseudo_masks() != masks["final"]


def test_the_frozen_labeller_teaches_the_inter_pixel_loss():
    model = shuffled(deep_net(), 2)
    method = st(model, pairs=True)
    teacher = copy.deepcopy(model).eval()
    method.begin(1, images_of())
    shuffled(model, 4)
    data = data_of()
    (pair,) = method.losses(step_in(1, model, data)).pairs
    torch.testing.assert_close(pair.teacher, teacher(data.unlabelled.view.weak).detach())
    _, hole = method.cut(data.unlabelled.view.strong[0], data, UNLABELLED)
    assert torch.equal(pair.ignore == 255, hole | (data.unlabelled.view.ignore == 255))
    assert pair.student.shape == pair.teacher.shape
    assert pair.student.requires_grad


def test_all_state_goes_round():
    model = shuffled(deep_net(), 2)
    method = stpp(model, labeller="best")
    method.snapshots = [copy.deepcopy(shuffled(deep_net(), 5).state_dict())]
    method.masks = {3: b"three", 1: b"one"}
    method.after_epoch(12.5)
    other = stpp(deep_net(), labeller="best")
    other.load_state_dict(copy.deepcopy(method.state_dict()))
    assert other.pseudo_masks() == {1: b"one", 3: b"three"}
    assert other.best[0] == 12.5
    for name, value in method.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_masks_and_files_go_round():
    mask = torch.tensor([[0, 255], [7, 3]], dtype=torch.uint8)
    assert torch.equal(mask_from_png(mask_to_png(mask)), mask)
    for masks in ({}, {4: b"ab", 2: b"c"}):
        assert masks_from_tensors(tensors_from_masks(masks, torch.device("cpu"))) == masks


@pytest.mark.parametrize(("epochs", "expected"), [(3, [1, 1, 1]), (9, [3, 3, 3]), (80, [27, 26, 27]), (4, [1, 2, 1])])
def test_stages_share_all_epochs(epochs, expected):
    stages = stpp(deep_net()).stages()
    found = stage_epochs(stages, epochs)
    assert [len(one) for one in found] == expected
    assert [epoch for one in found for epoch in one] == list(range(epochs))


def test_every_stage_has_an_epoch_however_small_its_share():
    needs = Needs(unlabelled=False)
    stages = [Stage(share=share, needs=needs) for share in (0.01, 0.98, 0.01)]
    assert [len(one) for one in stage_epochs(stages, 5)] == [1, 3, 1]


def test_fewer_epochs_than_stages_are_refused():
    with pytest.raises(ConfigError, match=r"schedule\.epochs: 2 is fewer than the 3 stages"):
        stage_epochs(stpp(deep_net()).stages(), 2)


def passes(make, config, labelled, unlabelled, **changes):
    """Steps of an epoch in each stage as its needs ask for them, with 8 labelled images a batch."""
    context = deep_context(deep_net(), labelled=labelled, unlabelled=unlabelled)
    stages = make(config(name=config.model_fields["name"].annotation.__args__[0], **changes), context).stages()
    needs = [stage.needs for stage in stages]
    return [one.epoch_images // (8 * (one.labelled_batches + one.unlabelled)) for one in needs]


@pytest.mark.parametrize(
    ("labelled", "unlabelled", "expected"),
    [(92, 10490, [11, 1316]), (183, 10399, [22, 1301]), (200, 10382, [12, 1298]), (1464, 9118, [91, 1210])],
)
def test_a_published_epoch_of_st_is_one_pass_over_what_its_stage_trains_on(labelled, unlabelled, expected):
    # ST-PlusPlus, main.py and dataset/semi.py: batches of 16 from the labelled list (twice if shorter than 200), then
    # from the labelled list times ceil(N_u / N_l) and the unlabelled one together.
    assert passes(St, StConfig, labelled, unlabelled, stage_length="passes") == expected


def test_the_second_stage_of_stpp_passes_over_the_reliable_images_only():
    found = passes(StPlusPlus, StPlusPlusConfig, 1464, 9118, stage_length="passes")
    assert found == [1464 // 16, (1464 * 4 + 4559) // 16, (1464 * 7 + 9118) // 16]


def test_stages_of_equal_length_ask_for_no_epoch_of_their_own():
    assert {stage.needs.epoch_images for stage in stpp(deep_net()).stages()} == {None}
