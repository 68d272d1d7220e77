"""UniMatch V2 against straight-line code from its steps, in float64: on its own network and on one with batch norm."""

import copy

import pytest
import torch
from torch.nn import functional as F

from tests.trainers.methods.nets import SIDE, context, count_or_one, net
from trainers.interface.batch import Labelled, SemiBatch, Unlabelled, View
from trainers.interface.input_spec import InputSpec
from trainers.interface.step import Progress, Step
from trainers.losses.interpixel_config import InterPixelConfig
from trainers.methods.fixmatch import FixMatchConfig
from trainers.methods.registry import build_method
from trainers.methods.unimatch_v2 import UniMatchV2Config, complementary_masks
from trainers.models.dinov2 import SHAPES
from trainers.models.dpt import Dpt

CROP = 28
SURE = 16
"""By what a random classifier's weights are multiplied, so that it is surer of some pixels than of others."""


def transformer():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        made = Dpt(SHAPES["tiny"], num_classes=3, input_spec=InputSpec(multiple=14)).double()
    with torch.no_grad():
        made.classify.weight.mul_(SURE)
        made.classify.bias.zero_()
    return made


def crops(side, *, seed=0, partner=False, count=2):
    """A batch of random images, with padding, void pixels and boxes."""
    generator = torch.Generator().manual_seed(seed)

    def images():
        return torch.randn(count, 3, side, side, generator=generator, dtype=torch.float64)

    def view():
        ignore = torch.zeros(count, side, side, dtype=torch.int64)
        ignore[0, :, -2:] = 255
        return View(weak=images(), strong=(images(), images()), ignore=ignore)

    mask = torch.randint(0, 3, (count, side, side), generator=generator)
    mask[0, :2] = 255
    boxes = tuple(torch.rand(count, side, side, generator=generator) < 0.4 for _ in range(2))
    return SemiBatch(
        labelled=Labelled(image=images(), mask=mask),
        unlabelled=Unlabelled(view=view(), boxes=boxes, partner=view() if partner else None),
        seed=11,
    )


def step_of(model, data):
    progress = Progress(step=3, steps_per_epoch=2, total_steps=10)
    return Step(student=model, batch=data, denominator=count_or_one, progress=progress)


def method_of(model, *, alpha=0.0, **changes):
    config = UniMatchV2Config(name="unimatch_v2", **{"conf_thresh": 0.4, **changes})
    return build_method(config, context(model, InterPixelConfig(alpha=alpha)))


def straight_line(model, teacher, data, masks, *, thresh, weight):
    """The released steps' loss; its partner is the batch from its end, which of two images is the other one."""
    view, partner = data.unlabelled.view, data.unlabelled.partner
    other = view if partner is None else partner
    turn = (lambda one: one.flip(0)) if partner is None else (lambda one: one)
    with torch.no_grad():
        teacher.eval()
        soft, others = teacher(view.weak), turn(teacher(other.weak))
    model.train()
    labelled = F.cross_entropy(model(data.labelled.image), data.labelled.mask, ignore_index=255)
    images = [torch.where(data.unlabelled.boxes[v][:, None], turn(other.strong[v]), view.strong[v]) for v in range(2)]
    stacked = torch.cat(images)
    outputs = (model(stacked) if masks is None else model(stacked, dropout=masks, plain=False)).chunk(2)
    total = 0.0
    for v, logits in enumerate(outputs):
        box = data.unlabelled.boxes[v]
        mixed = torch.where(box[:, None], others, soft)
        valid = torch.where(box, turn(other.ignore), view.ignore) != 255
        confidence, label = mixed.softmax(1).max(1)
        nll = F.cross_entropy(logits, label, reduction="none")
        total = total + (nll * (confidence >= thresh) * valid).sum() / valid.sum()
    return (labelled + weight * total / 2) / 2


