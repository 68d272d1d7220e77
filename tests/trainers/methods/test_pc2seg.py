"""PC2Seg against straight-line code from its equations, cell by cell in float64."""

import copy

import pytest
import torch
from torch.nn import functional as F

from tests.trainers.methods.deep_nets import deep_context, deep_net, same_gradients, shuffled
from tests.trainers.methods.nets import CLASSES, count_or_one
from trainers.common.errors import ConfigError
from trainers.interface.batch import Labelled, SemiBatch, Unlabelled, View
from trainers.interface.step import Progress, Step
from trainers.losses.ramps import gaussian_ramp
from trainers.methods.pc2seg import Pc2Seg, Pc2SegConfig

B, SIDE, CELL = 2, 24, 8
EDGE = SIDE // CELL


def data(count=B):
    generator = torch.Generator().manual_seed(0)
    labelled, weak, strong = (
        torch.randn(count, 3, SIDE, SIDE, generator=generator, dtype=torch.float64) for _ in range(3)
    )
    mask = torch.randint(0, CLASSES, (count, SIDE, SIDE), generator=generator)
    mask[0, :2] = 255
    ignore = torch.zeros(count, SIDE, SIDE, dtype=torch.int64)
    ignore[0, :, -2:] = 255
    view = View(weak=weak, strong=(strong,), ignore=ignore)
    unlabelled = Unlabelled(view=view, boxes=(), partner=None)
    return SemiBatch(labelled=Labelled(image=labelled, mask=mask), unlabelled=unlabelled, seed=11)


def built(model, *, pairs=False, **changes):
    settings = {"projection_width": 4, "negatives": 7, "temperature": 0.5, **changes}
    method = Pc2Seg(Pc2SegConfig(name="pc2seg", **settings), deep_context(model, pairs=pairs))
    shuffled(method.head, 3)
    return method


def step_of(model, batch):
    progress = Progress(step=3, steps_per_epoch=2, total_steps=10)
    return Step(student=model, batch=batch, denominator=count_or_one, progress=progress)


def mean(maps, cell):
    b, i, j = cell
    return maps[b, :, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].mean(dim=(1, 2))


@pytest.mark.parametrize(("source", "exclude"), [("others", True), ("all", False)])
def test_the_loss_is_that_of_its_equations(source, exclude):
    model, batch = shuffled(deep_net(), 2), data()
    method = built(model, ramp=0.5, negatives_from=source, exclude_same_class=exclude, consistency_weight=3)
    twin, head = copy.deepcopy(model).train(), copy.deepcopy(method.head.project)
    view = batch.unlabelled.view
    clean = twin(torch.cat([batch.labelled.image, view.weak]), features=True)
    strong = twin(view.strong[0], features=True)
    valid = view.ignore != 255
    apart = (F.softmax(strong.logits, 1) - F.softmax(clean.logits[B:], 1).detach()).square().sum(1)

    def projected(maps, cell):
        return F.normalize(head(mean(maps, cell)[None, :, None, None])[0, :, 0, 0], dim=0)

    cells = [(b, i, j) for b in range(B) for i in range(EDGE) for j in range(EDGE)]
    label = {cell: int(mean(clean.coarse[B:], cell).argmax()) for cell in cells}
    image = {(b, i, j): bool(valid[b, 8 * i : 8 * i + 8, 8 * j : 8 * j + 8].all()) for b, i, j in cells}
    drawn, total, count = method._drawn(batch, EDGE * EDGE), 0.0, 0
    for cell in cells:
        if not image[cell]:
            continue
        z = projected(strong.fused, cell)
        near = torch.exp(z @ projected(clean.fused[B:], cell).detach() / 0.5)
        far = 0.0
        for place in drawn[cell[0]].tolist():
            key = cells[place]
            if image[key] and not (exclude and label[key] == label[cell]):
                far = far + torch.exp(z @ projected(clean.fused[B:], key).detach() / 0.5)
        total, count = total - torch.log(near / (near + far)), count + 1
    expected = {
        "supervised": F.cross_entropy(clean.logits[:B], batch.labelled.mask, ignore_index=255),
        "consistency": apart[valid].mean(),
        "contrast": total / count,
    }
    output = method.losses(step_of(model, batch))
    assert output.weights["consistency"] == pytest.approx(3 * gaussian_ramp(3, length=5))
    for name, term in output.terms.items():
        torch.testing.assert_close(term, expected[name], msg=lambda text, name=name: name + text)
    sum(output.weights[name] * term for name, term in output.terms.items()).backward()
    sum(output.weights[name] * term for name, term in expected.items()).backward()
    same_gradients((model, method.head.project), (twin, head))


def test_negatives_come_from_other_images_where_that_is_asked_for():
    batch, cells = data(), EDGE * EDGE
    others = built(deep_net(), negatives=200)._drawn(batch, cells)
    assert {place // cells for place in others[0].tolist()} == {1}
    assert {place // cells for place in others[1].tolist()} == {0}
    assert set(others[0].tolist()) == set(range(cells, 2 * cells))
    every = built(deep_net(), negatives=200, negatives_from="all")._drawn(batch, cells)
    assert set(every[0].tolist()) == set(range(2 * cells))


def test_a_step_of_one_image_has_no_others():
    with pytest.raises(ConfigError, match="negatives_from: others"):
        built(deep_net())._drawn(data(1), EDGE * EDGE)


def test_the_weak_view_teaches_the_inter_pixel_loss():
    model, batch = shuffled(deep_net(), 2), data()
    (pair,) = built(model, pairs=True).losses(step_of(model, batch)).pairs
    clean = copy.deepcopy(model).train()(torch.cat([batch.labelled.image, batch.unlabelled.view.weak]))
    torch.testing.assert_close(pair.teacher, clean[B:].detach())
    assert pair.student.requires_grad
