"""The embedded data set: its bytes, its layout, its sources."""

import multiprocessing
import shutil

import numpy as np
import pytest
from PIL import Image

from trainers.common.errors import DataError
from trainers.data.open import open_data
from trainers.data.read import read_image, read_mask
from trainers.data.scenes import LISTS, Scenes, _sources, cached_scenes, make_scenes

TINY = Scenes(labelled=2, unlabelled=2, val=1, size=48, object_side=(14, 28))


def content(root):
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        make_scenes(tmp_path / name, seed=seed, scenes=TINY)
    a, b, c = (content(tmp_path / name) for name in "abc")
    assert a == b
    assert set(a) == set(c)
    assert a != c


def test_scenes_lie_in_the_voc_layout_as_real_jpegs_and_index_masks(scenes_root):
    for line in (scenes_root / LISTS["train"]).read_text().splitlines():
        image_name, mask_name = line.split()
        with Image.open(scenes_root / image_name) as image, Image.open(scenes_root / mask_name) as mask:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (96, 96))
            assert (mask.format, mask.mode, mask.size) == ("PNG", "P", (96, 96))
            assert mask.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]  # VOC's first three colours
            assert set(np.unique(np.array(mask))) <= {*range(11), 255}


def test_objects_have_a_void_border_of_one_pixel(scenes_root):
    for path in sorted((scenes_root / "SegmentationClass").iterdir()):
        mask = np.array(Image.open(path))
        for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
            a = mask[: mask.shape[0] - dy, max(0, -dx) : mask.shape[1] - max(0, dx)]
            b = mask[dy:, max(0, dx) : mask.shape[1] - max(0, -dx)]
            object_meets_background = ((a == 0) & (b > 0) & (b < 255)) | ((b == 0) & (a > 0) & (a < 255))
            assert not object_meets_background.any()
        assert 0.3 < np.mean(mask == 0) < 0.99


def test_lists_hold_what_the_sizes_say_and_labelled_images_show_every_class_that_they_can(scenes_root):
    lists = {name: (scenes_root / path).read_text().splitlines() for name, path in LISTS.items()}
    assert {name: len(lines) for name, lines in lists.items()} == {
        "labelled": 4,
        "unlabelled": 8,
        "train": 12,
        "val": 4,
    }
    assert sorted(lists["labelled"] + lists["unlabelled"]) == lists["train"]
    assert not set(lists["val"]) & set(lists["train"])
    shown = {c for line in lists["labelled"] for c in np.unique(np.array(Image.open(scenes_root / line.split()[1])))}
    assert len(shown - {255}) >= 9


def test_no_scan_serves_both_training_and_validation_images():
    train, val = _sources(0)
    assert len(train.scans) + len(val.scans) == 1797
    train_scans, val_scans = ({scan.tobytes() for scan in part.scans} for part in (train, val))
    assert not train_scans & val_scans
    assert set(val.digits) == set(train.digits) == set(range(10))


def test_the_voc_reader_reads_them(scenes_root, data_config):
    config = data_config(
        name="voc", root=str(scenes_root), labelled=LISTS["labelled"], val=LISTS["val"], unlabelled=LISTS["unlabelled"]
    )
    data = open_data(config, final=True)
    assert read_image(data.labelled[0]).shape == (3, 96, 96)
    assert read_mask(data.val[0], num_classes=11).shape == (96, 96)


def fill(cache):
    return cached_scenes(cache, seed=0, scenes=TINY)


def test_processes_that_start_at_once_get_one_whole_folder(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        folders = pool.map(fill, [tmp_path / "cache"] * 4, chunksize=1)
    assert len(set(folders)) == 1
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [folders[0].name]
    make_scenes(tmp_path / "reference", seed=0, scenes=TINY)
    assert content(folders[0]) == content(tmp_path / "reference")


def test_a_folder_is_made_once(tmp_path):
    folder = fill(tmp_path)
    stamp = folder.stat().st_mtime_ns
    assert fill(tmp_path) == folder
    assert folder.stat().st_mtime_ns == stamp


def test_a_build_that_dies_leaves_nothing_behind(tmp_path, monkeypatch):
    def die(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("trainers.data.scenes._scene", die)
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_difficulty_is_another_folder(tmp_path):
    assert TINY.fingerprint != Scenes(**vars(TINY) | {"noise": (0.0, 1.0)}).fingerprint


def test_a_cache_that_cannot_be_written_says_what_to_set(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"digits data set cannot be made in .*data\.root or XDG_CACHE_HOME"):
        fill(tmp_path / "file" / "cache")


@pytest.fixture(scope="module")
def default_cache(tmp_path_factory):
    """The data set as users get it."""
    return tmp_path_factory.mktemp("default")


def opened(data_config, cache, *, final=False, **options):
    return open_data(data_config(name="digits", root=str(cache), **options), final=final)


def test_a_config_that_names_no_lists_uses_its_own(data_config, default_cache):
    data = opened(data_config, default_cache, holdout={"images": 40, "source": "unlabelled"}, final=True)
    sizes = Scenes()
    assert len(data.labelled) == sizes.labelled
    assert len(data.unlabelled) == sizes.unlabelled - 40
    assert len(data.val) == sizes.val
    assert data.classes[0] == "background"
    assert data.num_classes == 11
    shown = {int(c) for item in data.labelled for c in read_mask(item, num_classes=11).unique()}
    assert shown == {*range(11), 255}


def test_a_drawn_split_needs_no_list_and_can_label_all_but_the_holdout(data_config, default_cache):
    holdout, scenes = {"images": 40, "source": "unlabelled"}, Scenes()
    few, all_ = (
        opened(data_config, default_cache, holdout=holdout, draw={"labelled": n})
        for n in (20, scenes.labelled + scenes.unlabelled - 40)
    )
    assert few.holdout == all_.holdout
    assert set(few.labelled) < set(all_.labelled)
    assert all_.unlabelled == ()


def test_the_default_cache_is_the_users(data_config, tmp_path, monkeypatch, default_cache):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = cached_scenes(default_cache, seed=0)
    shutil.copytree(made, tmp_path / "ipix-tune" / made.name)
    data = open_data(data_config(name="digits", holdout={"images": 2}), final=False)
    assert data.labelled[0].image.is_relative_to(tmp_path / "ipix-tune")


def test_more_training_scenes_are_more_unlabelled_ones_and_the_same_validation_set(data_config, default_cache):
    usual = opened(data_config, default_cache, holdout={"images": 10, "source": "unlabelled"}, final=True)
    more = opened(
        data_config, default_cache, holdout={"images": 10, "source": "unlabelled"}, final=True, train_scenes=250
    )
    assert len(more.unlabelled) == len(usual.unlabelled) + 10
    assert len(more.labelled) == len(usual.labelled)
    assert [item.name for item in more.val] == [item.name for item in usual.val]
    assert [item.image.read_bytes() for item in more.val] == [item.image.read_bytes() for item in usual.val]
    assert more.split_hash != usual.split_hash


def test_more_training_scenes_leave_the_labelled_list_as_it_is(tmp_path):
    lists = []
    for unlabelled in (228, 240):
        root = tmp_path / str(unlabelled)
        make_scenes(root, seed=0, scenes=Scenes(unlabelled=unlabelled, val=1, size=48, object_side=(14, 28)))
        lists.append({name: (root / path).read_text().splitlines() for name, path in LISTS.items()})
    few, many = lists
    assert few["labelled"] == many["labelled"]
    assert set(many["unlabelled"]) == set(many["train"]) - set(many["labelled"])
    assert len(many["unlabelled"]) == 240
