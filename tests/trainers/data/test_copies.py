"""One image under several names: it counts once, and no copy of what is scored trains."""

import os
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.common.errors import ConfigError, DataError
from trainers.data import facts
from trainers.data.copies import Same
from trainers.data.layout import Item
from trainers.data.open import open_data
from trainers.data.splits import hold_out

LABELLED = [f"images/{index}.png masks/{index}.png" for index in range(6)]
REST = [f"images/{index}.png masks/{index}.png" for index in range(6, 20)]


@pytest.fixture
def opened(folder_root, data_config):
    """Opens `folder_root` with lists that keywords give as lines."""

    def open_(*, final=False, labelled=LABELLED, unlabelled=REST, val=None, train=None, **options):
        given = {"labelled": labelled, "unlabelled": unlabelled} if train is None else {"train": train}
        lists = {**given, **({} if val is None else {"val": val})}
        for name, lines in lists.items():
            (folder_root / f"given-{name}.txt").write_text("\n".join(lines))
        keys = {name: f"given-{name}.txt" for name in lists}
        config = data_config(**{"name": "folder", "root": str(folder_root), "num_classes": 3} | keys | options)
        return open_data(config, final=final)

    return open_


def through_a_link(root, number):
    name = f"images/linked-{number}.png"
    (root / name).symlink_to(root / f"images/{number}.png")
    return name


def through_a_folder(root, number):
    if not (root / "pictures").exists():
        (root / "pictures").symlink_to(root / "images")
    return f"pictures/{number}.png"


def hard_link(root, number):
    name = f"images/hard-{number}.png"
    os.link(root / f"images/{number}.png", root / name)
    return name


def copied(root, number):
    name = f"images/copy-{number}.png"
    shutil.copyfile(root / f"images/{number}.png", root / name)
    return name


