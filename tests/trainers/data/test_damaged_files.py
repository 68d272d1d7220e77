"""Random damage to files: an image, or an error that names the file; never another error."""

import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from trainers.common.errors import DataError
from trainers.data.layout import Item
from trainers.data.pixels import read_header
from trainers.data.read import read_image, read_mask

FORMATS = {
    **{"png": {}, "jpg": {}, "bmp": {}, "gif": {}, "ppm": {}, "webp": {}, "tga": {}, "jp2": {}, "ico": {}},
    **{"tif": {}, "lzw.tif": {"compression": "tiff_lzw"}, "deflate.tif": {"compression": "tiff_deflate"}},
}


def whole_file(name, options):
    pixels = np.random.default_rng(0).integers(0, 3, (24, 32)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x112] = 6
    file = io.BytesIO()
    kind = Image.registered_extensions()["." + name.split(".")[-1]]
    Image.fromarray(pixels).save(
        file, format=kind, **options, **({"exif": exif} if name in ("png", "jpg", "webp") else {})
    )
    return file.getvalue()


WHOLE = {name: whole_file(name, options) for name, options in FORMATS.items()}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(FORMATS))
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_a_damaged_file_is_read_or_named(name, data, tmp_path_factory):
    damaged = bytearray(WHOLE[name])
    for _ in range(data.draw(st.integers(0, 6))):
        # headers are short, and most of a format's own errors come from them
        end = data.draw(st.sampled_from([min(64, len(damaged)), len(damaged)]))
        damaged[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged))) :]
    path = tmp_path_factory.getbasetemp() / f"damaged.{name}"
    path.write_bytes(damaged)
    item = Item(image=path, mask=path, root=path.parent, where="list.txt:3")
    for read in (read_image, read_mask, lambda item: read_header(item.image, item)):
        said = complaint(lambda read=read: read(item))
        assert said is None or (str(path) in said and "list.txt:3" in said)


def complaint(read):
    """What the user is told; None: it was read. Any other error comes through."""
    try:
        read()
    except DataError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS (git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "a page of HTML"),
        (b"image", "no image of a format that Pillow reads"),
    ],
)
def test_a_file_in_which_no_image_is_recognised_is_told_by_what_it_is(tmp_path, content, reason):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    assert reason in complaint(lambda: read_image(Item(image=path)))
