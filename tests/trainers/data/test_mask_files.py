"""Masks whose values can be read and are doubtful: said in the data lines, or refused where one of two readings is as
likely as the other."""

import numpy as np
import pytest
from PIL import Image

from trainers.data.check import check_data
from trainers.data.describe import data_lines
from trainers.data.open import open_data
from trainers.data.opening import MeaningError

CLASSES = 3
VOC = [(0, 0, 0), (128, 0, 0), (0, 128, 0)]
SHADES = [(0, 0, 0), (1, 1, 1), (2, 2, 2)]
OWN = [(10, 0, 0), (0, 20, 0), (0, 0, 30)]


def palette_image(values, colours):
    image = Image.frombytes("P", values.shape[::-1], values.tobytes())
    image.putpalette([channel for colour in colours for channel in colour])
    return image


@pytest.fixture
def said(tmp_path, data_config, write_image):
    """Writes six images with masks by a function of (path, class indices, number); the lines about them."""

    def tell(write, *, mask="masks/{}.png", shared=(), num_classes=CLASSES, **config):
        rng, lines = np.random.default_rng(0), []
        (tmp_path / "masks").mkdir()
        for number in range(6):
            write_image(tmp_path / f"images/{number}.png", np.full((8, 9, 3), 40 * number))
            write(tmp_path / mask.format(number), rng.integers(0, CLASSES, (8, 9)).astype(np.uint8), number)
            lines.append(f"images/{number}.png {mask.format(0 if number in shared else number)}\n")
        (tmp_path / "list.txt").write_text("".join(lines))
        given = data_config(
            name="folder",
            root=str(tmp_path),
            num_classes=num_classes,
            labelled="list.txt",
            holdout={"images": 2},
            **config,
        )
        data = open_data(given, final=False)
        return [line for line in data_lines(given, data, check_data(data, given)) if line.startswith("warning")]

    return tell


def in_order(*order, colours):
    """Masks whose palette a program has sorted: index i has the colour of class order[i]."""

    def write(path, values, number):
        palette_image(np.argsort(order).astype(np.uint8)[values], [colours[one] for one in order]).save(path)

    return write


@pytest.mark.parametrize("colours", [VOC, SHADES, OWN, [(0, 0, 0)] * 3, [(0, 0, 0), (127, 127, 127), (255, 255, 255)]])
def test_palettes_in_the_order_of_the_classes_need_no_word(said, colours):
    assert said(in_order(0, 1, 2, colours=colours)) == []


def test_a_palette_of_greys_that_are_other_classes_than_its_indices_is_refused(said):
    with pytest.raises(
        MeaningError, match=r"masks/\d\.png: is a palette image whose index 0 is the grey 2 .*label_map"
    ):
        said(in_order(2, 0, 1, colours=SHADES))


def test_a_gif_writer_that_packs_the_values_is_found_out(said):
    with pytest.raises(MeaningError, match="index 2 is the grey 10"):
        said(
            lambda path, values, number: Image.fromarray(np.where(values == 2, 10, values).astype(np.uint8)).save(path),
            mask="masks/{}.gif",
            num_classes=11,
        )


@pytest.mark.parametrize("label_map", [{0: 0, 1: 1, 2: 2}, {"#000000": 0, "#010101": 1, "#020202": 2}])
def test_a_label_map_says_whether_indices_or_greys_are_meant(said, label_map):
    assert said(in_order(2, 0, 1, colours=SHADES), label_map=label_map) == []


def test_black_and_white_palettes_hold_two_classes(said):
    assert said(lambda path, values, number: palette_image(values // 2, [(0, 0, 0), (255, 255, 255)]).save(path)) == []


def test_colours_of_pascal_voc_at_other_indices_are_warned_about(said):
    (line,) = said(in_order(0, 2, 1, colours=VOC))
    assert "index 1 has the colour #008000, which is that of class 2 in the palette of Pascal VOC" in line
    assert 'data.label_map: {"#008000": 2, ...}' in line


def test_palettes_that_differ_between_masks_are_warned_about(said):
    def write(path, values, number):
        in_order(*((0, 1, 2) if number % 2 else (1, 0, 2)), colours=OWN)(path, values, number)

    (line,) = said(write)
    assert "the palettes of the masks differ" in line


@pytest.mark.parametrize(("kind", "options"), [("jpg", {"quality": 100}), ("tif", {"compression": "jpeg"})])
def test_masks_compressed_as_jpeg_are_warned_about_also_where_their_values_are_classes(said, kind, options):
    (line,) = said(
        lambda path, values, number: Image.fromarray(np.full_like(values, number % 2)).save(path, **options),
        mask=f"masks/{{}}.{kind}",
        num_classes=40,
    )
    assert line.startswith("warning: 6 masks are compressed as JPEG, which does not keep values")


def test_one_mask_for_several_images_is_warned_about(said):
    (line,) = said(lambda path, values, number: Image.fromarray(values).save(path), shared=(0, 1, 2, 3, 4, 5))
    assert "images have a mask that another image has too" in line
    assert "masks/0.png" in line
