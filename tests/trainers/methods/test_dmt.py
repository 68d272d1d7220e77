"""DMT against straight-line code from its equations, in float64."""

import copy
import dataclasses

import pytest
import torch
from torch.nn import functional as F

from tests.trainers.methods.deep_nets import deep_context, deep_net, same_gradients, shuffled
from tests.trainers.methods.nets import CLASSES, SIDE, batch
from trainers.data.read import planes_from_png, planes_to_png
from trainers.interface.step import Progress, Step
from trainers.methods.dmt import PLANES, Dmt, DmtConfig

B, IMAGES, LABELLED = 2, 5, 10


def built(model, *, pairs=False, **changes):
    method = Dmt(
        DmtConfig(name="dmt", **changes), deep_context(model, pairs=pairs, labelled=LABELLED, unlabelled=IMAGES)
    )
    shuffled(method.peer, 3)
    return method


def step_in(stage, model, data):
    progress = Progress(step=3, steps_per_epoch=2, total_steps=10, stage=stage)
    return Step(student=model, batch=data, denominator=lambda count: count.clamp(min=1), progress=progress)


def data_of(images=B):
    """A batch with as many pseudo-labelled images, of which some pixels have no label."""
    made = batch(0)
    generator = torch.Generator().manual_seed(1)
    shape = (images, SIDE, SIDE)
    label = [torch.randint(0, CLASSES, shape, generator=generator) for _ in range(2)]
    for one in label:
        one[torch.rand(shape, generator=generator) < 0.3] = 255
    sure = [torch.randint(80, 256, shape, generator=generator) for _ in range(2)]
    view = made.unlabelled.view
    more = images // B
    view = dataclasses.replace(
        view,
        weak=view.weak.repeat(more, 1, 1, 1) * torch.linspace(1, 2, images)[:, None, None, None],
        ignore=view.ignore.repeat(more, 1, 1),
    )
    pseudo = torch.stack([label[0], sure[0], label[1], sure[1]], dim=1)
    labelled = dataclasses.replace(made.labelled, index=torch.tensor([0, 7]))
    return dataclasses.replace(
        made, labelled=labelled, unlabelled=dataclasses.replace(made.unlabelled, view=view, pseudo=pseudo)
    )


def expected(network, data, label, sure, gammas):
    """The loss of one network, pixel by pixel, and how often each of the three cases came up."""
    logits = network.train()(torch.cat([data.labelled.image, data.unlabelled.view.weak]))
    total, count, cases = 0.0, 0, [0, 0, 0]
    for b in range(len(logits)):
        for i in range(SIDE):
            for j in range(SIDE):
                pseudo = b >= B
                y = int(label[b - B, i, j] if pseudo else data.labelled.mask[b, i, j])
                if y == 255:
                    continue
                count += 1
                log_p, weight = F.log_softmax(logits[b, :, i, j], 0), 1.0
                if pseudo:
                    p = log_p.detach().exp()
                    if int(p.argmax()) == y:
                        case, weight = 0, float(p[y]) ** gammas[0]
                    elif float(p.max()) > int(sure[b - B, i, j]) / 255:
                        case, weight = 1, 0.0
                    else:
                        case, weight = 2, float(p[y]) ** gammas[1]
                    cases[case] += 1
                total = total - weight * log_p[y]
    return total / count, cases


