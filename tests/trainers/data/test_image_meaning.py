"""Every mode and depth that Pillow reads is read to its meaning, or refused by name."""

import itertools
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps, PngImagePlugin

from trainers.common.errors import DataError
from trainers.data.layout import Decoding, Item
from trainers.data.opening import CorruptError, MeaningError
from trainers.data.pixels import read_header
from trainers.data.read import read_image, read_mask

MODES = [
    *("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "PA", "RGBX", "RGBa", "La"),
    *("I;16", "I;16L", "I;16B", "I;16N"),
]
FORMATS = ["png", "tif", "jpg", "gif", "bmp", "ppm", "webp", "jp2", "tga", "sgi", "pcx", "ico", "pfm", "dds", "avif"]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def item(path, mask=None, **decoding):
    return Item(image=path, mask=mask, root=path.parent, where="list.txt:7", decoding=Decoding(**decoding))


def read(path, **decoding):
    """(H, W, 3)."""
    return read_image(item(path, **decoding)).numpy().transpose(1, 2, 0)


def tiff(path, pixels, *, photometric, extra=(), bits=None, sample_format=1, directories=1):
    """An uncompressed TIFF of pixels (H, W, bands), as no library here writes it."""
    height, width, bands = pixels.shape
    data = pixels.tobytes()
    bits = bits or 8 * pixels.itemsize
    entries = [(256, 4, [width]), (257, 4, [height]), (258, 3, [bits] * bands), (259, 3, [1]), (262, 3, [photometric])]
    entries += [(273, 4, [8]), (277, 3, [bands]), (278, 4, [height]), (279, 4, [len(data)]), (284, 3, [1])]
    entries += [(338, 3, list(extra))] * bool(extra) + [(339, 3, [sample_format] * bands)]
    begin = 8 + len(data)
    tail = begin + 2 + 12 * len(entries) + 4
    out, blob = struct.pack("<H", len(entries)), b""
    for tag, kind, values in entries:
        packed = struct.pack("<" + {3: "H", 4: "I"}[kind] * len(values), *values)
        if len(packed) > 4:
            out += struct.pack("<HHII", tag, kind, len(values), tail + len(blob))
            blob += packed
        else:
            out += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    path.write_bytes(b"II*\0" + struct.pack("<I", begin) + data + out + struct.pack("<I", 0) + blob)
    return path


def picture(mode, rng):
    """An image of a mode with many values, and opaque."""
    grey = rng.integers(0, 256, (12, 16)).astype(np.uint8)
    if mode.startswith("I;16"):
        kind = ">u2" if mode.endswith("B") else "<u2"
        return Image.frombytes(mode, (16, 12), (grey.astype(np.uint16) * 257).astype(kind).tobytes())
    if mode == "I":
        return Image.fromarray(grey.astype(np.int32) * 257)
    if mode == "F":
        return Image.fromarray(grey.astype(np.float32) / 255)
    colours = Image.fromarray(rng.integers(0, 256, (12, 16, 3)).astype(np.uint8))
    if mode in ("RGBa", "La"):
        return colours.convert("RGBA" if mode == "RGBa" else "LA").convert(mode)
    if mode == "LAB":
        return Image.frombytes("LAB", (16, 12), colours.tobytes())
    return colours.convert("P").convert("PA") if mode == "PA" else colours.convert(mode)


def expected(image):
    """The meaning, worked out apart from the product: deep grey as a share of its range."""
    values = np.asarray(image)
    if image.mode.startswith("I;16") or image.mode == "I":
        grey = values.astype(np.float64) / 65535 * 255
    elif image.mode == "F":
        grey = values.astype(np.float64) * 255
    else:
        return np.asarray(image.convert("RGBA").convert("RGB")).astype(np.float64)
    return np.repeat(grey[..., None], 3, axis=2)


def stored(path, image):
    """Whether Pillow writes such a file."""
    try:
        image.save(path)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, SystemError):
        return False
    return True


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_in_every_format_is_read_to_its_meaning_or_refused_by_name(mode, rng, tmp_path):
    written, refusals = 0, []
    for kind in FORMATS:
        path = tmp_path / f"a.{kind}"
        image = picture(mode, rng)
        if not stored(path, image):
            continue
        written += 1
        with Image.open(path) as reopened:
            reopened.load()
            meant = reopened.copy()
        try:
            found = read(path)
        except MeaningError as error:
            refusals.append((path, str(error)))
            continue
        assert np.abs(found - expected(meant)).max() <= 1, (mode, kind, meant.mode)
    assert all(str(path) in said and "list.txt:7" in said for path, said in refusals)
    assert written or mode in ("HSV", "I;16L", "I;16N", "RGBa", "La", "PA", "RGBX")


