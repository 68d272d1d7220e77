"""`data.label_map`: what the masks hold, in every reader."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from trainers.cli.draw_splits import draw_splits
from trainers.common.errors import ConfigError, DataError
from trainers.data.check import check_data
from trainers.data.describe import data_lines
from trainers.data.evaluation import eval_batches
from trainers.data.labelmap import LabelMapConfig, label_map_of
from trainers.data.layout import Decoding, Item
from trainers.data.loader import TrainLoader
from trainers.data.open import open_data
from trainers.data.presence import classes_present
from trainers.data.read import Reader, read_mask
from trainers.interface.method import Needs

BINARY = {0: 0, 255: 1}


@pytest.fixture
def binary_root(folder_root):
    """The masks of `folder_root` as 0 and 255, 255 where class 1 or 2 is."""
    for path in (folder_root / "masks").iterdir():
        mask = np.asarray(Image.open(path))
        Image.fromarray(np.where((mask > 0) & (mask < 255), 255, 0).astype(np.uint8)).save(path)
    return folder_root


@pytest.fixture
def of_two(train_config, binary_root):
    """Two classes in masks of 0 and 255."""

    def make(label_map=None, **data):
        return train_config(data={"num_classes": 2, "label_map": label_map, **data})

    return make


@given(
    values=st.dictionaries(st.integers(0, 65535), st.integers(0, 4) | st.just("ignore"), min_size=1, max_size=9),
    seed=st.integers(0, 1000),
)
def test_values_are_mapped_as_a_loop_would(values, seed):
    named = np.array(list(values))
    found = np.random.default_rng(seed).choice(named, (5, 7)).astype(np.uint16)
    label_map = label_map_of({str(key): kind for key, kind in values.items()}, num_classes=5)
    wanted = [[255 if values[int(v)] == "ignore" else values[int(v)] for v in row] for row in found]
    assert label_map(found).tolist() == wanted
    stranger = next(v for v in range(65536) if v not in values and v != 255)
    found[2, 3] = stranger
    with pytest.raises(ValueError, match=rf"value {stranger} \(row 2, column 3\)"):
        label_map(found)


@given(
    colours=st.dictionaries(
        st.tuples(*[st.integers(0, 255)] * 3), st.integers(0, 4) | st.just("ignore"), min_size=1, max_size=9
    ),
    seed=st.integers(0, 1000),
)
def test_colours_are_mapped_as_a_loop_would(colours, seed):
    named = np.array(list(colours), dtype=np.uint8)
    found = named[np.random.default_rng(seed).integers(0, len(named), (5, 7))]
    label_map = label_map_of({"#{:02x}{:02x}{:02x}".format(*key): kind for key, kind in colours.items()}, num_classes=5)
    wanted = [
        [255 if colours[tuple(map(int, v))] == "ignore" else colours[tuple(map(int, v))] for v in r] for r in found
    ]
    assert label_map(found).tolist() == wanted


def test_reduce_zero_ignores_zero_and_lowers_the_rest():
    found = np.array([[0, 1, 2, 150, 254, 255]], dtype=np.uint8)
    assert label_map_of("reduce_zero", num_classes=150)(found).tolist() == [[255, 0, 1, 149, 253, 255]]


@pytest.mark.parametrize(
    ("label_map", "complaint"),
    [
        ({}, "names no value"),
        ({0: 0, 255: 2}, r"255: class 2 is not there, classes are 0 \.\. 1"),
        ({"red": 1}, '"red" is neither a value'),
        ({70000: 1}, "70000"),
        ({"#ff0000": 1, 0: 0}, "both colours .* and values"),
    ],
)
def test_a_map_that_cannot_be_used_is_refused(of_two, label_map, complaint):
    with pytest.raises(ConfigError, match=rf"data\.label_map: .*{complaint}"):
        open_data(of_two(label_map).data, final=False)


@pytest.mark.parametrize(
    "label_map",
    [{"#FF0000": 1, "#ff0000": 0}, {"255 0 0": 1, "#ff0000": 0}, {"(255, 0, 0)": 0, "255 0 0": 0}, {"1": 0, "01": 1}],
)
def test_a_map_that_names_one_value_in_two_ways_is_refused(label_map):
    first, second = (re.escape(key) for key in label_map)
    with pytest.raises(ValidationError, match=f"{first} and {second} are the same; name it once"):
        TypeAdapter(LabelMapConfig).validate_python(label_map)


def test_training_evaluation_check_and_presence_see_the_same_classes(of_two):
    config = of_two(BINARY)
    data = open_data(config.data, final=False)
    shown = [int(item.image.stem) % 3 > 0 for item in data.labelled]
    loader = TrainLoader(data, config, Needs(unlabelled=False))
    trained = {int(value) for batch in loader.epoch(0) for value in batch.labelled.mask.unique()}
    assert trained - {255} == {0, 1}  # crops are padded with 255
    evaluated = [m for _, m in eval_batches(data.labelled, reader=Reader(2), device=torch.device("cpu"))]
    assert [bool((mask == 1).any()) for masks in evaluated for mask in masks] == shown
    assert [1 in classes for classes in classes_present(data.labelled)] == shown
    assert check_data(data, config.data).images_with_class["labelled"][1] == sum(shown)


def test_a_draw_by_presence_follows_the_map(of_two):
    lists = {"labelled": None, "unlabelled": None, "train": "all.txt", "holdout": {"images": 4, "source": "unlabelled"}}
    for seed in range(4):
        config = of_two(BINARY, draw={"labelled": 2, "seed": seed}, **lists).data
        drawn = open_data(config, final=False).labelled
        assert set().union(*classes_present(drawn)) == {0, 1}


def test_the_split_report_counts_mapped_classes_and_warns_without_a_map(binary_root, tmp_path):
    (mapped,) = draw_splits(binary_root / "all.txt", sizes=[4], out=tmp_path / "a", root=binary_root, label_map=BINARY)
    assert "2 of 2 classes" in mapped
    plain, warning = draw_splits(binary_root / "all.txt", sizes=[4], out=tmp_path / "b", root=binary_root)
    assert "1 of 1 classes" in plain
    assert "255" in warning
    assert "--label-map" in warning


@pytest.mark.parametrize("store_bytes", [0, 2**24])
def test_caches_tell_label_maps_and_masks_of_one_image_apart(tmp_path, write_image, store_bytes, monkeypatch):
    monkeypatch.setattr("trainers.data.read.WORTH_BYTES", 0)
    write_image(tmp_path / "i.png", np.zeros((8, 8, 3)))
    for name, value in (("a", 0), ("b", 1)):
        write_image(tmp_path / f"{name}.png", np.full((8, 8), value))
    reader = Reader(3, store_bytes=store_bytes)

    def seen(name, pairs):
        label_map = None if pairs is None else label_map_of(pairs, num_classes=3)
        decoding = Decoding(label_map=label_map)
        item = Item(image=tmp_path / "i.png", mask=tmp_path / f"{name}.png", root=tmp_path, decoding=decoding)
        present = classes_present([item])[0]
        value = int(reader(item, with_mask=True)[1].unique())
        assert present == {value}
        return value

    for _ in range(2):
        assert [seen("a", None), seen("b", None)] == [0, 1]
        assert [seen("a", {"0": 1}), seen("a", {"0": 2}), seen("b", {"1": 0})] == [1, 2, 0]


def test_binary_masks_without_a_map_are_warned_about_with_the_map_that_mends_it(of_two):
    config = of_two()
    data = open_data(config.data, final=False)
    lines = data_lines(config.data, data, check_data(data, config.data))
    (warning,) = [line for line in lines if line.startswith("warning: no labelled image shows class 1")]
    assert "255 = ignore" in warning
    assert "data.label_map: {0: 0, 255: 1}" in warning
    mended = of_two(BINARY)
    data = open_data(mended.data, final=False)
    assert not [line for line in data_lines(mended.data, data, check_data(data, mended.data)) if "warning" in line]


def test_border_pixels_of_255_are_not_warned_about_where_every_class_is_seen(train_config):
    config = train_config()
    data = open_data(config.data, final=False)
    assert not [line for line in data_lines(config.data, data, check_data(data, config.data)) if "warning" in line]


@pytest.mark.parametrize("mode", ["RGB", "P", "L", "RGBA"])
def test_a_map_of_colours_reads_masks_however_they_are_stored(mode, tmp_path):
    grey = mode == "L"
    colours = np.array([[[0, 0, 0], [7, 7, 7]]] if grey else [[[0, 0, 0], [255, 0, 7]]], dtype=np.uint8)
    image = Image.fromarray(colours)
    (image.quantize(2) if mode == "P" else image.convert(mode)).save(tmp_path / "m.png")
    label_map = label_map_of({"#000000": 1, "#070707" if grey else "#ff0007": 0}, num_classes=2)
    item = Item(image=tmp_path / "m.png", mask=tmp_path / "m.png", decoding=Decoding(label_map=label_map))
    assert read_mask(item).tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("m.png", np.array([[0, 0x8080, 0xFFFF]], np.uint16)),
        ("m.tif", np.array([[0, 300, 600]], np.int32)),
        ("m.tif", np.array([[0, 0.5, 1]], np.float32)),
    ],
)
def test_deep_grey_has_no_colours_and_is_refused_by_name(tmp_path, name, pixels):
    """Pillow would clip it to 0 .. 255, so that every value above is white."""
    Image.fromarray(pixels).save(tmp_path / name)
    given = TypeAdapter(LabelMapConfig).validate_python({"#000000": 0, "#808080": 1, "#ffffff": 2})
    decoding = Decoding(label_map=label_map_of(given, num_classes=3))
    item = Item(image=tmp_path / name, mask=tmp_path / name, where="l.txt:1", decoding=decoding)
    with pytest.raises(DataError, match=rf"{name}: .* grey has no colours, .*\(named in l\.txt:1\)"):
        read_mask(item)


def test_a_colour_that_is_not_named_is_an_error_with_file_and_line(tmp_path):
    Image.new("RGB", (2, 2), (1, 2, 3)).save(tmp_path / "m.png")
    decoding = Decoding(label_map=label_map_of({"#ff0000": 1}, num_classes=2))
    item = Item(image=tmp_path / "m.png", mask=tmp_path / "m.png", where="l.txt:4", decoding=decoding)
    with pytest.raises(DataError, match=r"m\.png: colour #010203 \(row 0, column 0\) has no class .*l\.txt:4"):
        read_mask(item)


def test_values_above_255_are_read_through_a_map(tmp_path):
    Image.fromarray(np.array([[0, 1000, 65535]], dtype=np.uint16)).save(tmp_path / "m.png")
    decoding = Decoding(label_map=label_map_of({"0": 0, "1000": 1, "65535": "ignore"}, num_classes=2))
    assert read_mask(Item(image=tmp_path / "m.png", mask=tmp_path / "m.png", decoding=decoding)).tolist() == [
        [0, 1, 255]
    ]


@pytest.mark.parametrize("name", ["labelled", "holdout"])
def test_a_list_in_which_every_pixel_is_ignored_is_refused_before_a_step(train_config, name, write_image):
    config = train_config()
    data = open_data(config.data, final=False)
    for item in getattr(data, name):
        write_image(item.mask, np.full((20, 24), 255))
    with pytest.raises(DataError, match=rf"data\.{name}: every pixel of its \d masks is 255 = ignore.*data\.label_map"):
        check_data(data, config.data)