@pytest.mark.parametrize("images", [B, 2 * B])
def test_each_network_learns_from_the_others_labels_by_the_equations(images):
    model, data = shuffled(deep_net(), 2), data_of(images)
    method = built(model, agreement_gamma=2.0, disagreement_gamma=0.5, unlabelled_batches=images // B)
    twins = copy.deepcopy(model), copy.deepcopy(method.peer)
    planes = data.unlabelled.pseudo.unbind(1)
    found = [expected(twin, data, *planes[2 - 2 * own : 4 - 2 * own], (2.0, 0.5)) for own, twin in enumerate(twins)]
    assert all(count > 0 for _, cases in found for count in cases)
    output = method.losses(step_in(1, model, data))
    assert set(output.weights.values()) == {1}
    for name, (loss, _) in zip(("", "_peer"), found, strict=True):
        mine = output.terms[f"supervised{name}"] + output.terms[f"mutual{name}"]
        assert float(mine.detach()) == pytest.approx(float(loss.detach()), rel=1e-9)
    sum(output.terms.values()).backward()
    sum(loss for loss, _ in found).backward()
    same_gradients((model, method.peer), twins)


def test_the_first_training_is_on_labels_of_which_each_network_misses_a_part():
    model, data = shuffled(deep_net(), 2), data_of()
    method = built(model, labels_apart=0.2)
    assert [int(one.sum()) for one in method.unseen] == [2, 2]
    assert not bool((method.unseen[0] & method.unseen[1]).any())
    seen = int((~method.unseen[0]).nonzero()[0])
    data.labelled.index[:] = torch.tensor([seen, int(method.unseen[0].nonzero()[0])])
    twins = copy.deepcopy(model).train(), copy.deepcopy(method.peer).train()
    masks = [data.labelled.mask.clone() for _ in twins]
    for own, mask in enumerate(masks):
        mask[method.unseen[own][data.labelled.index]] = 255
    assert bool((masks[0][1] == 255).all())
    output = method.losses(step_in(0, model, data))
    for name, twin, mask in zip(("supervised", "supervised_peer"), twins, masks, strict=True):
        expected = F.cross_entropy(twin(data.labelled.image), mask, ignore_index=255)
        assert float(output.terms[name].detach()) == pytest.approx(float(expected.detach()), rel=1e-9)
    assert output.pairs is None


def images_of():
    generator = torch.Generator().manual_seed(8)
    kept = [torch.randn(1, 3, 6, 6 + 2 * (n % 2), generator=generator, dtype=torch.float64) for n in range(IMAGES)]
    return lambda places: ((place, kept[place]) for place in places)


def test_of_every_class_the_surest_pixels_of_either_network_are_stored_with_their_confidence():
    model = shuffled(deep_net(), 2)
    method = built(model, first_ratio=0.4)
    method.begin(1, images_of())
    masks = {place: planes_from_png(png, PLANES) for place, png in method.pseudo_masks().items()}
    assert sorted(masks) == list(range(IMAGES))
    for own, network in enumerate((model, method.peer)):
        p = {place: network.eval()(image)[0].softmax(0).detach() for place, image in images_of()(range(IMAGES))}
        for c in range(CLASSES):
            sure = torch.cat([one.amax(0)[one.argmax(0) == c] for one in p.values()])
            if not len(sure):
                continue
            kept = torch.cat([masks[place][2 * own][one.argmax(0) == c] for place, one in p.items()])
            assert set(kept.unique().tolist()) <= {c, 255}
            number = int((kept == c).sum())
            assert number == pytest.approx(0.4 * len(sure), abs=1.01)
            assert float(sure[kept == c].min()) >= float(sure[kept == 255].max()) - 1e-6
        for place, one in p.items():
            torch.testing.assert_close(
                masks[place][2 * own + 1].double() / 255, one.amax(0), atol=0.5 / 255 + 1e-9, rtol=0
            )


def test_weights_go_on_and_the_first_training_takes_the_whole_batch_from_the_labels():
    stages = built(deep_net(), stage_length="passes", unlabelled_batches=4).stages()
    assert [one.fresh for one in stages[1:]] == [False] * 5
    needs = [one.needs for one in stages]
    assert (needs[0].labelled_batches, needs[0].unlabelled) == (5, False)
    assert (needs[1].labelled_batches, needs[1].unlabelled_batches, needs[1].pseudo_planes) == (1, 4, 4)
    assert [one.epoch_images // 5 for one in needs[:2]] == [LABELLED // 5, IMAGES // 4]


def test_shares_of_the_epochs_are_equal_or_as_given():
    assert [one.share for one in built(deep_net(), iterations=3).stages()] == pytest.approx([0.25] * 4)
    stages = built(deep_net(), iterations=2, supervised_share=0.6).stages()
    assert [one.share for one in stages] == pytest.approx([0.6, 0.2, 0.2])


def test_the_frozen_labeller_teaches_the_other_network():
    model, data = shuffled(deep_net(), 2), data_of()
    method = built(model, pairs=True)
    method.begin(1, images_of())
    labellers = copy.deepcopy(model).eval(), copy.deepcopy(method.peer).eval()
    shuffled(model, 4)
    shuffled(method.peer, 5)
    pairs = method.losses(step_in(1, model, data)).pairs
    for pair, teacher in zip(pairs, reversed(labellers), strict=True):
        torch.testing.assert_close(pair.teacher, teacher(data.unlabelled.view.weak).detach())
        assert pair.student.requires_grad


def test_all_state_goes_round():
    method = built(shuffled(deep_net(), 2), pairs=True)
    method.begin(2, images_of())
    shuffled(method.peer, 6)
    other = built(deep_net(), pairs=True)
    other.load_state_dict(copy.deepcopy(method.state_dict()))
    assert other.pseudo_masks() == method.pseudo_masks()
    for name, value in method.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_planes_and_files_go_round():
    planes = torch.arange(24, dtype=torch.uint8).view(4, 2, 3)
    assert torch.equal(planes_from_png(planes_to_png(planes), 4), planes)
    assert torch.equal(planes_from_png(planes_to_png(planes[:1]), 1), planes[:1])