def between(teacher, images):
    """A threshold that half of the pixels reach, between two confidences."""
    with torch.no_grad():
        confidence = teacher.eval()(images).softmax(1).amax(1).flatten().sort().values
    return float(confidence[len(confidence) // 2 - 1 :][:2].mean())


@pytest.mark.parametrize("partner", [False, True])
@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("kind", ["transformer", "batch norm"])
def test_loss_and_gradients_are_those_of_the_published_steps(kind, dropped, partner):
    model, side = (transformer(), CROP) if kind == "transformer" else (net(), SIDE)
    data = crops(side, partner=partner)
    teacher = copy.deepcopy(model)
    with torch.no_grad():  # one that is not the student
        for parameter in teacher.parameters():
            parameter.mul_(1.3)
    thresh = between(teacher, data.unlabelled.view.weak)
    method = method_of(model, conf_thresh=thresh, complementary_dropout=dropped, unsupervised_weight=0.7)
    method.teacher.network.load_state_dict(teacher.state_dict())
    twin = copy.deepcopy(model)
    masks = None
    if dropped:
        first, second = complementary_masks(data, model.stream_channels, dropout=0.5, clean_share=0.5)
        masks = [torch.cat(both) for both in zip(first, second, strict=True)]
    output = method.losses(step_of(model, data))
    loss = sum(output.weights[name] * term for name, term in output.terms.items())
    expected = straight_line(twin, teacher, data, masks, thresh=thresh, weight=0.7)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-9)
    assert 0.2 < float(output.metrics["mask_ratio"]) < 0.8
    loss.backward()
    expected.backward()
    for (name, mine), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        if theirs.grad is None:
            assert mine.grad is None, name
        else:
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-7, atol=1e-10, msg=name)
    for mine, theirs in zip(model.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs)


def many(count, *, seed=0, rank=0, world=1):
    image = torch.zeros(count, 3, 1, 1)
    return SemiBatch(
        labelled=Labelled(image=image, mask=image[:, 0]), unlabelled=None, seed=seed, rank=rank, world=world
    )


def masks_of(count, *, channels=(40,), dropout=0.5, clean_share=0.5, **place):
    return complementary_masks(many(count, **place), channels, dropout=dropout, clean_share=clean_share)


@pytest.mark.parametrize(("count", "whole"), [(1, 0), (2, 1), (3, 1), (7, 3), (8, 4)])
def test_half_of_the_pairs_rounded_down_keep_all_channels_in_both_views(count, whole):
    (first,), (second,) = masks_of(count)
    assert first.shape == (count, 40, 1, 1)
    clean = [bool((first[n] == 1).all() and (second[n] == 1).all()) for n in range(count)]
    assert sum(clean) == whole
    for n in range(count):
        if not clean[n]:
            assert set(first[n].flatten().tolist()) == {0.0, 2.0}
    assert torch.equal(first + second, torch.full_like(first, 2.0))


def test_which_pairs_stay_whole_differs_between_steps():
    drawn = {tuple((masks_of(8, seed=seed)[0][0] == 1).flatten(1).all(1).tolist()) for seed in range(20)}
    assert len(drawn) > 10


@pytest.mark.parametrize("dropout", [0.2, 0.5, 0.7])
def test_a_channel_is_in_one_of_the_views_and_on_average_as_large_as_before(dropout):
    (first,), (second,) = masks_of(400, channels=(200,), dropout=dropout, clean_share=0)
    assert torch.equal(first > 0, second == 0)
    torch.testing.assert_close(first[first > 0], torch.full_like(first[first > 0], 1 / (1 - dropout)))
    torch.testing.assert_close(second[second > 0], torch.full_like(second[second > 0], 1 / dropout))
    # 80,000 draws: four standard errors
    for mask, share in ((first, dropout), (second, 1 - dropout)):
        assert float((mask == 0).float().mean()) == pytest.approx(share, abs=4 * (0.25 / 80_000) ** 0.5)
        assert float(mask.mean()) == pytest.approx(1, abs=4 * max(dropout, 1 - dropout) / 0.2 / 80_000**0.5)


def test_maps_of_equal_width_lose_the_same_channels():
    first, second = masks_of(4, channels=(40, 24, 40, 40))
    for masks in (first, second):
        assert torch.equal(masks[0], masks[2])
        assert torch.equal(masks[0], masks[3])
        assert masks[1].shape == (4, 24, 1, 1)


def test_masks_of_two_processes_are_those_of_one_cut_in_two():
    whole = masks_of(6, channels=(40, 24))
    for rank in range(2):
        part = masks_of(3, channels=(40, 24), rank=rank, world=2)
        for mine, all_of_it in zip(part, whole, strict=True):
            for one, other in zip(mine, all_of_it, strict=True):
                assert torch.equal(one, other[3 * rank : 3 * rank + 3])


