"""U2PL against straight-line code from its steps, in float64: entropy partition, ranks and banks by brute force."""

import copy

import pytest
import torch
from torch.nn import functional as F

from tests.trainers.methods.deep_nets import WIDTH, deep_context, deep_net, same_gradients, shuffled
from tests.trainers.methods.nets import CLASSES, SIDE, batch, count_or_one, step_of
from trainers.interface.step import Progress, Step
from trainers.methods.mixing import image_generators
from trainers.methods.u2pl import U2pl, U2plConfig, _on_this_process, quantile

B, SMALL = 2, SIDE // 2
QUICK = {"name": "u2pl", "supervised_epochs": 0, "bank_size": 40, "anchors": 6, "negatives": 4, "delta_p": 0.3}


def built(model, *, pairs=False, **changes):
    method = U2pl(U2plConfig(**{**QUICK, **changes}), deep_context(model, pairs=pairs))
    method.teacher.network.load_state_dict(shuffled(deep_net(), 3).state_dict())
    shuffled(method.head, 4)
    shuffled(method.head_teacher.network, 5)
    generator = torch.Generator().manual_seed(6)
    for label in range(CLASSES):
        method.bank(label).push(0, torch.randn(2, WIDTH, generator=generator, dtype=torch.float64))
    return method


def swap(tensor):
    return tensor[[1, 0]]


def put(one, other, box):
    return torch.where(box.view(B, *([1] * (one.dim() - 3)), SIDE, SIDE), other, one)


def pixels(count, side):
    return [(b, i, j) for b in range(count) for i in range(side) for j in range(side)]


