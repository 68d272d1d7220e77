"""s4GAN and its multi-label branch against straight-line code from the equations, in float64."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.trainers.methods.deep_nets import HIGH, deep_context, deep_net, same_gradients, shuffled
from tests.trainers.methods.nets import CLASSES, SIDE, batch, step_of
from trainers.config import OptimConfig
from trainers.loop.optim import build_optimizer
from trainers.methods.presence import Gated
from trainers.methods.s4gan import LEARNED, MATCHED, S4Gan, S4GanConfig

B, WIDTH = 2, 3
MEAN, STD = (
    torch.tensor(one, dtype=torch.float64)[:, None, None] for one in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)


def built(model, *, pairs=False, **changes):
    config = S4GanConfig(**{"name": "s4gan", "discriminator_width": WIDTH, "presence_start": 0.1, **changes})
    method = S4Gan(config, deep_context(model, pairs=pairs))
    shuffled(method.discriminator, 4)
    return method


def judged(weights, maps, image, kept):
    """The score's logit and the features of one image, by the definition."""
    found = torch.zeros(CLASSES + 3, 16, 16, dtype=torch.float64)
    found[:CLASSES, :SIDE, :SIDE], found[CLASSES:, :SIDE, :SIDE] = maps, image * STD + MEAN
    for n in range(4):
        found = F.conv2d(
            found[None], weights[f"halve.{n}.0.weight"], weights[f"halve.{n}.0.bias"], stride=2, padding=1
        )[0]
        found = torch.where(found > 0, found, 0.2 * found)
        if kept is not None and n < 3:
            found = found * kept[n]
    features = found.sum((1, 2)) / found[0].numel()
    return weights["classify.weight"][0] @ features + weights["classify.bias"][0], features


def expected(method, twin, weights, data, thresh):
    """The terms that every s4GAN has. ``weights``: the discriminator's, with gradient."""
    held = {name: weight.detach() for name, weight in weights.items()}
    twin.train()
    q_l, q_u = twin(data.labelled.image), twin(data.unlabelled.view.weak)
    true = [torch.stack([(data.labelled.mask[b] == c).double() for c in range(CLASSES)]) for b in range(B)]

    def kept(place, stream):
        drops = method._kept(data, data.labelled.image, stream)
        return None if drops is None else [layer[place] for layer in drops]

    def of(weights, stream, p_u):
        fake = [judged(weights, p_u[b], data.unlabelled.view.weak[b], kept(b, stream)) for b in range(B)]
        return fake, [judged(weights, true[b], data.labelled.image[b], kept(B + b, stream)) for b in range(B)]

    fake, real = of(held, MATCHED, q_u.softmax(1))
    apart = sum(one[1] for one in real) / B - sum(one[1] for one in fake) / B
    total, count = torch.zeros(()), 0
    for b in range(B):
        for i in range(SIDE):
            for j in range(SIDE):
                if torch.sigmoid(fake[b][0]) > thresh and data.unlabelled.view.ignore[b, i, j] != 255:
                    total, count = total - q_u[b, :, i, j].log_softmax(0).max(), count + 1
    own_fake, own_real = of(weights, LEARNED, q_u.detach().softmax(1))
    own = sum(one[0].exp().log1p() for one in own_fake) / B + sum((-one[0]).exp().log1p() for one in own_real) / B
    return {
        "supervised": F.cross_entropy(q_l, data.labelled.mask, ignore_index=255),
        "feature_matching": apart.abs().sum() / len(apart),
        "self_training": total / max(count, 1),
        "discriminator": own / 2,
    }, [float(torch.sigmoid(one[0].detach())) for one in fake]


def between(model, data, **changes):
    """A method whose threshold lies between the scores of the two images, and the scores."""
    method = built(model, **changes)
    weights = dict(copy.deepcopy(method.discriminator).named_parameters())
    _, scores = expected(method, copy.deepcopy(model), weights, data, 0.5)
    assert scores[0] != pytest.approx(scores[1], rel=1e-3)
    return built(model, trust_thresh=sum(scores) / 2, **changes)


def compare(output, terms, ours, twins):
    for name, term in terms.items():
        assert float(output.terms[name].detach()) == pytest.approx(float(term.detach()), rel=1e-9), name
    sum(output.weights[name] * term for name, term in output.terms.items()).backward()
    sum(output.weights[name] * term for name, term in terms.items()).backward()
    same_gradients(ours, twins)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_terms_and_gradients_are_those_of_the_equations(dropout):
    model, data = deep_net(), batch(0)
    given = {"feature_matching_weight": 0.4, "self_training_weight": 0.7}
    method, twin = between(model, data, discriminator_dropout=dropout, **given), copy.deepcopy(model)
    own = copy.deepcopy(method.discriminator)
    terms, scores = expected(method, twin, dict(own.named_parameters()), data, method.config.trust_thresh)
    assert sum(one > method.config.trust_thresh for one in scores) == 1
    output = method.losses(step_of(model, data))
    assert output.weights == {"supervised": 1, "feature_matching": 0.4, "self_training": 0.7, "discriminator": 1}
    compare(output, terms, (model, method.discriminator), (twin, own))