@pytest.mark.parametrize(("share", "whole"), [(0, 0), (0.25, 2), (1, 8)])
def test_the_clean_share_says_how_many_pairs_stay_whole(share, whole):
    (first,), _ = masks_of(8, clean_share=share)
    assert int((first == 1).flatten(1).all(1).sum()) == whole


def test_the_teacher_copies_the_student_at_first_and_then_averages_it_with_its_statistics():
    model = net()
    method = method_of(model, ema_decay=0.6)
    weight, mean, expected = model.classify.weight, model.low[1].running_mean, None
    for update in range(6):
        with torch.no_grad():
            weight.add_(update + 1)
            mean.add_(update + 1)
            model.low[1].num_batches_tracked += 1
        now = torch.cat([weight.detach().flatten(), mean])
        decay = min(1 - 1 / (update + 1), 0.6)
        expected = now.clone() if expected is None else decay * expected + (1 - decay) * now
        method.after_step()
        teacher = method.networks()["teacher"]
        torch.testing.assert_close(
            torch.cat([teacher.classify.weight.flatten(), teacher.low[1].running_mean]), expected
        )
        assert int(teacher.low[1].num_batches_tracked) == update + 1
    assert method.eval_network == "teacher"


def test_the_teacher_labels_in_evaluation_mode_and_stays_as_it_is():
    model = net()
    method = method_of(model)
    before = copy.deepcopy(method.teacher.network.state_dict())
    method.losses(step_of(model, crops(SIDE)))
    assert not method.teacher.network.training
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in method.teacher.network.state_dict().items())


def test_one_view_is_fixmatch_with_an_averaged_teacher():
    found = []
    for config in (
        UniMatchV2Config(name="unimatch_v2", conf_thresh=0.4, strong_views=1, unsupervised_weight=0.7),
        FixMatchConfig(name="fixmatch", conf_thresh=0.4, teacher="ema", unsupervised_weight=0.7),
    ):
        model = transformer()
        method = build_method(config, context(model))
        data = crops(CROP)
        assert method.needs.strong == 1
        unlabelled = data.unlabelled
        view = View(weak=unlabelled.view.weak, strong=unlabelled.view.strong[:1], ignore=unlabelled.view.ignore)
        one = Unlabelled(view=view, boxes=unlabelled.boxes[:1], partner=None)
        data = SemiBatch(labelled=data.labelled, unlabelled=one, seed=1)
        output = method.losses(step_of(model, data))
        loss = sum(output.weights[name] * term for name, term in output.terms.items())
        loss.backward()
        found.append((loss.detach(), model.classify.weight.grad, model.backbone.pos_embed.grad))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


def test_pairs_hold_the_mixed_average_teacher_and_each_view():
    model, data = transformer(), crops(CROP)
    method = method_of(model, alpha=1.0)
    with torch.no_grad():
        for parameter in method.teacher.network.parameters():
            parameter.mul_(0.8)
    pairs = method.losses(step_of(model, data)).pairs
    assert [pair.view for pair in pairs] == ["s1", "s2"]
    with torch.no_grad():
        soft = method.teacher.network(data.unlabelled.view.weak)
    for pair, box in zip(pairs, data.unlabelled.boxes, strict=True):
        torch.testing.assert_close(pair.teacher, torch.where(box[:, None], soft.flip(0), soft))
        assert torch.equal(
            pair.ignore, torch.where(box, data.unlabelled.view.ignore.flip(0), data.unlabelled.view.ignore)
        )
        assert pair.student.requires_grad
        assert not pair.teacher.requires_grad


def test_with_the_inter_pixel_loss_attached_its_own_terms_are_the_same_bit_for_bit():
    found = []
    for alpha in (0.0, 1.0):
        model = transformer()
        before = torch.get_rng_state()
        output = method_of(model, alpha=alpha).losses(step_of(model, crops(CROP)))
        assert torch.equal(torch.get_rng_state(), before)
        assert (output.pairs == ()) is (alpha == 0)
        sum(output.weights[name] * term for name, term in output.terms.items()).backward()
        found.append([term.detach() for term in output.terms.values()] + [model.classify.weight.grad])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
