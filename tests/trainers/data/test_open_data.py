"""Which images train, which are held out, and what names the split."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.common.errors import ConfigError, DataError, UserError
from trainers.data.open import open_data
from trainers.data.splits import stratified_order


@pytest.fixture
def opened(folder_root, data_config):
    """Opens `folder_root` with its two lists, or with what keywords name."""

    def open_(*, final=False, **options):
        lists = {} if "train" in options else {"labelled": "labelled.txt", "unlabelled": "unlabelled.txt"}
        config = data_config(**{"name": "folder", "root": str(folder_root), "num_classes": 3} | lists | options)
        return open_data(config, final=final)

    return open_


def images(items):
    return [item.image for item in items]


def drawn(opened, labelled, *, holdout=4, source="unlabelled", seed=0):
    return opened(
        train="all.txt", draw={"labelled": labelled, "seed": seed}, holdout={"images": holdout, "source": source}
    )


@pytest.mark.parametrize("source", ["labelled", "unlabelled"])
def test_held_out_images_leave_the_list_that_they_are_cut_from(opened, source):
    whole = opened(holdout={"images": 1})
    data = opened(holdout={"images": 3, "source": source})
    everything = {*images(whole.labelled), *images(whole.unlabelled), *images(whole.holdout)}
    parts = images(data.labelled), images(data.unlabelled), images(data.holdout)
    assert len(data.holdout) == 3
    assert sorted(itertools.chain(*parts)) == sorted(everything)
    assert all(item.mask is not None for item in data.holdout)


def test_an_image_in_both_lists_is_held_out_of_both(opened):
    data = opened(labelled="labelled.txt", unlabelled="all.txt", holdout={"images": 2})
    assert not set(images(data.holdout)) & {*images(data.unlabelled), *images(data.labelled)}


def test_the_holdout_depends_on_its_own_seed(opened):
    chosen = {
        tuple(images(opened(holdout={"images": 3, "source": "unlabelled", "seed": seed}).holdout)) for seed in range(8)
    }
    assert len(chosen) > 1


def test_drawn_splits_of_every_size_are_scored_on_the_same_images(opened):
    assert len({tuple(images(drawn(opened, size).holdout)) for size in (3, 6, 12, 16)}) == 1


def test_drawn_splits_are_nested_and_complete(opened):
    sizes = [1, 3, 6, 12, 16]
    splits = [drawn(opened, size) for size in sizes]
    for size, split in zip(sizes, splits, strict=True):
        assert (len(split.labelled), len(split.unlabelled)) == (size, 16 - size)
        assert not set(images(split.labelled)) & set(images(split.unlabelled))
    for small, large in itertools.pairwise(splits):
        assert set(images(small.labelled)) < set(images(large.labelled))


def test_a_drawn_split_can_give_up_a_part_of_its_labels(opened):
    data = drawn(opened, 8, holdout=3, source="labelled")
    assert (len(data.labelled), len(data.unlabelled), len(data.holdout)) == (5, 12, 3)


def test_another_draw_seed_draws_others(opened):
    assert len({tuple(images(drawn(opened, 6, seed=seed).labelled)) for seed in range(4)}) > 1


presences = st.lists(st.frozensets(st.integers(0, 7), max_size=3), min_size=1, max_size=25)


@given(present=presences, seed=st.integers(0, 5))
def test_a_stratified_order_shows_every_class_within_as_many_images_as_there_are_classes(present, seed):
    order = stratified_order(present, seed=seed)
    classes = frozenset().union(*present)
    assert sorted(order) == list(range(len(present)))
    assert frozenset().union(*(present[i] for i in order[: len(classes)])) == classes


@given(present=presences, seed=st.integers(0, 5))
def test_each_next_image_of_a_stratified_order_adds_as_many_missing_classes_as_any_could(present, seed):
    order = stratified_order(present, seed=seed)
    shown = frozenset()
    for place, index in enumerate(order):
        assert len(present[index] - shown) == max(len(present[i] - shown) for i in order[place:])
        shown |= present[index]


def test_the_split_hash_does_not_tell_where_the_data_lies(folder_root, data_config, tmp_path_factory):
    options = {"name": "folder", "num_classes": 3, "labelled": "labelled.txt", "unlabelled": "unlabelled.txt"}
    link = tmp_path_factory.mktemp("moved") / "root"
    link.symlink_to(folder_root)
    hashes = {
        open_data(data_config(root=str(root), holdout={"images": 2}, **options), final=False).split_hash
        for root in (folder_root, link)
    }
    assert len(hashes) == 1


@pytest.mark.parametrize(
    "change",
    [{"holdout": {"images": 3}}, {"holdout": {"images": 2, "seed": 2}}, {"labelled": "all.txt"}, {"unlabelled": None}],
)
def test_the_split_hash_changes_with_every_list(opened, change):
    same = {"holdout": {"images": 2}}
    assert opened(**same).split_hash == opened(**same).split_hash != opened(**same | change).split_hash


def test_without_a_holdout_a_search_has_nothing_to_score(opened):
    with pytest.raises(ConfigError, match=r"data\.holdout.*evaluation\.final: true"):
        opened()


def test_the_validation_set_is_read_only_in_a_final_run(opened, folder_root, write_image):
    for folder in ("images", "masks"):
        write_image(folder_root / folder / "val.png", np.zeros((4, 4)))
    (folder_root / "val.txt").write_text("images/val.png masks/val.png")
    assert opened(holdout={"images": 2}, val="val.txt").val == ()
    assert opened(holdout={"images": 2}, val="missing.txt").val == ()
    final = opened(val="val.txt", final=True)
    assert [item.name for item in final.val] == ["images/val.png"]
    assert final.holdout == ()
    assert len(opened(holdout={"images": 2}, val="val.txt", final=True).holdout) == 2


def test_a_validation_image_among_the_training_images_is_refused(opened):
    with pytest.raises(DataError, match=r"validation set and in the training images"):
        opened(val="labelled.txt", final=True)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"root": "nowhere"}, r"data\.root: no folder at nowhere"),
        ({"labelled": None}, r"data\.labelled: no split file is named"),
        ({"labelled": "nope.txt"}, r"data\.labelled: no split file at .*nope\.txt"),
        ({"holdout": {"images": 6}}, r"data\.holdout\.images: 6 of 6 labelled images would leave none"),
        ({"holdout": {"images": 40, "source": "unlabelled"}}, r"data\.holdout\.images: 40 of 14 unlabelled"),
        ({"unlabelled": None, "holdout": {"images": 2, "source": "unlabelled"}}, r"no unlabelled list to cut"),
        ({"train": "all.txt", "draw": {"labelled": 21}}, r"data\.draw\.labelled: 21 is more than the 20 images"),
        ({"final": True}, r"data\.val: no split file is named \(evaluation\.final is true\)"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_the_config_asks_for_in_vain_is_named_by_its_key(opened, options, complaint):
    with pytest.raises(UserError, match=complaint):
        opened(**{"holdout": {"images": 2}} | options)


def test_a_holdout_image_without_a_mask_is_named(opened, folder_root):
    (folder_root / "bare.txt").write_text("\n".join(f"images/{i}.png" for i in range(6, 12)))
    with pytest.raises(DataError, match=r"bare\.txt:\d: images/\d+\.png is held out .* has no mask"):
        opened(unlabelled="bare.txt", holdout={"images": 2, "source": "unlabelled"})
