"""FixMatch and UniMatch against straight-line code from their steps, in float64 on a small network."""

import copy

import pytest
import torch
from torch.nn import functional as F

from tests.trainers.methods.nets import SIDE, batch, context, net, step_of
from trainers.interface.batch import Labelled, SemiBatch
from trainers.losses.interpixel_config import InterPixelConfig
from trainers.methods.ema import EmaTeacher
from trainers.methods.fixmatch import FixMatchConfig
from trainers.methods.registry import build_method
from trainers.methods.supervised import OhemConfig, SupervisedConfig
from trainers.methods.unimatch import UniMatchConfig


def consistency(logits, soft, ignore, thresh):
    confidence, label = soft.float().softmax(1).max(1)
    total = 0.0
    for b in range(2):
        for i in range(SIDE):
            for j in range(SIDE):
                if ignore[b, i, j] != 255 and confidence[b, i, j] >= thresh:
                    total = total + F.cross_entropy(logits[b, :, i, j], label[b, i, j])
    return total / int((ignore != 255).sum())


def swap(tensor):
    return tensor[[1, 0]]


def mixed(one, other, box):
    return torch.where(box.view(2, *([1] * (one.dim() - 3)), SIDE, SIDE), other, one)


def straight_line(model, data, *, strong, thresh, dropout=None):
    """Terms by name, from the steps of the papers. ``model`` is used up."""
    unlabelled, labelled = data.unlabelled, data.labelled
    view, partner = unlabelled.view, unlabelled.partner
    if partner is not None:
        model.eval()
        with torch.no_grad():
            partner_logits, partner_ignore = model(partner.weak), partner.ignore
    model.train()
    both = torch.cat([labelled.image, view.weak])
    clean, dropped = (model(both), None) if dropout is None else model(both, dropout)
    pasted = [
        mixed(view.strong[v], partner.strong[v] if partner else swap(view.strong[v]), unlabelled.boxes[v])
        for v in range(strong)
    ]
    outputs = model(torch.cat(pasted)).chunk(strong)
    soft = clean[2:].detach()
    if partner is None:
        partner_logits, partner_ignore = swap(soft), swap(view.ignore)
    terms = {"supervised": F.cross_entropy(clean[:2], labelled.mask, ignore_index=255)}
    for v in range(strong):
        box = unlabelled.boxes[v]
        target, ignore = mixed(soft, partner_logits, box), mixed(view.ignore, partner_ignore, box)
        terms[f"strong{v + 1}"] = consistency(outputs[v], target, ignore, thresh)
    if dropped is not None:
        terms["feature"] = consistency(dropped[2:], soft, view.ignore, thresh)
    return terms


CASES = {
    "fixmatch": (FixMatchConfig(name="fixmatch", conf_thresh=0.4, unsupervised_weight=0.7), 1),
    "unimatch": (UniMatchConfig(name="unimatch", conf_thresh=0.4, strong1_weight=0.2, strong2_weight=0.3), 2),
}
WEIGHTS = {
    "fixmatch": {"supervised": 0.5, "strong1": 0.35},
    "unimatch": {"supervised": 0.5, "strong1": 0.1, "strong2": 0.15, "feature": 0.25},
}


@pytest.mark.parametrize("partner", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_terms_weights_and_gradients_are_those_of_the_papers_steps(name, partner):
    config, strong = CASES[name]
    model, data = net(), batch(strong, partner=partner)
    twin = copy.deepcopy(model)
    method = build_method(config, context(model))
    output = method.losses(step_of(model, data))
    dropout = method._dropout(data) if name == "unimatch" else None
    expected = straight_line(twin, data, strong=strong, thresh=0.4, dropout=dropout)
    assert output.weights == pytest.approx(WEIGHTS[name])
    assert output.terms.keys() == expected.keys()
    for term, value in expected.items():
        assert float(output.terms[term]) == pytest.approx(float(value), rel=1e-6), term
    sum(output.weights[term] * value for term, value in output.terms.items()).backward()
    sum(WEIGHTS[name][term] * value for term, value in expected.items()).backward()
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-5, atol=1e-9)
    for mine, theirs in zip(model.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs)


def method_of(name, model, *, interpixel=None, **changes):
    config = {"supervised": SupervisedConfig(name="supervised")} | {key: value[0] for key, value in CASES.items()}
    return build_method(config[name].model_copy(update=changes), context(model, interpixel or InterPixelConfig()))


@pytest.mark.parametrize("name", ["supervised", "fixmatch", "unimatch"])
def test_with_alpha_zero_no_pairs_are_built(name):
    model = net()
    method = method_of(name, model)
    data = batch(method.needs.strong) if method.needs.unlabelled else copy.copy(batch(0))
    if not method.needs.unlabelled:
        data = SemiBatch(labelled=data.labelled, unlabelled=None, seed=0)
    assert method.losses(step_of(model, data)).pairs == ()