WAYS = {
    "the same line": lambda root, number: f"images/{number}.png",
    "another spelling": lambda root, number: f"images/../images/{number}.png",
    "a double slash": lambda root, number: f"images//{number}.png",
    "an absolute path": lambda root, number: str(root / f"images/{number}.png"),
    "a link": through_a_link,
    "a linked folder": through_a_folder,
    "a hard link": hard_link,
    "a copy": copied,
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def contents(items):
    return [item.image.read_bytes() for item in items]


@ways
def test_an_image_that_a_list_names_again_counts_once_and_is_named(opened, folder_root, way):
    again = [f"{way(folder_root, number)} masks/{number}.png" for number in range(6)]
    data = opened(labelled=LABELLED + again, holdout={"images": 2})
    assert (len(data.labelled), len(data.holdout)) == (4, 2)
    (line,) = data.said
    assert line.startswith("data.labelled: 6 duplicate lines are left out, first: ")
    assert "given-labelled.txt:7 " in line
    assert line.endswith("given-labelled.txt:1)")


@ways
@pytest.mark.parametrize("source", ["labelled", "unlabelled"])
@pytest.mark.parametrize("drawn", [False, True])
def test_no_copy_of_a_held_out_image_trains(opened, folder_root, way, source, drawn):
    copies = [f"{way(folder_root, number)} masks/{number}.png" for number in range(20)]
    holdout = {"images": 5, "source": source}
    if drawn:
        data = opened(train=LABELLED + REST + copies, draw={"labelled": 10}, holdout=holdout)
    else:
        data = opened(unlabelled=REST + copies, holdout=holdout)
    held = set(contents(data.holdout))
    assert len(held) == 5
    assert not held & {*contents(data.labelled), *contents(data.unlabelled)}


@ways
@pytest.mark.parametrize("number", [0, 10])
def test_a_validation_image_that_trains_is_refused(opened, folder_root, way, number):
    val = [f"{way(folder_root, number)} masks/{number}.png"]
    with pytest.raises(DataError, match=r"given-val\.txt:1: .* in the validation set and in the training images"):
        opened(val=val, final=True)


@ways
def test_a_published_split_with_validation_images_that_train_can_be_used_as_it_is(opened, folder_root, way):
    val = [f"{way(folder_root, 0)} masks/0.png", "images/0.png masks/0.png"]
    data = opened(val=val, final=True, copies="as_listed")
    assert (len(data.val), len(data.labelled)) == (2, 6)
    assert "2 of 2 validation images train too" in data.said[-1]


def test_copies_of_held_out_images_do_not_train_even_as_listed(opened):
    data = opened(labelled=LABELLED * 2, holdout={"images": 2}, copies="as_listed")
    assert (len(data.labelled), len(data.holdout)) == (8, 4)
    assert not set(contents(data.holdout)) & set(contents(data.labelled))
    assert "6 duplicate lines are kept" in data.said[0]


def test_an_image_with_two_annotations_keeps_both_on_one_side(opened, folder_root, write_image):
    second = []
    for number in range(6):
        write_image(folder_root / f"masks/second-{number}.png", np.full((20, 24), (number + 1) % 3))
        second.append(f"images/{number}.png masks/second-{number}.png")
    data = opened(labelled=LABELLED + second, holdout={"images": 2})
    assert (len(data.labelled), len(data.holdout)) == (8, 4)
    assert len(set(contents(data.holdout))) == 2
    assert not set(contents(data.holdout)) & set(contents(data.labelled))
    assert data.said == ()


def test_more_labels_than_images_are_refused_however_often_the_list_names_them(opened):
    with pytest.raises(ConfigError, match=r"24 is more than the 20 images.*20 duplicate lines are left out"):
        opened(train=(LABELLED + REST) * 2, draw={"labelled": 24}, final=False, holdout={"images": 2})


def test_a_list_without_copies_is_left_as_it_is(opened):
    data = opened(holdout={"images": 2})
    assert (len(data.labelled), len(data.unlabelled), data.said) == (4, 14, ())


def test_the_same_image_in_the_labelled_and_the_unlabelled_list_is_allowed(opened):
    data = opened(unlabelled=LABELLED + REST, holdout={"images": 2})
    assert (len(data.labelled), len(data.unlabelled), data.said) == (4, 18, ())


def test_empty_files_are_no_copies_of_each_other(tmp_path):
    paths = [tmp_path / name for name in "ab"]
    for path in paths:
        path.touch()
    same = Same(paths)
    assert same(paths[0]) != same(paths[1])


@given(pixels=st.lists(st.binary(min_size=1, max_size=2), min_size=1, max_size=12))
def test_files_are_the_same_exactly_where_their_contents_are(tmp_path_factory, pixels):
    root = tmp_path_factory.mktemp("files")
    for number, content in enumerate(pixels):
        (root / str(number)).write_bytes(content)
    paths = [root / str(number) for number in range(len(pixels))]
    same = Same(paths)
    for first, one in zip(paths, pixels, strict=True):
        for second, other in zip(paths, pixels, strict=True):
            assert (same(first) == same(second)) == (one == other)


@given(groups=st.lists(st.integers(0, 5), min_size=2, max_size=20), wanted=st.integers(1, 6), seed=st.integers(0, 9))
def test_no_image_is_on_both_sides_of_a_draw_and_as_many_are_held_out_as_asked(tmp_path_factory, groups, wanted, seed):
    root = tmp_path_factory.getbasetemp()
    items = [Item(image=root / f"{number}.png", root=root) for number in range(len(groups))]
    group = dict(zip(items, groups, strict=True))
    held, rest = hold_out(items, wanted, seed=seed, same=group.__getitem__)
    sides = [{group[item] for item in side} for side in (held, rest)]
    assert not sides[0] & sides[1]
    assert len(sides[0]) == min(wanted, len(set(groups)))
    assert sorted((*held, *rest), key=items.index) == items


def test_a_file_is_read_once_until_it_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    read, file = [], tmp_path / "file"

    def find(path):
        read.append(path)
        return path.read_bytes()

    def fact():
        return facts.facts_of([file], find, kind="content")[file]

    file.write_bytes(b"one")
    assert (fact(), fact(), len(read)) == (b"one", b"one", 1)
    before = file.stat()
    (tmp_path / "new").write_bytes(b"two")
    (tmp_path / "new").replace(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (fact(), len(read)) == (b"two", 2)
    assert facts.facts_of([file], find, kind="another fact")[file] == b"two"
    assert len(read) == 3


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "in the way").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "in the way"))
    (tmp_path / "file").write_bytes(b"one")
    assert facts.facts_of([tmp_path / "file"], lambda path: path.read_bytes(), kind="content") == {
        tmp_path / "file": b"one"
    }
