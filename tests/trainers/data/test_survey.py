"""What is concluded from names, values and sizes of a new data set's files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainers.common.errors import DataError
from trainers.data.layout import Item
from trainers.data.survey.benchmark_folders import benchmark_lines
from trainers.data.survey.folder import survey
from trainers.data.survey.looking import SeenMask
from trainers.data.survey.meaning import meaning_of
from trainers.data.survey.pairing import image_files, pair
from trainers.data.survey.parts import draw_parts


def paired(images, masks, *, folders=("/i", "/m")):
    """Names of the pairs that are found."""
    roots = (Path(folders[0]), Path(folders[1]))
    found = pair([roots[0] / name for name in images], [roots[1] / name for name in masks], roots=roots)
    return {image.name: mask.name for image, mask in found.pairs}, found


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (["a.jpg", "b.jpg"], ["a.png", "b.png"]),
        (["a.JPG", "b.JPG"], ["A.png", "B.png"]),
        (["e\u0301.jpg", "b.jpg"], ["\u00e9.png", "b.png"]),
        (["A.jpg", "a.jpg", "b.jpg"], ["A.png", "a.png", "b.png"]),
        (["e\u0301.jpg", "\u00e9.jpg"], ["e\u0301.png", "\u00e9.png"]),
        (["a.jpg", "b.jpg"], ["a_mask.png", "b_mask.png"]),
        (["ISIC_0012.jpg", "ISIC_0013.jpg"], ["ISIC_0012_segmentation.png", "ISIC_0013_segmentation.png"]),
        (["img_1.jpg", "img_12.jpg"], ["mask_1.png", "mask_12.png"]),
        (["c1_leftImg8bit.png", "c2_leftImg8bit.png"], ["c1_gtFine_labelIds.png", "c2_gtFine_labelIds.png"]),
        (["21_training.tif", "22_training.tif"], ["21_manual1.gif", "22_manual1.gif"]),
        (["x1-sat.jpg", "x2-sat.jpg"], ["x1-map.png", "x2-map.png"]),
        (["benign (1).png", "benign (10).png"], ["benign (1)_mask.png", "benign (10)_mask.png"]),
    ],
)
def test_masks_are_found_by_the_names_that_data_sets_give_them(images, masks):
    found, _ = paired(images, masks)
    assert found == dict(zip(images, masks, strict=True))


@pytest.mark.parametrize(
    ("images", "masks", "values", "words"),
    [
        ("ade/images/training", "ade/annotations/training", {0, 7, 150}, "data.name: ade20k reads it"),
        ("coco/train2017", "coco/stuffthingmaps/train2017", {0, 181}, "data.name: coco with mask_dir: stuffthingmaps"),
        ("mine/images", "mine/annotations", {0, 1, 2}, ""),
        ("mine/images", "mine/masks", {0, 150}, ""),
        ("mine/train", "mine/stuffthingmaps", {0, 200}, ""),
    ],
)
def test_folders_of_a_benchmark_whose_values_have_a_meaning_of_their_own_are_named(images, masks, values, words):
    said = benchmark_lines(Path(images), Path(masks), values)
    assert [line.startswith("warning: ") and words in line for line in said] == [True] * bool(words)


def test_a_folder_that_looks_like_ade20k_is_warned_of(tmp_path):
    for folder in ("images/training", "annotations/training"):
        (tmp_path / folder).mkdir(parents=True)
    for number in range(2):
        Image.new("RGB", (16, 16)).save(tmp_path / f"images/training/{number}.png")
        values = np.arange(256, dtype=np.uint8).reshape(16, 16) % 151
        Image.fromarray(values).save(tmp_path / f"annotations/training/{number}.png")
    said = survey(tmp_path / "images/training", tmp_path / "annotations/training").said
    assert any("look like ADE20K, whose 0 is whatever no class is" in line for line in said)


def test_of_two_masks_of_an_image_the_kind_that_most_have_is_taken_and_the_rest_is_said():
    found, told = paired(["a.png", "b.png"], ["a_mask.png", "a_mask_1.png", "b_mask.png"])
    assert found == {"a.png": "a_mask.png", "b.png": "b_mask.png"}
    assert any("1 masks belong to no image" in line and "a_mask_1.png" in line for line in told.said)


def test_a_number_is_no_beginning_of_a_longer_one():
    found, _ = paired(["img1.png", "img12.png"], ["img12_mask.png", "img3_mask.png"])
    assert found == {"img12.png": "img12_mask.png"}


def test_names_that_repeat_are_told_apart_by_their_folders():
    found, _ = paired(["x/1.png", "y/1.png"], ["x/1.png", "y/1.png"])
    assert len(found) == 1  # by name; both by path:
    _, told = paired(["x/1.png", "y/1.png"], ["x/1.png", "y/1.png"])
    assert [(image.parent.name, mask.parent.name) for image, mask in told.pairs] == [("x", "x"), ("y", "y")]


def test_masks_may_lie_beside_their_images():
    found, told = paired(
        ["a.jpg", "a_mask.png", "b.jpg", "b_mask.png", "c.jpg"],
        ["a.jpg", "a_mask.png", "b.jpg", "b_mask.png", "c.jpg"],
        folders=("/d", "/d"),
    )
    assert found == {"a.jpg": "a_mask.png", "b.jpg": "b_mask.png"}
    assert [path.name for path in told.images] == ["c.jpg"]


def test_names_that_have_nothing_in_common_are_an_error_that_shows_both():
    with pytest.raises(DataError, match=r"images are called as cat\.jpg, masks as 0001\.png"):
        paired(["cat.jpg", "dog.jpg"], ["0001.png", "0002.png"])


@pytest.mark.parametrize(
    ("images", "masks", "what"),
    [
        (["1.jpg", "1.png", "2.jpg"], ["1.png", "2.png"], r"images .*: /i/1\.jpg and /i/1\.png"),
        (["1.jpg", "2.jpg"], ["1.png", "1.tif", "2.png"], r"masks .*: /m/1\.png and /m/1\.tif"),
        (["A.jpg", "a.jpg"], ["A_mask.png", "a_mask.png"], r"images .*: /i/A\.jpg and /i/a\.jpg"),
    ],
)
def test_two_files_of_one_name_are_named_as_the_cause(images, masks, what):
    with pytest.raises(DataError, match=f"two {what}; which mask belongs to which image cannot be told"):
        paired(images, masks)


def mask(*values, kind="values", lossy=False, colours=None):
    return SeenMask(size=(8, 8), kind=kind, pixels=dict.fromkeys(values, 10), colours=colours or {}, lossy=lossy)


def meant(*masks, **options):
    return meaning_of({Path(f"/m/{number}.png"): one for number, one in enumerate(masks)}, **options)


@pytest.mark.parametrize(
    ("masks", "label_map", "count"),
    [
        ([mask(0, 255)], {"0": 0, "255": 1}, 2),
        ([mask(0, 1), mask(0)], None, 2),
        ([mask(0, 1), mask(0, 255)], {"0": 0, "1": 1, "255": 1}, 2),
        ([mask(0, 1, 255)], None, 2),
        ([mask(0, 3, 7, 255)], None, 8),
        ([mask(0, 128)], {"0": 0, "128": 1}, 2),
        ([mask(0, 85, 170, 255)], {"0": 0, "85": 1, "170": 2, "255": 3}, 4),
        ([mask(0, 38, 75, 255)], {"0": 0, "38": 1, "75": 2}, 3),
        ([mask(1, 2, 3)], {"1": 0, "2": 1, "3": 2}, 3),
        ([mask(0, 1000, 2000)], {"0": 0, "1000": 1, "2000": 2}, 3),
        (
            [mask(0, 0xFF0000, kind="colours"), mask(0, 0x00FF00, kind="colours")],
            {"#000000": 0, "#00ff00": 1, "#ff0000": 2},
            3,
        ),
        (
            [mask(0, 0xFF0000, kind="colours"), mask(0, 1, kind="palette", colours={0: 0, 1: 0xFF0000})],
            {"#000000": 0, "#ff0000": 1},
            2,
        ),
        ([mask(0, 0x800000, 0xE0E0C0, kind="colours")], {"#000000": 0, "#800000": 1, "#e0e0c0": "ignore"}, 2),
    ],
)
def test_what_values_mean_is_concluded_from_the_masks(masks, label_map, count):
    found = meant(*masks)
    assert found.label_map == label_map
    assert len(found.classes) == count


def test_masks_that_jpeg_blurred_are_refused():
    with pytest.raises(DataError, match=r"1 of 1 masks are JPEG .* save masks as PNG"):
        meant(mask(*range(0, 60, 3), lossy=True))


def test_masks_of_one_class_are_refused():
    with pytest.raises(DataError, match="one class only"):
        meant(mask(0))


def test_too_few_names_are_refused():
    with pytest.raises(DataError, match=r"--classes names 2 classes, and the masks show 3"):
        meant(mask(0, 1, 2), names=("a", "b"))


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def plain(tmp_path):
    """Eight images of 20 x 24 pixels with masks of 0, 1 and 2."""
    for number in range(8):
        write(tmp_path / "images" / f"{number}.png", np.full((24, 20, 3), 9 * number + 1, np.uint8))
        values = np.zeros((24, 20), np.uint8)
        values[4:9], values[12:15] = 1, 2
        write(tmp_path / "masks" / f"{number}.png", values)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("classes.txt", "ground\ncat\ndog\n", ("ground", "cat", "dog")),
        ("classes.txt", "cat\ndog\n", ("background", "cat", "dog")),
        ("labels.txt", "1: cat\n2: dog\n", ("background", "cat", "dog")),
        ("labels.txt", "0 void\n1 cat\n2 dog\n3 cow\n", ("void", "cat", "dog", "cow")),
        ("_classes.csv", "Pixel Value, Class\n0, ground\n1, cat\n2, dog\n", ("ground", "cat", "dog")),
        ("classes.txt", "only one\n", ("class 0", "class 1", "class 2")),
    ],
)
def test_names_of_classes_come_from_the_file_that_an_annotation_program_left(plain, name, text, wanted):
    (plain / name).write_text(text)
    assert survey(plain / "images", plain / "masks").classes == wanted


def test_a_file_of_colours_gives_classes_their_order_and_names(plain):
    for path in (plain / "masks").iterdir():
        values = np.asarray(Image.open(path))
        write(path, np.array([[0, 0, 0], [250, 0, 0], [0, 0, 9]], np.uint8)[values])
    (plain / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nwater:0,0,9::\nsand:250,0,0::\nrest:0,0,0::\n"
    )
    found = survey(plain / "images", plain / "masks")
    assert found.classes == ("water", "sand", "rest")
    assert found.keys["label_map"] == {"#000009": 0, "#fa0000": 1, "#000000": 2}


def test_masks_that_were_drawn_on_the_stored_pixels_make_exif_ignored(plain):
    for number in range(4):
        exif = Image.Exif()
        exif[0x112] = 6
        Image.fromarray(np.full((24, 20, 3), number + 50, np.uint8)).save(plain / "images" / f"{number}.png", exif=exif)
    assert survey(plain / "images", plain / "masks").keys["exif"] == "ignore"


def test_grey_that_uses_few_of_its_16_bits_gets_a_range(plain):
    for number in range(3):
        write(plain / "images" / f"{number}.png", np.full((24, 20), 3000 + number, np.uint16))
    assert survey(plain / "images", plain / "masks").keys["value_range"] == [0, 4095]


def test_copies_are_left_out_and_said(plain):
    (plain / "images" / "again.png").write_bytes((plain / "images" / "0.png").read_bytes())
    found = survey(plain / "images", plain / "masks")
    assert (len(found.pairs), found.bare) == (8, ())
    images = plain / "images"
    assert f"left out: {images / 'again.png'}, a copy of {images / '0.png'}" in found.said


def items(count):
    return [Item(image=Path(f"/i/{number}.png"), mask=Path(f"/m/{number}.png")) for number in range(count)]


def test_every_class_is_labelled_though_it_is_in_one_image():
    present = [frozenset({0})] * 29 + [frozenset({0, 1})]
    for seed in range(5):
        parts = draw_parts(items(30), present, [], labelled=3, seed=seed)
        assert Path("/i/29.png") in {item.image for item in parts.labelled}


def test_lists_are_drawn_by_the_seed_alone():
    present = [frozenset({0})] * 30
    first, again, other = (draw_parts(items(30), present, [], labelled=6, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.labelled != other.labelled


@pytest.mark.parametrize(("count", "labelled", "match"), [(2, None, "fewest"), (9, 8, "give at most 7")])
def test_too_few_images_to_train_and_to_score_are_refused(count, labelled, match):
    with pytest.raises(DataError, match=match):
        draw_parts(items(count), [frozenset({0})] * count, items(1), labelled=labelled, seed=0)


def test_a_link_to_a_folder_that_holds_it_is_followed_once(tmp_path):
    Image.new("L", (2, 2)).save(tmp_path / "a.png")
    (tmp_path / "again").symlink_to(tmp_path)
    other = tmp_path.parent / f"{tmp_path.name}-other"
    other.mkdir()
    Image.new("L", (2, 2)).save(other / "b.png")
    (tmp_path / "more").symlink_to(other)
    assert [path.name for path in image_files(tmp_path)] == ["a.png", "b.png"]