@pytest.mark.parametrize("kind", ["png", "tif", "jp2", "ppm"])
def test_sixteen_bit_grey_is_the_same_picture_as_its_eight_bit_copy(kind, rng, tmp_path):
    grey = rng.integers(0, 256, (12, 16)).astype(np.uint8)
    deep, flat = tmp_path / f"deep.{kind}", tmp_path / "flat.png"
    Image.fromarray(grey.astype(np.uint16) * 257).save(deep)
    Image.fromarray(grey).save(flat)
    assert np.array_equal(read(deep), read(flat))


def test_sixteen_bit_grey_and_sixteen_bit_colour_of_equal_bands_agree(rng, tmp_path):
    grey = rng.integers(0, 65536, (12, 16, 1)).astype(np.uint16)
    one = tiff(tmp_path / "one.tif", grey, photometric=1)
    three = tiff(tmp_path / "three.tif", np.repeat(grey, 3, axis=2), photometric=2)
    assert np.array_equal(read(one), read(three))


def test_twelve_bit_grey_is_a_share_of_twelve_bits(tmp_path):
    values = np.array([[0, 1000, 2048, 4095]], dtype=np.uint16)
    packed = "".join(f"{value:012b}" for value in values[0])
    data = np.array([int(packed[at : at + 8], 2) for at in range(0, len(packed), 8)], dtype=np.uint8)
    path = tmp_path / "twelve.tif"
    tiff(path, data.reshape(1, -1, 1), photometric=1, bits=12)
    raw = bytearray(path.read_bytes())
    at = raw.index(struct.pack("<HHI", 256, 4, 1))
    raw[at + 8 : at + 12] = struct.pack("<I", 4)
    path.write_bytes(raw)
    assert np.abs(read(path)[0, :, 0] - values[0] / 4095 * 255).max() <= 1


@pytest.mark.parametrize(("low", "high"), [(0, 4095), (-1000, 3000), (0.25, 0.5)])
def test_a_value_range_says_what_is_black_and_white(low, high, tmp_path):
    values = np.linspace(low - 100, high + 100, 256).astype(np.float32).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / "f.tif")
    meant = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1) * 255
    assert np.abs(read(tmp_path / "f.tif", value_range=(low, high))[..., 0] - meant).max() <= 0.5 + 1e-3


def test_a_value_range_is_refused_where_it_does_not_reach(rng, tmp_path):
    pixels = rng.integers(0, 4096, (12, 16, 3)).astype(np.uint16)
    path = tiff(tmp_path / "colour.tif", pixels, photometric=2)
    for read_it in (lambda **how: read_header(path, item(path, **how)), lambda **how: read(path, **how)):
        read_it()
        read_it(value_range=(0, 65535))
        with pytest.raises(MeaningError, match=r"colour\.tif: 16-bit RGB .*data\.value_range does not reach"):
            read_it(value_range=(0, 4095))


@pytest.mark.parametrize("values", [[0, 255], [-0.1, 1], [0, np.nan], [0, np.inf]])
def test_floats_that_are_no_shares_are_refused_by_name(values, tmp_path):
    path = tmp_path / "f.tif"
    Image.fromarray(np.array([values], dtype=np.float32)).save(path)
    assert read_header(path, item(path)).by_pixels
    with pytest.raises(MeaningError, match=r"f\.tif.*(data.value_range|write a number)"):
        read(path)


