"""Batches: what an epoch holds, who gets which part, and that nothing but seeds changes an image.

Image i of the data set has one grey shade, so that a batch tells which images are in it.
"""

import pickle
from collections import Counter
from dataclasses import fields, is_dataclass

import pytest
import torch

from tests.trainers.runs import tiny
from trainers.common.errors import DataError, UserError
from trainers.data.loader import TrainLoader
from trainers.data.open import open_data
from trainers.data.read import planes_to_png, read_image
from trainers.data.views import MEAN, STD
from trainers.interface.method import Needs

SHADE = 5
SEMI = Needs(unlabelled=True, strong=2)
SUPERVISED = Needs(unlabelled=False)


def loader(config, needs=SEMI, rank=0, world=1):
    return TrainLoader(open_data(config.data, final=config.evaluation.final), config, needs, rank, world)


def tensors(value):
    """Every tensor in a batch, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    if is_dataclass(value):
        return [t for f in fields(value) for t in tensors(getattr(value, f.name))]
    return [t for part in value for t in tensors(part)] if isinstance(value, tuple) else []


def same(a, b):
    return a.seed == b.seed and all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))


def indices(images):
    """Which images these normalised crops show: the largest value is the shade, since padding is 0."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    shades = ((images * std + mean) * 255).amax((1, 2, 3))
    return [round(float(s)) // SHADE - 1 for s in shades]


def labelled(batches):
    return [i for batch in batches for i in indices(batch.labelled.image)]


def unlabelled(batches):
    return [i for batch in batches for i in indices(batch.unlabelled.view.weak)]


def test_an_epoch_takes_every_unlabelled_image_once_and_drops_what_fills_no_batch(train_config):
    load = loader(train_config(data={"batch_size": 5}))
    assert load.steps_per_epoch == 2
    for epoch in range(3):
        seen = unlabelled(load.epoch(epoch))
        assert len(seen) == len(set(seen)) == 10


def test_every_epoch_has_its_own_order(train_config):
    load = loader(train_config())
    assert len({tuple(unlabelled(load.epoch(epoch))) for epoch in range(4)}) == 4


def test_labelled_images_are_repeated_evenly(train_config):
    load = loader(train_config())
    seen = Counter(labelled(batch for epoch in range(5) for batch in load.epoch(epoch)))
    assert sum(seen.values()) == 60
    assert set(seen.values()) == {10}


def test_short_epochs_walk_on_through_the_unlabelled_list(train_config):
    load = loader(train_config(schedule={"steps_per_epoch": 1}))
    seen = unlabelled(batch for epoch in range(3) for batch in load.epoch(epoch))
    assert len(set(seen)) == 12


def test_long_epochs_take_as_many_passes_as_they_need(train_config):
    load = loader(train_config(schedule={"steps_per_epoch": 9}))
    assert set(Counter(unlabelled(load.epoch(0))).values()) == {3}


def test_a_step_takes_several_batches_of_unlabelled_images_where_that_is_asked_for(train_config):
    load = loader(train_config(data={"batch_size": 2}), Needs(unlabelled=True, unlabelled_batches=3))
    batches = list(load.epoch(0))
    assert {(len(one.labelled.image), len(one.unlabelled.view.weak)) for one in batches} == {(2, 6)}
    assert set(Counter(unlabelled(batches)).values()) == {3}
    halves = list(batches[0].parts(2))
    assert [(len(one.labelled.image), len(one.unlabelled.view.weak)) for one in halves] == [(1, 3)] * 2
    assert unlabelled(halves) == unlabelled(batches[:1])


def test_labelled_images_say_their_places(train_config):
    batches = [batch for epoch in range(2) for batch in loader(train_config()).epoch(epoch)]
    places = [place for batch in batches for place in batch.labelled.index.tolist()]
    assert len(set(zip(places, labelled(batches), strict=True))) == len(set(places)) > 1


def test_every_plane_of_a_stored_pseudo_label_is_cropped_as_its_image(train_config):
    config = train_config(data={"batch_size": 2})
    data = open_data(config.data, final=False)
    pseudo = {}
    for place, item in enumerate(data.unlabelled):
        one = torch.full(read_image(item).shape[1:], place, dtype=torch.uint8)
        pseudo[place] = planes_to_png(torch.stack([one, one + 1, one + 2]))
    load = TrainLoader(data, config, Needs(unlabelled=True, pseudo_planes=3), pseudo=pseudo)
    for batch in load.epoch(0):
        found, shown = batch.unlabelled.pseudo, batch.unlabelled.view.ignore == 0
        for number in range(3):
            expected = torch.where(shown, batch.unlabelled.index[:, None, None] + number, 255)
            assert torch.equal(found[:, number], expected)


def test_an_epoch_on_the_labelled_list_takes_every_labelled_image_once(train_config):
    load = loader(train_config(data={"batch_size": 2}, schedule={"epoch_base": "labelled"}))
    assert load.steps_per_epoch == 3
    assert sorted(labelled(load.epoch(1))) == list(range(6))


@pytest.mark.parametrize(("base", "steps"), [("unlabelled", 6), ("labelled", 3)])
def test_supervised_training_has_the_same_steps_and_no_unlabelled_images(train_config, base, steps):
    config = train_config(data={"batch_size": 2}, schedule={"epoch_base": base})
    load = loader(config, SUPERVISED)
    batches = list(load.epoch(0))
    assert load.steps_per_epoch == len(batches) == steps
    assert all(batch.unlabelled is None for batch in batches)
    assert labelled(batches) == labelled(loader(config).epoch(0))


def test_supervised_training_without_an_unlabelled_list_counts_labelled_images(train_config):
    config = train_config(data={"batch_size": 2, "unlabelled": None, "holdout": {"images": 2}})
    assert loader(config, SUPERVISED).steps_per_epoch == 2


@pytest.mark.parametrize("partner", ["second_view", "batch"])
@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_the_batches_of_one(train_config, world, partner):
    config = train_config(data={"batch_size": 8, "labelled": "all.txt"}, views={"cutmix_partner": partner})
    whole = list(loader(config).epoch(1))
    for rank in range(world):
        part = list(loader(config, rank=rank, world=world).epoch(1))
        share = slice(rank * 8 // world, (rank + 1) * 8 // world)
        for one, all_ in zip(part, whole, strict=True):
            assert one.seed == all_.seed
            assert (one.rank, one.world) == (rank, world)
            assert all(torch.equal(x, y[share]) for x, y in zip(tensors(one), tensors(all_), strict=True))


def test_an_epoch_does_not_depend_on_the_epochs_before(train_config):
    config = train_config()
    load = loader(config)
    walked = [list(load.epoch(epoch)) for epoch in range(3)][2]
    assert all(same(a, b) for a, b in zip(walked, loader(config).epoch(2), strict=True))


def test_loader_workers_change_nothing(train_config):
    config = train_config()
    with_workers = loader(train_config(data={"loader_workers": 2}))
    torch.manual_seed(0)
    state = torch.get_rng_state()
    for epoch in (0, 3):
        made = list(with_workers.epoch(epoch))
        assert len(made) == with_workers.steps_per_epoch
        assert all(same(a, b) for a, b in zip(made, loader(config).epoch(epoch), strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_loader_worker_names_the_corrupt_image_in_one_line(train_config, folder_root):
    config = train_config(data={"loader_workers": 1})
    cut_in_the_middle(folder_root / "images" / "3.png")
    with pytest.raises(DataError, match=r"3\.png: cannot be decoded") as caught:
        list(loader(config).epoch(0))
    assert "Traceback" not in str(caught.value)


def test_the_part_that_workers_receive_can_be_pickled(train_config):
    maker = loader(train_config())._maker
    copy = pickle.loads(pickle.dumps(maker))
    assert torch.equal(copy[0, 1]["labelled"]["image"], maker[0, 1]["labelled"]["image"])


def test_another_seed_gives_other_views_of_other_images(train_config):
    a, b = (list(loader(train_config(seed=seed)).epoch(0)) for seed in (0, 1))
    assert unlabelled(a) != unlabelled(b)
    assert not any(torch.equal(x.labelled.mask, y.labelled.mask) for x, y in zip(a, b, strict=True))


def test_step_seeds_differ(train_config):
    load = loader(train_config())
    seeds = [batch.seed for epoch in range(4) for batch in load.epoch(epoch)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_without_any_strength_a_strong_view_is_the_weak_one(train_config):
    config = train_config(views={"jitter_p": 0, "gray_p": 0, "blur_p": 0})
    for batch in loader(config).epoch(0):
        for view in (batch.unlabelled.view, batch.unlabelled.partner):
            assert len(view.strong) == 2
            assert all(torch.equal(strong, view.weak) for strong in view.strong)


def test_strong_views_differ_from_each_other_and_from_the_weak_one(train_config):
    view = next(iter(loader(train_config(views={"jitter_p": 1})).epoch(0))).unlabelled.view
    assert not torch.equal(view.strong[0], view.strong[1])
    assert not torch.equal(view.strong[0], view.weak)


def test_a_partner_is_another_crop_of_the_same_image(train_config):
    batches = list(loader(train_config(views={"cutmix_partner": "second_view"})).epoch(0))
    for batch in batches:
        assert indices(batch.unlabelled.view.weak) == indices(batch.unlabelled.partner.weak)
    assert any(not torch.equal(b.unlabelled.view.ignore, b.unlabelled.partner.ignore) for b in batches)


def test_neighbours_in_the_batch_need_no_partner(train_config):
    batch = next(iter(loader(train_config(views={"cutmix_partner": "batch"})).epoch(0)))
    assert batch.unlabelled.partner is None
    assert len(batch.unlabelled.boxes) == 2


def test_there_are_as_many_strong_views_and_boxes_as_the_method_needs(train_config):
    for strong in (0, 1, 2):
        batch = next(iter(loader(train_config(), Needs(unlabelled=True, strong=strong)).epoch(0))).unlabelled
        assert (len(batch.view.strong), len(batch.boxes)) == (strong, strong)
        assert (batch.partner is None) == (strong == 0)


def test_strength_of_colours_moves_no_crop(train_config):
    plain, strong = (
        next(iter(loader(train_config(views={"jitter_p": p, "blur_p": p})).epoch(0))).unlabelled for p in (0, 1)
    )
    assert torch.equal(plain.view.weak, strong.view.weak)
    assert torch.equal(plain.partner.weak, strong.partner.weak)
    assert all(torch.equal(a, b) for a, b in zip(plain.boxes, strong.boxes, strict=True))


def test_padding_is_void_in_labelled_masks_and_ignored_in_unlabelled_ones(train_config):
    config = train_config(views={"scale_min": 0.5, "scale_max": 0.5})  # 24 x 20 becomes 12 x 10 in a crop of 16
    for batch in loader(config).epoch(0):
        for image, void in (
            (batch.labelled.image, batch.labelled.mask == 255),
            (batch.unlabelled.view.weak, batch.unlabelled.view.ignore == 255),
        ):
            black = -torch.tensor(MEAN) / torch.tensor(STD)
            padded = (image == black[:, None, None]).all(1)
            assert padded.sum((1, 2)).tolist() == [256 - 120] * len(image)
            assert void[padded].all()
        assert set(batch.unlabelled.view.ignore.unique().tolist()) == {0, 255}
        # The masks' top rows are void, the void of an unlabelled image stays trainable.
        assert (batch.labelled.mask == 255).sum() > (batch.unlabelled.view.ignore == 255).sum()


def cut_in_the_middle(path):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def test_a_corrupt_image_stops_the_run_by_name(train_config, folder_root):
    cut_in_the_middle(folder_root / "images" / "3.png")
    with pytest.raises(DataError, match=r"images/3\.png: cannot be decoded.*labelled\.txt:4.*on_corrupt: skip"):
        list(loader(train_config()).epoch(0))


@pytest.mark.parametrize("part", ["images", "masks"])
def test_a_corrupt_image_or_mask_is_replaced_by_the_next_and_counted_where_allowed(train_config, folder_root, part):
    cut_in_the_middle(folder_root / part / "3.png")
    load = loader(train_config(data={"on_corrupt": "skip"}))
    for epoch in range(4):
        assert 3 not in labelled(load.epoch(epoch))
    assert load.skipped == 4 * 12 // 6


def test_skipped_images_do_not_move_the_views_of_others(train_config, folder_root):
    before = list(loader(train_config()).epoch(0))
    cut_in_the_middle(folder_root / "images" / "3.png")
    after = list(loader(train_config(data={"on_corrupt": "skip"})).epoch(0))
    assert labelled(after) == [4 if i == 3 else i for i in labelled(before)]
    for a, b in zip(before, after, strict=True):
        kept = torch.tensor([i != 3 for i in indices(a.labelled.image)])
        assert torch.equal(a.labelled.image[kept], b.labelled.image[kept])


def test_a_list_of_corrupt_images_alone_is_no_list(train_config, folder_root):
    for index in range(6):
        (folder_root / "images" / f"{index}.png").write_text(f"no image {index}")
    with pytest.raises(DataError, match="not one of 6 images can be decoded"):
        list(loader(train_config(data={"on_corrupt": "skip"})).epoch(0))


@pytest.mark.parametrize(
    ("sections", "needs", "world", "complaint"),
    [
        ({"data": {"batch_size": 7}}, SEMI, 1, r"data\.batch_size: 7 is more than the 6 labelled images; lower it"),
        ({"data": {"batch_size": 7}}, SUPERVISED, 1, r"7 is more than the 6 labelled"),
        (
            {"data": {"unlabelled": None, "holdout": {"images": 2}}},
            SEMI,
            1,
            r"data\.unlabelled: the method trains on unlabelled images and there are none",
        ),
        (
            {"data": {"labelled": "unlabelled.txt", "unlabelled": "labelled.txt", "batch_size": 5}},
            SEMI,
            1,
            r"data\.batch_size: 5 is more than the 4 unlabelled images",
        ),
        (
            {"data": {"labelled": "unlabelled.txt", "unlabelled": "labelled.txt", "batch_size": 5}},
            SUPERVISED,
            1,
            r"data\.batch_size: 5 is more than the 4 unlabelled images",
        ),
        ({}, SEMI, 3, r"data\.batch_size: 4 images cannot be shared equally by 3 processes"),
        ({"views": {"cutmix_partner": "batch"}}, SEMI, 4, r"views\.cutmix_partner: batch needs at least 2"),
    ],
    ids=[
        "few labelled",
        "few labelled, supervised",
        "no unlabelled",
        "few unlabelled",
        "few unlabelled, supervised",
        "odd share",
        "no neighbour",
    ],
)
def test_lists_that_cannot_fill_a_batch_are_refused(train_config, sections, needs, world, complaint):
    with pytest.raises(UserError, match=complaint):
        loader(train_config(**sections), needs, 0, world)


@pytest.mark.parametrize(("factor", "height", "width"), [(0.25, 5, 6), (0.5, 10, 12)])
def test_a_labelled_image_that_is_asked_for_is_resized_once_by_the_given_range(train_config, factor, height, width):
    """Images have 20 x 24 pixels; the upper quarter of a mask is 255."""
    config = train_config(views={"scale_min": 2.0, "scale_max": 2.0})
    image, mask = loader(config).asked(torch.device("cpu")).labelled(0, 1, scale=(factor, factor))
    shown = mask != 255
    columns = shown.any(dim=0).nonzero().flatten()
    assert image.shape == (3, 16, 16)
    assert len(columns) == width
    assert int(columns[0]) == (16 - width) // 2
    assert int(shown.any(dim=1).sum()) == pytest.approx(0.75 * height, abs=1)
    grey = (image[:, shown] - image[:, shown][:, :1]).abs()
    assert float(grey.max()) < 1e-5


def test_a_second_crop_that_overlaps_shows_the_same_pixels_a_multiple_of_eight_away():
    config = tiny(schedule={"epochs": 1, "steps_per_epoch": 10})
    moved = set()
    for batch in loader(config, needs=Needs(unlabelled=True, overlap=0.4)).epoch(0):
        first, second = batch.unlabelled.view, batch.unlabelled.second
        for b, (down, right, mirrored, too) in enumerate(batch.unlabelled.offset.tolist()):
            one, other = first.weak[b], second.weak[b]
            one, other = one.flip(2) if mirrored else one, other.flip(2) if too else other
            side = one.shape[-1]
            assert (down % 8, right % 8) == (0, 0)
            shared = (side - abs(down)) * (side - abs(right))
            assert shared >= 0.4 * (2 * side**2 - shared)
            rows, columns = (slice(max(by, 0), side + min(by, 0)) for by in (down, right))
            back = [slice(max(-by, 0), side + min(-by, 0)) for by in (down, right)]
            torch.testing.assert_close(one[:, rows, columns], other[:, back[0], back[1]], rtol=0, atol=0.02)
            moved.add((down != 0 or right != 0, mirrored != too))
    assert len(moved) == 4
