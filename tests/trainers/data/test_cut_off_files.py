"""A file that was cut off is found before the first step, also where only its header is read, and a whole one is not
decoded for that."""

import contextlib

import numpy as np
import pytest
from PIL import Image

from trainers.data.check import check_data
from trainers.data.layout import Item
from trainers.data.open import open_data
from trainers.data.opening import CorruptError
from trainers.data.pixels import read_header

WAYS = {
    **{kind: {} for kind in ("jpg", "png", "gif", "webp", "bmp", "tif")},
    "progressive.jpg": {"progressive": True},
    "lzw.tif": {"compression": "tiff_lzw"},
    "lossless.webp": {"lossless": True},
}


def whole(path, **options):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (60, 80, 3)).astype(np.uint8)).save(path, **options)
    return path


def by_pixels(path):
    return read_header(path, Item(image=path)).by_pixels


@pytest.mark.parametrize("name", WAYS)
def test_the_header_of_a_whole_file_is_enough(tmp_path, name):
    assert not by_pixels(whole(tmp_path / f"a.{name}", **WAYS[name]))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
@pytest.mark.parametrize("name", WAYS)
def test_a_file_without_its_end_is_decoded(tmp_path, name, share):
    path = whole(tmp_path / f"a.{name}", **WAYS[name])
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with contextlib.suppress(CorruptError):  # Pillow sees it in the header
        assert by_pixels(path)


def test_something_behind_a_photograph_is_no_reason_to_decode_it(tmp_path):
    path = whole(tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes() + bytes(1000))
    assert not by_pixels(path)


def test_a_preview_in_the_header_is_not_taken_for_the_end(tmp_path):
    path = whole(tmp_path / "a.jpg", exif=b"Exif\0\0" + b"\xff\xd8 a preview \xff\xd9")
    path.write_bytes(path.read_bytes()[:-2])
    assert by_pixels(path)


def test_an_unlabelled_photograph_that_was_cut_off_is_named_before_the_first_step(train_config, folder_root):
    lines = (folder_root / "unlabelled.txt").read_text().replace("images/9.png", "images/9.jpg")
    (folder_root / "unlabelled.txt").write_text(lines)
    path = whole(folder_root / "images" / "9.jpg")
    path.write_bytes(path.read_bytes()[:1500])
    config = train_config(data={"holdout": {"images": 2}}).data
    with pytest.raises(CorruptError, match=r"9\.jpg: cannot be decoded, .*unlabelled\.txt:4"):
        check_data(open_data(config, final=False), config)