@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        (np.zeros((4, 4, 1), np.int16), {"photometric": 1, "sample_format": 2}),
        (np.zeros((4, 4, 1), np.uint32), {"photometric": 1}),
        (np.zeros((4, 4, 1), np.int8), {"photometric": 1, "sample_format": 2}),
        (np.zeros((4, 4, 1), np.uint16), {"photometric": 0}),
        (np.zeros((4, 4, 1), np.float16), {"photometric": 1, "sample_format": 3}),
        (np.zeros((4, 4, 2), np.uint8), {"photometric": 1, "extra": (0,)}),
        (np.zeros((4, 4, 4), np.uint8), {"photometric": 2, "extra": (0,)}),
        (np.zeros((4, 4, 5), np.uint8), {"photometric": 2, "extra": (0, 0)}),
        (np.zeros((4, 4, 5), np.uint8), {"photometric": 2, "extra": (2, 0)}),
        (np.zeros((4, 4, 5), np.uint8), {"photometric": 1, "extra": (0,) * 4}),
        (np.zeros((4, 4, 13), np.uint16), {"photometric": 1, "extra": (0,) * 12}),
        (np.zeros((4, 4, 4), np.float32), {"photometric": 1, "extra": (0,) * 3, "sample_format": 3}),
        (np.zeros((4, 4, 5), np.uint8), {"photometric": 5, "extra": (0,)}),
    ],
)
def test_depths_and_bands_without_a_meaning_here_are_refused_by_their_header(pixels, options, tmp_path):
    path = tiff(tmp_path / "a.tif", pixels, **options)
    with pytest.raises(MeaningError, match=r"a\.tif.*list\.txt:7"):
        read_header(path, item(path))
    with pytest.raises(MeaningError, match=r"a\.tif.*list\.txt:7"):
        read(path)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB"])
def test_transparency_is_read_where_all_is_opaque_and_else_refused(mode, rng, tmp_path):
    opaque, clear = tmp_path / "opaque.png", tmp_path / "clear.png"
    colours = Image.fromarray(rng.integers(1, 256, (8, 8, 3)).astype(np.uint8))
    image = colours.convert(mode)
    if mode in ("RGBA", "LA"):
        image.save(opaque)
        image.putalpha(Image.fromarray(rng.integers(0, 255, (8, 8)).astype(np.uint8)))
        image.save(clear)
    else:
        absent, there = {"P": (0, 0), "L": (0, 0), "RGB": ((0, 0, 0), (0, 0, 0))}[mode]
        if mode == "P":
            absent, there = 250, int(np.asarray(image)[0, 0])
            image.putpalette([value for index in range(256) for value in (index, 0, 255 - index)])
        else:
            there = image.getpixel((0, 0))
        image.save(opaque, transparency=absent)
        image.save(clear, transparency=there)
    assert read_header(clear, item(clear)).by_pixels
    assert np.array_equal(read(opaque), np.asarray(image.convert("RGB")))
    with pytest.raises(MeaningError, match=r"clear\.png.*not opaque"):
        read(clear)


@pytest.mark.parametrize("kind", ["gif", "tif", "png", "webp"])
def test_files_of_several_pages_are_refused_and_reduced_copies_are_no_pages(kind, rng, tmp_path):
    pages = [Image.fromarray(rng.integers(0, 256, (8, 8)).astype(np.uint8)) for _ in range(3)]
    path = tmp_path / f"stack.{kind}"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    for read_it in (read_header, lambda path, one: read_mask(Item(image=path, mask=path))):
        with pytest.raises(MeaningError, match="3 pages"):
            read_it(path, item(path))


def test_a_pyramid_is_one_image(rng, tmp_path):
    whole = Image.fromarray(rng.integers(0, 256, (8, 8)).astype(np.uint8))
    smaller = whole.resize((4, 4))
    smaller.encoderinfo = {"tiffinfo": {254: 1}}
    whole.save(tmp_path / "cog.tif", save_all=True, append_images=[smaller])
    with Image.open(tmp_path / "cog.tif") as image:
        assert image.n_frames == 2
    assert np.array_equal(read(tmp_path / "cog.tif")[..., 0], np.asarray(whole))


