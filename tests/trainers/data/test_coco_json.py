"""Masks painted from COCO's instance JSON, against masks made by hand."""

import json

import numpy as np
import pytest
from PIL import Image

from ipix_tune.config.load_study import load
from ipix_tune.study.first_settings import Hardware
from ipix_tune.study.first_study import begin
from trainers.common.errors import ConfigError, DataError, OutputError
from trainers.config import TrainConfig
from trainers.data.coco_json import read_instances, write_masks
from trainers.data.open import open_data
from trainers.data.read import read_mask

pytest.importorskip("pycocotools")
HEIGHT, WIDTH = 20, 30
CATEGORIES = [{"id": 7, "name": "cat"}, {"id": 0, "name": "animals"}, {"id": 3, "name": "dog"}]


def box(left, top, right, bottom):
    """A polygon, and its pixels."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return [[left, top, right, top, right, bottom, left, bottom]], mask


def runs(mask):
    """Lengths of runs down the columns, beginning with False."""
    flat = mask.T.ravel()
    ends = np.flatnonzero(np.diff(np.concatenate([[False], flat, [not flat[-1]]]).astype(int)))
    return np.diff(np.concatenate([[0], ends])).tolist()


def compressed(counts):
    """COCO's text of run lengths: from the third on, the difference from the one before the last, in groups of five
    bits, lowest first."""
    text = ""
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        while True:
            group, value = value & 31, value >> 5
            more = value != -1 if group & 16 else value != 0
            text += chr(48 + (group | 32 * more))
            if not more:
                break
    return text


def blob(seed):
    """No rectangle."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return (y - 5 - seed) ** 2 + (x - 9) ** 2 < 30


def file(path, annotations, *, images=("a.jpg",), categories=CATEGORIES):
    rows = [
        {"id": 10 + place, "file_name": name, "height": HEIGHT, "width": WIDTH} for place, name in enumerate(images)
    ]
    objects = [{"id": place, "image_id": 10, "category_id": 3, **one} for place, one in enumerate(annotations)]
    path.write_text(json.dumps({"images": rows, "annotations": objects, "categories": categories}))
    return path


def painted(tmp_path, annotations, **given):
    instances = read_instances([file(tmp_path / "i.json", annotations, **given)])
    lines = write_masks(instances, tmp_path / "masks")
    return np.asarray(Image.open(tmp_path / "masks/a.png")), instances, lines


def test_polygons_and_run_lengths_are_painted_smaller_objects_last(tmp_path):
    polygon, square = box(2, 3, 25, 18)
    lengths, first = runs(blob(0)), blob(0)
    second = blob(6)
    mask, instances, _ = painted(
        tmp_path,
        [
            {"segmentation": {"counts": lengths, "size": [HEIGHT, WIDTH]}},
            {"segmentation": {"counts": compressed(runs(second)), "size": [HEIGHT, WIDTH]}, "category_id": 7},
            {"segmentation": polygon, "category_id": 7},
        ],
    )
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[square] = 2
    expected[first] = 1  # of equal size the later one lies on top
    expected[second] = 2
    assert first.sum() == second.sum()
    assert np.array_equal(mask, expected)
    assert instances.classes == ("background", "dog", "cat")
    assert "left out: animals" in instances.said[0]


def test_an_object_of_several_polygons_is_all_of_them_and_one_without_a_list_around_it_is_read(tmp_path):
    (left,), first = box(1, 1, 8, 8)
    (right,), second = box(20, 10, 28, 19)
    mask, *_ = painted(tmp_path, [{"segmentation": [left, right]}])
    assert np.array_equal(mask == 1, first | second)
    mask, *_ = painted(tmp_path, [{"segmentation": left}])
    assert np.array_equal(mask == 1, first)


