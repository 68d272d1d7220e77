"""COCO and ADE20K in the forms in which they are given out. The tables are the data sets' own."""

import numpy as np
import pytest
from PIL import Image

from trainers.cli.draw_splits import draw_splits
from trainers.common.errors import DataError
from trainers.data.check import check_data
from trainers.data.describe import data_lines
from trainers.data.open import open_data
from trainers.data.read import read_mask

# COCO's category ids (the `id` of instances_train2017.json) of some objects, and their index among the 80
CATEGORY = {
    1: ("person", 1),
    11: ("fire hydrant", 11),
    13: ("stop sign", 12),
    44: ("bottle", 40),
    90: ("toothbrush", 80),
}
# COCO-Stuff's ids (labels.txt), and their index among the 171
STUFF = {1: ("person", 0), 90: ("toothbrush", 79), 92: ("banner", 80), 182: ("wood", 170)}


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def scene(root, folder, number, values, *, masks):
    name = f"{number:012d}"
    write(root / folder / f"{name}.jpg", np.full((4, len(values), 3), number))
    write(masks / f"{name}.png", np.tile(values, (4, 1)))


@pytest.fixture
def coco(tmp_path, data_config):
    """COCO with COCO-Stuff's masks: 8 training and 2 validation images; gives the data section."""
    for number in range(10):
        folder = "train2017" if number < 8 else "val2017"
        values = [*(one - 1 for one in CATEGORY), *(one - 1 for one in STUFF), 255]
        scene(tmp_path, folder, number, values, masks=tmp_path / "stuffthingmaps" / folder)
    lines = [f"train2017/{number:012d}.jpg" for number in range(8)]
    (tmp_path / "labelled.txt").write_text("\n".join(lines[:4]))
    (tmp_path / "unlabelled.txt").write_text("\n".join(lines[4:]))
    (tmp_path / "val.txt").write_text("\n".join(f"val2017/{number:012d}.jpg" for number in (8, 9)))

    def make(**options):
        lists = {"labelled": "labelled.txt", "unlabelled": "unlabelled.txt", "val": "val.txt", "holdout": {"images": 1}}
        masks = {"mask_dir": "stuffthingmaps", "mask_values": "label_ids"}
        return data_config(name="coco", root=str(tmp_path), **(lists | masks | options))

    return make


def first_row(config):
    """Values of the first row of the first labelled mask, as they train, and the names of the classes."""
    data = open_data(config, final=True)
    return read_mask(data.labelled[0], num_classes=data.num_classes)[0].tolist(), data.classes


def test_cocos_objects_are_81_classes_and_all_else_is_background(coco):
    row, classes = first_row(coco())
    assert len(classes) == 81
    assert classes[0] == "background"
    assert row[:5] == [index for _, index in CATEGORY.values()]
    assert [classes[index] for index in row[:5]] == [name for name, _ in CATEGORY.values()]
    assert row[5:] == [1, 80, 0, 0, 0]


def test_coco_stuff_has_171_classes_and_what_is_not_labelled_is_ignored(coco):
    row, classes = first_row(coco(labels="objects_and_stuff"))
    assert len(classes) == 171
    assert row[5:] == [*(index for _, index in STUFF.values()), 255]
    assert [classes[index] for index in row[5:-1]] == [name for name, _ in STUFF.values()]


def test_masks_of_class_indices_are_read_as_they_are(coco, tmp_path):
    for number in range(8):
        scene(tmp_path, "train2017", number, [0, 1, 80, 255], masks=tmp_path / "masks")
    row, _ = first_row(coco(mask_dir="masks", mask_values="indices", val="labelled.txt", copies="as_listed"))
    assert row == [0, 1, 80, 255]


def test_a_whole_check_of_coco_says_what_it_holds(coco):
    config = coco()
    data = open_data(config, final=False, with_val=True)
    lines = data_lines(config, data, check_data(data, config))
    assert lines[0].startswith("coco: 3 labelled, 4 unlabelled, 1 holdout, 2 val; 81 classes")


@pytest.fixture
def ade20k(tmp_path, data_config):
    """ADE20K: 6 training images whose masks hold ``values``; gives the data section."""

    def make(values=(0, 1, 2, 150), **options):
        for number in range(6):
            write(tmp_path / f"images/training/ADE_train_{number:08d}.jpg", np.full((4, 4, 3), 9 * number))
            write(tmp_path / f"annotations/training/ADE_train_{number:08d}.png", np.tile(values, (4, 1)))
        lines = [f"images/training/ADE_train_{number:08d}.jpg" for number in range(6)]
        (tmp_path / "labelled.txt").write_text("\n".join(lines[:3]))
        (tmp_path / "unlabelled.txt").write_text("\n".join(lines[3:]))
        lists = {"labelled": "labelled.txt", "unlabelled": "unlabelled.txt", "holdout": {"images": 1}}
        return data_config(name="ade20k", root=str(tmp_path), **(lists | options))

    return make


def test_ade20ks_zero_is_ignored_and_its_classes_begin_at_one(ade20k):
    data = open_data(ade20k(), final=False)
    assert data.num_classes == 150
    assert read_mask(data.labelled[0], num_classes=150)[0].tolist() == [255, 0, 1, 149]
    assert [data.classes[index] for index in (0, 1, 149)] == ["wall", "building", "flag"]


def test_ade20ks_masks_whose_classes_begin_at_zero_are_not_shifted_unnoticed(ade20k):
    config = ade20k(values=(0, 1, 149, 255))
    data = open_data(config, final=False)
    with pytest.raises(DataError, match=r"value 255 .* set data\.mask_values: indices"):
        check_data(data, config)
    assert read_mask(open_data(ade20k(values=(0, 1, 149, 255), mask_values="indices"), final=False).labelled[0])[
        0
    ].tolist() == [0, 1, 149, 255]


def test_the_users_own_label_map_takes_precedence(ade20k):
    data = open_data(ade20k(label_map={0: 3, 1: 4, 2: 5, 150: "ignore"}), final=False)
    assert read_mask(data.labelled[0])[0].tolist() == [3, 4, 5, 255]


def test_splits_of_coco_and_of_ade20k_are_drawn_from_their_folders(coco, ade20k, tmp_path):
    coco()
    lines = draw_splits(tmp_path, sizes=[2], out=tmp_path / "coco", mask_dir="stuffthingmaps")
    assert "2 labelled, 6 unlabelled" in lines[0]
    assert (tmp_path / "coco" / "2" / "labelled.txt").read_text().count("stuffthingmaps/train2017/") == 2
    (tmp_path / "train2017").rename(tmp_path / "elsewhere")
    ade20k()
    lines = draw_splits(tmp_path, sizes=[2], out=tmp_path / "ade")
    assert "2 labelled, 4 unlabelled, 3 of 3 classes" in lines[0]