@pytest.mark.parametrize("below", [True, False], ids=["as a raw file of a camera has it", "as a further page"])
@pytest.mark.parametrize("bands", [3, 4])
def test_a_tiff_that_begins_with_a_reduced_copy_is_refused_by_name(below, bands, rng, tmp_path):
    pixels = rng.integers(0, 256, (24, 32, bands)).astype(np.uint8)
    path = tmp_path / "a.dng"
    with tifffile.TiffWriter(path) as file:
        options = {"photometric": "rgb", "extrasamples": ["unassalpha"][: bands - 3]}
        file.write(pixels[::4, ::4].copy(), subfiletype=1, subifds=int(below), **options)
        file.write(pixels, subfiletype=0, **options)
    if bands == 4 and not below:
        assert read_image(item(path, bands=4)).shape == (4, 24, 32)  # which takes the whole page
        return
    for look in (lambda one: read_header(path, one), read_image):
        with pytest.raises(MeaningError, match=r"begins with a reduced copy .*list.txt:7"):
            look(item(path, **({"bands": bands} if bands > 3 else {})))
    if bands == 3:
        with pytest.raises(MeaningError, match="begins with a reduced copy"):
            read_mask(item(tmp_path / "b.png", path))


@pytest.mark.parametrize(("orientation", "kind"), list(itertools.product(range(9), ["png", "tif", "jpg", "webp"])))
def test_an_image_is_turned_as_viewers_show_it_or_left_as_stored(orientation, kind, rng, tmp_path):
    stored_pixels = rng.integers(0, 256, (8, 16, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x112] = orientation
    path = tmp_path / f"a.{kind}"
    Image.fromarray(stored_pixels).save(path, exif=exif, **({"lossless": True} if kind == "webp" else {}))
    Image.fromarray(stored_pixels).save(tmp_path / f"plain.{kind}", **({"lossless": True} if kind == "webp" else {}))
    with Image.open(tmp_path / f"plain.{kind}") as plain:
        as_stored = np.asarray(plain)
        marked = Image.fromarray(as_stored)
        marked.getexif()[0x112] = orientation
        shown = np.asarray(ImageOps.exif_transpose(marked))
    assert np.array_equal(read(path), shown)
    assert np.array_equal(read(path, exif="ignore"), as_stored)
    for exif_key, meant in (("apply", shown), ("ignore", as_stored)):
        header = read_header(path, item(path, exif=exif_key))
        assert header.size == meant.shape[:2]
        assert header.turned == (orientation if exif_key == "apply" and orientation > 1 else 1)


def save_with_packet(path, pixels, orientation):
    """An image whose XMP packet alone says how it is turned."""
    packet = f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", packet)
    how = {".png": {"pnginfo": text}, ".tif": {"tiffinfo": {700: packet.encode()}}}
    Image.fromarray(pixels).save(path, **how.get(path.suffix, {"xmp": packet.encode(), "quality": 100}))


@pytest.mark.parametrize("kind", ["png", "tif", "jpg"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_an_orientation_in_an_xmp_packet_counts_as_one_in_exif(orientation, kind, rng, tmp_path):
    path = tmp_path / f"a.{kind}"
    save_with_packet(path, rng.integers(0, 256, (8, 16, 3)).astype(np.uint8), orientation)
    with Image.open(path) as image:
        shown = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(read(path), shown)
    assert read_header(path, item(path)).size == shown.shape[:2]
    assert read_header(path, item(path, exif="ignore")).size == (8, 16)
    assert read(path, exif="ignore").shape == (8, 16, 3)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_mask_is_turned_by_its_own_orientation(orientation, rng, tmp_path):
    values = rng.integers(0, 3, (6, 8)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(values).save(tmp_path / "m.png", exif=exif)
    with Image.open(tmp_path / "m.png") as mask:
        shown = np.asarray(ImageOps.exif_transpose(mask))
    found, stored_ = (
        read_mask(item(tmp_path / "m.png", tmp_path / "m.png", exif=exif)).numpy() for exif in ("apply", "ignore")
    )
    assert np.array_equal(found, shown)
    assert np.array_equal(stored_, values)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", ["png", "tif"])
def test_a_mask_of_few_bits_holds_the_indices_that_are_stored(bits, kind, rng, tmp_path):
    values = rng.integers(0, 2 ** min(bits, 4), (8, 8)).astype(np.uint8)
    path = tmp_path / f"m.{kind}"
    if kind == "tif":
        rows = [np.packbits(((row[:, None] >> np.arange(bits)[::-1]) & 1).astype(np.uint8).ravel()) for row in values]
        tiff(path, np.stack(rows)[..., None], photometric=1, bits=bits)
        raw = bytearray(path.read_bytes())
        at = raw.index(struct.pack("<HHI", 256, 4, 1))
        raw[at + 8 : at + 12] = struct.pack("<I", 8)
        path.write_bytes(raw)
    elif bits == 1:
        Image.fromarray(values.astype(bool)).save(path)
    else:
        path.write_bytes(grey_png(values, bits))
    assert np.array_equal(read_mask(item(path, path)).numpy(), values)


def test_a_large_tiff_that_begins_with_a_reduced_copy_is_refused_by_name_too(rng, tmp_path):
    pixels, path = rng.integers(0, 256, (24, 32, 3)).astype(np.uint8), tmp_path / "a.dng"
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(pixels[::4, ::4].copy(), subfiletype=1, subifds=1, photometric="rgb")
        file.write(pixels, subfiletype=0, photometric="rgb")
    with pytest.raises(MeaningError, match="begins with a reduced copy"):
        read_image(item(path))
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(pixels, photometric="rgb")
    assert read_image(item(path)).shape == (3, 24, 32)


@pytest.mark.parametrize("highest", [1, 2, 7, 100, 254, 255])
@pytest.mark.parametrize("plain", [False, True])
def test_a_mask_in_a_pgm_holds_the_stored_indices_whatever_its_header_calls_white(highest, plain, rng, tmp_path):
    values = rng.integers(0, highest + 1, (8, 8)).astype(np.uint8)
    path = tmp_path / "m.pgm"
    text = " ".join(map(str, values.ravel())).encode()
    path.write_bytes((b"P2" if plain else b"P5") + b"\n8 8\n%d\n" % highest + (text if plain else values.tobytes()))
    assert np.array_equal(read_mask(item(path, path)).numpy(), values)


def grey_png(values, bits):
    """A grey PNG of so many bits, which Pillow reads and does not write."""
    import zlib

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = [np.packbits(((row[:, None] >> np.arange(bits)[::-1]) & 1).astype(np.uint8).ravel()) for row in values]
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, 0, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_a_mask_in_which_white_is_zero_is_refused_by_name(tmp_path):
    path = tiff(tmp_path / "m.tif", np.ones((4, 4, 1), np.uint8), photometric=0)
    with pytest.raises(MeaningError, match=r"m\.tif: white is zero"):
        read_mask(item(path, path))


def test_images_larger_than_pillow_opens_and_broken_links_are_their_files_errors(tmp_path, monkeypatch):
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "folder.png").mkdir()
    Image.new("L", (64, 64)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for name, reason in (
        ("link", "broken link to .*gone"),
        ("large", "too large"),
        ("folder", "directory"),
        ("x", "no such"),
    ):
        path = tmp_path / f"{name}.png"
        for read_it in (lambda path: read(path), lambda path: read_header(path, item(path))):
            with pytest.raises(CorruptError, match=rf"{name}\.png: .*{reason}.*list\.txt:7.*on_corrupt: skip"):
                read_it(path)
        with pytest.raises(CorruptError, match=rf"{name}\.png"):
            read_mask(item(tmp_path / "i.png", path))


def test_what_the_machine_lacks_is_not_forgiven(tmp_path, monkeypatch):
    def fail(*_args, **_named):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(DataError, match=r"a\.png: cannot be read now, Too many open files") as caught:
        read(tmp_path / "a.png")
    assert not isinstance(caught.value, CorruptError)
