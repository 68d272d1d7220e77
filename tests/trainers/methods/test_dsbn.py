"""DSBN: loss and both kinds of batch norm against straight-line code, in float64."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.trainers.methods.deep_nets import deep_context, deep_net, same_gradients, shuffled
from tests.trainers.methods.nets import SIDE
from tests.trainers.methods.test_st import IMAGES, B, data_of, images_of, step_in
from trainers.common.errors import ConfigError
from trainers.data.read import mask_from_png
from trainers.methods.dsbn import Dsbn, DsbnConfig
from trainers.methods.labelling import predict


def made(model, *, pairs=False, **changes):
    return Dsbn(DsbnConfig(name="dsbn", **changes), deep_context(model, pairs=pairs, unlabelled=IMAGES, labelled=3))


def norms(network):
    return [one for one in network.modules() if isinstance(one, nn.BatchNorm2d)]


def own_norms(method):
    """Those of the strong images, in the order of the network's."""
    return [other for _, other in method.separate._pairs]


def pseudo_loss(logits, targets, *, thresh, beta):
    """Pixel by pixel."""
    total = 0.0
    for b in range(B):
        for i in range(SIDE):
            for j in range(SIDE):
                label = int(targets[b, i, j])
                if label == 255:
                    continue
                q = F.softmax(logits[b, :, i, j], 0)
                w = float(q.max().detach())
                w = 1.0 if w > thresh else w
                onehot = torch.zeros(len(q), dtype=torch.float64)
                onehot[label] = 1
                reverse = -(q * onehot.clamp(1e-4, 1).log()).sum()
                total = total - (1 - w) * q[label].log() + beta * w * reverse
    return total / (B * SIDE * SIDE)


@pytest.mark.parametrize("separate", [True, False])
def test_the_loss_is_that_of_its_equation_and_strong_images_have_batch_norm_of_their_own(separate):
    model, data = deep_net(), data_of()
    method = made(model, separate_norm=separate, reverse_weight=0.5, sure_thresh=0.45)
    twin = copy.deepcopy(model).train()
    strong = twin
    if separate:
        for number, norm in enumerate(own_norms(method)):
            shuffled(norm, number)
        strong = copy.deepcopy(model).train()
        for mine, theirs in zip(norms(strong), own_norms(method), strict=True):
            mine.load_state_dict(theirs.state_dict())
        clean, changed = twin(data.labelled.image), strong(data.unlabelled.view.strong[0])
    else:
        clean, changed = twin(torch.cat([data.labelled.image, data.unlabelled.view.strong[0]])).chunk(2)
    expected = F.cross_entropy(clean, data.labelled.mask, ignore_index=255) + pseudo_loss(
        changed, data.unlabelled.pseudo, thresh=0.45, beta=0.5
    )
    output = method.losses(step_in(1, model, data))
    loss = sum(output.weights[name] * term for name, term in output.terms.items())
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-9)
    loss.backward()
    expected.backward()
    if separate:
        same_gradients(own_norms(method), norms(strong))
        for mine, theirs in zip(own_norms(method), norms(strong), strict=True):
            torch.testing.assert_close(mine.running_mean, theirs.running_mean)
        shared = {name for name, module in twin.named_modules() if isinstance(module, nn.BatchNorm2d)}
        for name, weight in twin.named_parameters():
            if name.rpartition(".")[0] not in shared:
                weight.grad += strong.get_parameter(name).grad
    same_gradients((model,), (twin,))
    for mine, theirs in zip(norms(model), norms(twin), strict=True):
        torch.testing.assert_close(mine.running_mean, theirs.running_mean)


def test_their_batch_norm_begins_as_a_copy_and_the_network_has_only_its_own():
    model = deep_net()
    names = set(model.state_dict())
    method = made(model)
    shuffled(model, 5)
    assert set(model.state_dict()) == names
    method.begin(1, images_of())
    for mine, theirs in zip(norms(model), own_norms(method), strict=True):
        assert torch.equal(mine.weight, theirs.weight)
        assert mine.weight is not theirs.weight
    shuffled(model, 6)
    method.begin(2, images_of())
    assert not any(torch.equal(a.weight, b.weight) for a, b in zip(norms(model), own_norms(method), strict=True))


def test_a_copy_of_the_network_and_an_evaluation_know_the_networks_own_batch_norm_alone():
    model = deep_net()
    method = made(model)
    images = data_of().labelled.image
    expected = deep_net().eval()(images)
    for number, norm in enumerate(own_norms(method)):
        shuffled(norm, number)
    torch.testing.assert_close(model.eval()(images), expected)
    twin = copy.deepcopy(model)
    shuffled(model, 3)
    torch.testing.assert_close(twin.eval()(images), expected)


def test_backbone_and_head_train_at_rates_of_their_own():
    (module,) = made(deep_net()).trained().values()
    assert len(module.module["backbone"]) == 3
    assert len(module.module["head"]) == 1
    assert module.backbone is module.module["backbone"]
    assert made(deep_net(), separate_norm=False).trained() == {}


def test_a_network_without_batch_norm_to_have_twice_is_refused():
    model = deep_net()
    for norm in norms(model):
        norm.requires_grad_(False)
    with pytest.raises(ConfigError, match="separate_norm"):
        made(model)


def test_the_pull_is_towards_the_weights_that_the_training_began_with():
    model, data = deep_net(), data_of()
    method = made(model, start_pull=0.1)
    before = copy.deepcopy(model)
    method.begin(1, images_of())
    shuffled(model, 3)
    output = method.losses(step_in(1, model, data))
    expected = sum(
        float(((a - b) ** 2).sum().detach()) for a, b in zip(model.parameters(), before.parameters(), strict=True)
    )
    assert float(output.terms["pull"].detach()) == pytest.approx(expected)
    assert output.weights["pull"] == 0.1
    other = made(deep_net(), start_pull=0.1)
    other.load_state_dict(copy.deepcopy(method.state_dict()))
    assert all(torch.equal(other.start[name], weight) for name, weight in before.named_parameters())
    assert math.isfinite(expected)


def test_there_is_a_training_for_every_round_and_passes_have_their_lists_length():
    stages = made(deep_net(), rounds=2, supervised_share=0.5, stage_length="passes").stages()
    assert [(stage.share, stage.fresh) for stage in stages] == [(0.5, True), (0.25, False), (0.25, False)]
    assert [stage.needs.epoch_images for stage in stages] == [3, 2 * IMAGES, 2 * IMAGES]
    assert [stage.needs.strong for stage in stages] == [0, 1, 1]
    assert [stage.share for stage in made(deep_net(), rounds=2).stages()] == pytest.approx([1 / 3] * 3)


def test_every_pixel_keeps_the_label_that_the_last_student_gives_it():
    model = shuffled(deep_net(), 2)
    method = made(model)
    method.begin(1, images_of())
    for place, image in images_of()(range(IMAGES)):
        p = predict(copy.deepcopy(model).eval(), image, scales=method.config.scales, flip=True)[0]
        assert torch.equal(mask_from_png(method.pseudo_masks()[place]).long(), p.argmax(0))