@pytest.mark.parametrize("alpha", [0, 1])
@pytest.mark.parametrize("name", ["supervised", "fixmatch", "unimatch"])
def test_a_step_draws_nothing_from_the_global_random_state(name, alpha):
    model = net()
    method = method_of(name, model, interpixel=InterPixelConfig(alpha=alpha))
    before = torch.get_rng_state()
    method.losses(step_of(model, batch(method.needs.strong)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["supervised", "fixmatch", "unimatch"])
def test_hard_pixels_are_mined_where_configured(name):
    data, found = batch(2), {}
    for kept in (1, 10**6):
        model = net()
        ohem = OhemConfig(thresh=0.01, min_kept=kept)
        method = method_of(name, model, ohem=ohem, interpixel=InterPixelConfig(alpha=1))
        found[kept] = float(method.losses(step_of(model, data)).terms["supervised"].detach())
    assert found[1] > 1.5 * found[10**6]


def test_pairs_hold_the_mixed_teacher_and_the_student_of_every_view():
    model, data = net(), batch(2)
    twin = copy.deepcopy(model)
    method = method_of("unimatch", model, interpixel=InterPixelConfig(alpha=1, views="s1s2fp"))
    pairs = method.losses(step_of(model, data)).pairs
    assert [pair.view for pair in pairs] == ["s1", "s2", "fp"]
    twin.eval()
    with torch.no_grad():
        partner = twin(data.unlabelled.partner.weak)
    twin.train()
    soft = twin(torch.cat([data.labelled.image, data.unlabelled.view.weak]))[2:].detach()
    expected = mixed(soft, partner, data.unlabelled.boxes[1])
    torch.testing.assert_close(pairs[1].teacher, expected)
    assert not any(pair.teacher.requires_grad for pair in pairs)
    assert all(pair.student.requires_grad for pair in pairs)
    torch.testing.assert_close(pairs[2].teacher, soft)


def test_supervised_with_the_inter_pixel_loss_takes_one_unlabelled_strong_view():
    model, data = net(), batch(1)
    method = method_of("supervised", model, interpixel=InterPixelConfig(alpha=1))
    assert (method.needs.unlabelled, method.needs.strong) == (True, 1)
    output = method.losses(step_of(model, data))
    assert [pair.view for pair in output.pairs] == ["s1"]
    assert output.terms.keys() == {"supervised"}
    assert model.training


@pytest.mark.parametrize("name", ["fixmatch", "unimatch"])
def test_the_teachers_look_at_the_partner_leaves_batch_norm_as_it_was(name):
    model = net()
    method = method_of(name, model)
    before = [buffer.clone() for buffer in model.buffers()]
    method.teacher.partner(batch(method.needs.strong).unlabelled)
    assert all(torch.equal(one, other) for one, other in zip(before, model.buffers(), strict=True))


def test_feature_dropout_of_two_processes_is_that_of_one_cut_in_two():
    model = net()
    method = method_of("unimatch", model)
    whole = batch(2)
    double = SemiBatch(
        labelled=Labelled(image=whole.labelled.image.repeat(2, 1, 1, 1), mask=whole.labelled.mask.repeat(2, 1, 1)),
        unlabelled=whole.unlabelled,
        seed=5,
    )
    one = method._dropout(double)
    for rank in range(2):
        part = SemiBatch(labelled=whole.labelled, unlabelled=whole.unlabelled, seed=5, rank=rank, world=2)
        for mine, all_of_it in zip(method._dropout(part), one, strict=True):
            labelled, unlabelled = all_of_it.chunk(2)
            mine_labelled, mine_unlabelled = mine.chunk(2)
            assert torch.equal(mine_labelled, labelled[2 * rank : 2 * rank + 2])
            assert torch.equal(mine_unlabelled, unlabelled[2 * rank : 2 * rank + 2])


@pytest.mark.parametrize("buffers", ["own", "ema", "copy"])
def test_an_average_copies_at_first_and_then_follows_its_closed_form(buffers):
    student = net(0)
    teacher = EmaTeacher(net(1), decay=0.9, buffers=buffers)
    teacher.student = student
    expected = None
    for update in range(15):
        with torch.no_grad():
            for parameter in student.parameters():
                parameter.add_(update)
        weight = student.low[0].weight.detach().clone()
        decay = min(1 - 1 / (update + 1), 0.9)
        expected = weight if update == 0 else decay * expected + (1 - decay) * weight
        teacher.update()
        torch.testing.assert_close(teacher.network.low[0].weight, expected)


@pytest.mark.parametrize(("buffers", "expected"), [("own", 0.0), ("copy", 8.0), ("ema", 6.0)])
def test_batch_norm_statistics_follow_the_policy(buffers, expected):
    student = net()
    teacher = EmaTeacher(student, decay=0.5, buffers=buffers)
    for value in (4.0, 8.0):
        student.low[1].running_mean.fill_(value)
        student.low[1].num_batches_tracked += 1
        teacher.update()
    assert float(teacher.network.low[1].running_mean[0]) == expected
    assert int(teacher.network.low[1].num_batches_tracked) == (0 if buffers == "own" else 2)


def test_an_ema_method_saves_and_loads_its_teacher():
    first, second = net(0), net(1)
    saved = method_of("fixmatch", first, teacher="ema")
    for _ in range(3):
        saved.after_step()
    loaded = method_of("fixmatch", second, teacher="ema")
    loaded.load_state_dict(saved.state_dict())
    assert loaded.teacher.ema.updates == 3
    for mine, theirs in zip(loaded.networks()["teacher"].parameters(), first.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_the_ema_teacher_makes_the_pseudo_labels():
    model, data = net(), batch(1)
    method = method_of("fixmatch", model, interpixel=InterPixelConfig(alpha=1), teacher="ema", ema_buffers="copy")
    with torch.no_grad():
        for parameter in method.teacher.ema.network.parameters():
            parameter.mul_(-1)
    twin = copy.deepcopy(method.teacher.ema.network).eval()
    (pair,) = method.losses(step_of(model, data)).pairs
    expected = mixed(twin(data.unlabelled.view.weak), twin(data.unlabelled.partner.weak), data.unlabelled.boxes[0])
    torch.testing.assert_close(pair.teacher, expected)