def percentile(values, share):
    """As np.percentile: linear between the two nearest."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def cosine(one, other):
    return one @ other / (one.norm() * other.norm())


CASES = [
    {},
    {"negatives_from": "reliable", "head_dropout": 0},
    {"negatives_from": "all", "r_l": 2},
    {"bank_size": 3, "r_l": 1, "r_h": 2, "head_dropout": 0.4},
    {"bank_size": 5, "alpha0": 0.5, "temperature": 0.1, "delta_p": 0},
]


def by_hand(head, neck, data, streams, probability):
    """The head's layers one after the other, each image's channels dropped by its own draws."""
    rngs = [rng for stream in streams for rng in image_generators(data, stream)]
    drawn = torch.stack([torch.from_numpy(rng.random(2 * WIDTH)) for rng in rngs])
    kept = (drawn >= probability).double() / (1 - probability)
    features = neck
    for number, (conv, norm, _) in enumerate((head.first, head.second)):
        features = F.relu(norm(conv(features)))
        features = features * kept[:, number * WIDTH : (number + 1) * WIDTH, None, None]
    return head.last(features)


@pytest.mark.parametrize("partner", [True, False])
@pytest.mark.parametrize("changes", CASES)
def test_the_loss_is_that_of_its_steps(changes, partner):
    model, data = deep_net(), batch(0, boxes=1, partner=partner)
    method = built(model, **{"alpha0": 0.3, "r_l": 1, "r_h": 20, **changes})
    config = method.config
    twin, head = copy.deepcopy(model).train(), copy.deepcopy(method.head).train()
    teacher, head_teacher = (copy.deepcopy(one.network) for one in (method.teacher, method.head_teacher))
    bank = [list(method.bank(c).of(0).clone()) for c in range(CLASSES)]
    labelled, view, other, box = data.labelled, data.unlabelled.view, data.unlabelled.partner, data.unlabelled.boxes[0]
    with torch.no_grad():
        own = teacher.eval()(view.weak)
        soft = put(own, teacher(other.weak) if partner else swap(own), box)
        ignore = put(view.ignore, other.ignore if partner else swap(view.ignore), box)
        images = torch.cat([labelled.image, put(view.weak, other.weak if partner else swap(view.weak), box)])
        seen = teacher.train()(images, features=True)
        theirs = by_hand(head_teacher.train(), seen.neck, data, (302, 303), config.head_dropout)
        p = F.softmax(seen.logits[B:], dim=1)
        entropy = -(p * p.log()).sum(dim=1)
    student = twin(images, features=True)
    mine = by_hand(head, student.neck, data, (300, 301), config.head_dropout)

    share = config.alpha0 * (1 - 1 / 5)  # step 3 of 10, two an epoch: the second of five epochs
    valid = [(b, i, j) for b, i, j in pixels(B, SIDE) if ignore[b, i, j] != 255]
    values = [float(entropy[at]) for at in valid]
    high, low = percentile(values, 1 - share), percentile(values, share)
    kept = [at for at in valid if float(entropy[at]) < high]
    nll = [F.cross_entropy(student.logits[B:][b, :, i, j], soft[b, :, i, j].argmax()) for b, i, j in kept]
    unsupervised = (B * SIDE * SIDE / len(kept)) * (sum(nll) / len(kept))

    def label_at(b, i, j):
        """At stride 2: ground truth, or a reliable pseudo-label."""
        if b < B:
            return int(labelled.mask[b, 2 * i, 2 * j])
        at = (b - B, 2 * i, 2 * j)
        reliable = ignore[at] != 255 and float(entropy[at]) <= low
        return int(soft[at[0], :, at[1], at[2]].argmax()) if reliable else 255

    def rank(b, i, j, c):
        return sum(float(other) > float(seen.coarse[b, c, i, j]) for other in seen.coarse[b, :, i, j])

    def may_be_negative(b, i, j, c):
        if b < B:
            y = int(labelled.mask[b, 2 * i, 2 * j])
            return y not in (255, c) and rank(b, i, j, c) < config.r_l
        at = (b - B, 2 * i, 2 * j)
        if ignore[at] == 255:
            return False
        unreliable = float(entropy[at]) >= high
        of_the_kind = {"unreliable": unreliable, "reliable": not unreliable, "all": True}[config.negatives_from]
        return of_the_kind and config.r_l <= rank(b, i, j, c) < config.r_h

    everywhere = pixels(2 * B, SMALL)
    for c in range(CLASSES):
        size = config.bank_size if c else round(config.background_size * config.bank_size)
        bank[c] = (bank[c] + [theirs[b, :, i, j] for b, i, j in everywhere if may_be_negative(b, i, j, c)])[-size:]
    generator, shown, contrast = torch.Generator().manual_seed(data.seed), 0, 0.0
    for c in range(CLASSES):
        here = [at for at in everywhere if label_at(*at) == c]
        shown += bool(here)
        prob = F.softmax(seen.coarse, dim=1)
        here = [(b, i, j) for b, i, j in here if float(prob[b, c, i, j]) > config.delta_p]
        if not here or not bank[c]:
            continue
        positive = sum(theirs[b, :, i, j] for b, i, j in here) / len(here)
        anchors = torch.randint(len(here), (config.anchors,), generator=generator).tolist()
        negatives = torch.randint(len(bank[c]), (config.anchors, config.negatives), generator=generator).tolist()
        losses = []
        for n, drawn in zip(anchors, negatives, strict=True):
            b, i, j = here[n]
            z = mine[b, :, i, j]
            scores = [cosine(z, key) / config.temperature for key in [positive, *(bank[c][m] for m in drawn)]]
            losses.append(-F.log_softmax(torch.stack(scores), dim=0)[0])
        contrast = contrast + sum(losses) / len(losses)
    expected = {
        "supervised": F.cross_entropy(student.logits[:B], labelled.mask, ignore_index=255),
        "unsupervised": unsupervised,
        "contrast": contrast / shown,
    }
    output = method.losses(step_of(model, data))
    assert output.weights == pytest.approx({"supervised": 1, "unsupervised": 1, "contrast": 0.1})
    assert float(expected["contrast"].detach()) > 0
    for name, value in expected.items():
        assert float(output.terms[name].detach()) == pytest.approx(float(value.detach()), rel=1e-5), name
    sum(output.weights[name] * term for name, term in output.terms.items()).backward()
    (expected["supervised"] + unsupervised + 0.1 * expected["contrast"]).backward()
    same_gradients([model, method.head], [twin, head])
    for c in range(CLASSES):
        torch.testing.assert_close(method.bank(c).of(0), torch.stack(bank[c]))


@pytest.mark.parametrize("ranks", [(3, 20), (2, 2), (9, 3)])
def test_an_empty_window_of_ranks_takes_no_unlabelled_negatives(ranks):
    """The window [3, 20) of the paper is empty with 3 classes."""
    for sure in (True, False):
        model, data = deep_net(), batch(0, boxes=1, partner=False)
        method = built(model, r_l=ranks[0], r_h=ranks[1], negatives_from="all", bank_size=1000)
        if sure:
            data.labelled.mask.fill_(255)
        before = sum(int(method.bank(c).count[0]) for c in range(CLASSES))
        method.losses(step_of(model, data))
        grown = sum(int(method.bank(c).count[0]) for c in range(CLASSES)) > before
        assert grown is not sure


def at_step(model, data, step):
    return Step(
        student=model,
        batch=data,
        denominator=count_or_one,
        progress=Progress(step=step, steps_per_epoch=2, total_steps=10),
    )


def test_labelled_epochs_come_first_and_the_teacher_is_the_student_until_then():
    model, data = deep_net(), batch(0, boxes=1, partner=False)
    method = built(model, supervised_epochs=1, pairs=True)
    before = [int(method.bank(c).count[0]) for c in range(CLASSES)]
    output = method.losses(at_step(model, data, 1))
    assert output.pairs is None
    assert float(output.terms["unsupervised"]) == float(output.terms["contrast"]) == 0
    assert [int(method.bank(c).count[0]) for c in range(CLASSES)] == before
    method.after_step()
    for mine, theirs in zip(method.teacher.network.parameters(), model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.data_ptr() != theirs.data_ptr()
    assert method.teacher.updates == 0
    (pair,) = method.losses(at_step(model, data, 2)).pairs
    assert not pair.teacher.requires_grad
    assert pair.student.requires_grad
    method.after_step()
    assert method.teacher.updates == method.head_teacher.updates == 1


def test_banks_heads_and_teachers_come_back_from_their_state():
    first, second = (built(deep_net(seed)) for seed in (0, 1))
    first.losses(step_of(first.student, batch(0, boxes=1)))
    first.after_step()
    state = {name: value.clone() for name, value in first.state_dict().items()}
    second.load_state_dict(state)
    assert second.state_dict().keys() == state.keys()
    assert all(torch.equal(second.state_dict()[name], value) for name, value in state.items())


def test_a_step_draws_nothing_from_the_global_random_state():
    model = deep_net()
    method = built(model)
    before = torch.get_rng_state()
    method.losses(step_of(model, batch(0, boxes=1)))
    assert torch.equal(torch.get_rng_state(), before)


def test_candidates_of_all_processes_are_counted_once_and_in_the_order_of_one():
    counts = torch.tensor([[2, 1], [0, 3], [1, 2]])
    one_process = ["l0a", "l0b", "l2a", "u0a", "u1a", "u1b", "u1c", "u2a", "u2b"]
    each = [["l0a", "l0b", "u0a"], ["u1a", "u1b", "u1c"], ["l2a", "u2a", "u2b"]]
    drawn = torch.tensor([8, 0, 0, 2, 3, 6, 7, 1, 4])
    found = {}
    for rank in range(3):
        mine, places = _on_this_process(drawn, counts, rank)
        for where, place in zip(mine.tolist(), places.tolist(), strict=True):
            assert where not in found
            found[where] = each[rank][place]
    assert [found[n] for n in range(len(drawn))] == [one_process[n] for n in drawn.tolist()]


@pytest.mark.parametrize("share", [0.0, 0.2, 0.77, 1.0])
@pytest.mark.parametrize("count", [1, 2, 17])
def test_the_quantile_is_that_of_torch(share, count):
    values = torch.randn(count, generator=torch.Generator().manual_seed(count), dtype=torch.float64)
    padded = torch.cat([values.sort().values, torch.full((3,), torch.inf, dtype=values.dtype)])
    torch.testing.assert_close(quantile(padded, torch.tensor(count), share), torch.quantile(values, share))