def test_the_first_step_has_no_self_training():
    model, data = deep_net(), batch(0)
    assert built(model).losses(step_of(model, data, step=0)).weights["self_training"] == 0


def test_the_classifier_learns_presence_and_to_agree_with_its_average():
    model, data = deep_net(), batch(1)
    method, twin = built(model, multi_label=True, trust_thresh=1.0), copy.deepcopy(model)
    shuffled(method.classifier, 8)
    shuffled(method.average.network, 9)
    own, classifier, average = (
        copy.deepcopy(one).train() for one in (method.discriminator, method.classifier, method.average.network)
    )

    def said(one, images):
        high = one.network.backbone.stages(images)[2]
        return one.classify(high.mean((2, 3)))

    terms, _ = expected(method, twin, dict(own.named_parameters()), data, 1.0)
    p, wrong = torch.sigmoid(said(classifier, data.labelled.image)), 0.0
    for b in range(B):
        for c in range(CLASSES):
            shows = bool((data.labelled.mask[b] == c).any())
            wrong = wrong - (p[b, c].log() if shows else (1 - p[b, c]).log()) / (B * CLASSES)
    mine = said(classifier, data.unlabelled.view.strong[0])
    with torch.no_grad():
        theirs = said(average, data.unlabelled.view.weak)
    apart = sum(1 - mine[b] @ theirs[b] / (mine[b].norm() * theirs[b].norm()) for b in range(B)) / B
    terms |= {"presence": wrong, "presence_consistency": apart}
    output = method.losses(step_of(model, data, step=3))  # of 10
    assert output.weights["presence_consistency"] == pytest.approx(2 * (0.3 - 0.1))
    compare(output, terms, (model, method.discriminator, method.classifier), (twin, own, classifier))


def test_the_consistency_grows_from_its_start_to_its_largest_weight():
    model, data = deep_net(), batch(1)
    method = built(model, multi_label=True, presence_consistency=0.7)
    found = [method.losses(step_of(model, data, step=step)).weights["presence_consistency"] for step in (0, 1, 4, 9)]
    assert found == pytest.approx([0, 0, 0.6, 0.7])


class Says(nn.Module):
    def __init__(self, values):
        super().__init__()
        self.values = values

    def forward(self, images):
        return self.values


def test_a_class_that_the_classifier_denies_gets_no_pixel_and_one_image_keeps_all():
    logits = torch.randn(2, CLASSES, 4, 5, generator=torch.Generator().manual_seed(0))
    said = torch.tensor([[-2.0, 0.0, 3.0], [-9.0, -9.0, -9.0]])
    gated = Gated(Says(logits), Says(said), thresh=0.2)(torch.zeros(2, 3, 4, 5))
    assert bool((gated[0, 0] == -math.inf).all())
    assert torch.equal(gated[0, 1:], logits[0, 1:])
    assert torch.equal(gated[1], logits[1])


def test_the_gated_network_is_scored_and_the_decoder_of_the_classifiers_network_is_gone():
    method = built(deep_net(), multi_label=True)
    assert method.networks()[method.eval_network] is method.gated
    names = {name.split(".")[0] + "." + name.split(".")[1] for name, _ in method.classifier.named_parameters()}
    assert names == {"network.backbone", "classify.weight", "classify.bias"}
    assert method.classifier.classify.weight.shape == (CLASSES, HIGH)
    assert built(deep_net()).networks().keys() == {"student"}


def test_the_classifier_has_sgd_with_its_own_rate_and_the_configs_momentum():
    one = built(deep_net(), multi_label=True, presence_lr=0.02).trained()["classifier"]
    optimizer = build_optimizer(one.module, None, OptimConfig(name="adamw", momentum=0.8), sgd_lr=one.sgd_lr)
    assert isinstance(optimizer, torch.optim.SGD)
    assert [(group["lr"], group["momentum"]) for group in optimizer.param_groups] == [(0.02, 0.8)]


def test_all_state_goes_round():
    method, other = (built(deep_net(), multi_label=True) for _ in range(2))
    shuffled(method.classifier, 3)
    method.after_step()
    other.load_state_dict(copy.deepcopy(method.state_dict()))
    assert other.average.updates == 1
    for name, value in method.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