def test_crowds_and_boxes_without_an_outline_are_ignored_where_no_object_lies_on_them(tmp_path):
    polygon, square = box(5, 5, 12, 12)
    crowd = np.zeros((HEIGHT, WIDTH), bool)
    crowd[:, :10] = True
    mask, _, lines = painted(
        tmp_path,
        [
            {"segmentation": polygon},
            {"segmentation": {"counts": runs(crowd), "size": [HEIGHT, WIDTH]}, "iscrowd": 1},
            {"segmentation": [[1, 2, 3, 4]], "bbox": [20, 2, 5, 6]},  # two corners show nothing
        ],
    )
    expected = np.where(crowd, 255, 0)
    expected[2:8, 20:25] = 255
    expected[square] = 1
    assert np.array_equal(mask, expected)
    assert any("1 objects have a box and no outline" in line for line in lines)


def test_images_without_annotations_get_a_mask_only_where_they_are_said_to_be_empty(tmp_path):
    instances = read_instances(
        [file(tmp_path / "i.json", [{"segmentation": box(1, 1, 5, 5)[0]}], images=("a.jpg", "x/b.jpg"))]
    )
    assert any("1 images have no annotation" in line for line in write_masks(instances, tmp_path / "some"))
    write_masks(instances, tmp_path / "all", empty_is_background=True)
    assert not (tmp_path / "some/x/b.png").exists()
    assert not np.asarray(Image.open(tmp_path / "all/x/b.png")).any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[]", 'no list "images"'),
        ('{"images": [{"id": 1}], "annotations": [], "categories": []}', r'images\[0\] has no "file_name"'),
        ('{"images": [], "annotations": [], "categories": []}', "holds no annotation"),
        ('{"images": [], "annotations": [{"image_id": 1, "category_id": 4}], "categories": []}', "the category 4"),
    ],
)
def test_a_file_that_is_none_is_refused_by_what_it_lacks(text, message, tmp_path):
    (tmp_path / "i.json").write_text(text)
    with pytest.raises(DataError, match=r"i\.json: .*" + message):
        read_instances([tmp_path / "i.json"])


def test_an_outline_that_cannot_be_read_is_named_by_its_annotation(tmp_path):
    wrong = {"segmentation": {"counts": [600], "size": [WIDTH, HEIGHT]}, "id": 77}
    with pytest.raises(DataError, match=r"a\.jpg: the outline of annotation 77 cannot be read .its size is"):
        painted(tmp_path, [wrong])


def test_init_makes_a_study_of_images_and_a_json(tmp_path):
    (tmp_path / "images").mkdir()
    names = [f"{number}.png" for number in range(9)]
    rng = np.random.default_rng(0)
    for name in [*names, "bare.png"]:
        Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)).save(tmp_path / "images" / name)
    polygon, square = box(4, 4, 20, 16)
    objects = [
        {"image_id": 10 + number, "segmentation": polygon, "category_id": 3 + 4 * (number % 2)} for number in range(9)
    ]
    given = file(tmp_path / "i.json", objects, images=names)
    for _ in range(2):  # again: nothing has changed
        lines = begin(
            images=tmp_path / "images", annotations=[given], labelled=4, out=tmp_path, machine=Hardware(cpus=2)
        )
    assert "9 masks of 3 classes painted" in "\n".join(lines)
    data = open_data(TrainConfig.model_validate(load(tmp_path / "study.yaml").trainer).data, final=True)
    assert data.classes == ("background", "dog", "cat")
    items = [*data.labelled, *data.val, *data.holdout]
    for item in items:
        expected = np.where(square, 1 + int(item.image.stem) % 2, 0)
        assert np.array_equal(read_mask(item).numpy(), expected)
    assert "bare.png" in {item.image.name for item in data.unlabelled}
    (tmp_path / "study-masks/0.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"0\.png: is there already"):
        begin(images=tmp_path / "images", annotations=[given], labelled=4, out=tmp_path, machine=Hardware(cpus=2))
    with pytest.raises(ConfigError, match="one of the two"):
        begin(images=tmp_path / "images", out=tmp_path)
