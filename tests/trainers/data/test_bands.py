"""Images of other than three bands: what is read of them, what is drawn of them, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from trainers.common.errors import ConfigError, DataError
from trainers.common.yaml_file import validate
from trainers.config import TrainConfig
from trainers.data.layout import Decoding, Item
from trainers.data.opening import CorruptError, MeaningError
from trainers.data.pixels import read_header
from trainers.data.read import Reader, read_image
from trainers.data.strong import Strong
from trainers.data.survey.folder import survey
from trainers.data.views import Geometry, unit
from trainers.dead_keys import dead_keys

tifffile = pytest.importorskip("tifffile")
rng = np.random.default_rng(0)
BYTES = rng.integers(0, 256, (12, 16, 4)).astype(np.uint8)
DEEP = rng.integers(0, 65536, (12, 16, 10)).astype(np.uint16)


def item(path, bands, **decoding):
    return Item(image=path, root=path.parent, where="list.txt:7", decoding=Decoding(bands=bands, **decoding))


def read(path, bands, **decoding):
    """(H, W, bands)."""
    one = item(path, bands, **decoding)
    image = read_image(one).numpy().transpose(1, 2, 0)
    assert read_header(path, one).size == image.shape[:2]
    return image


def first(pixels):
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_a_tiff_is_read_whatever_the_order_of_its_bands(compression, tmp_path):
    path = tmp_path / "a.tif"
    for pixels, layout in (
        (DEEP, {"planarconfig": "contig", "tile": (16, 16)}),
        (first(DEEP), {"planarconfig": "separate"}),
        (first(DEEP), {}),  # a page for each band
    ):
        tifffile.imwrite(path, pixels, photometric="minisblack", compression=compression, **layout)
        assert np.array_equal(read(path, 10), DEEP)


def test_arrays_have_their_bands_last_or_first(tmp_path):
    for pixels in (DEEP, first(DEEP)):
        np.save(tmp_path / "a.npy", pixels)
        assert np.array_equal(read(tmp_path / "a.npy", 10), DEEP)


def test_eight_bits_are_the_same_share_of_their_range_as_in_rgb(tmp_path):
    np.save(tmp_path / "a.npy", BYTES)
    Image.fromarray(BYTES).save(tmp_path / "a.png")  # its transparency is a band here
    for name in ("a.npy", "a.png"):
        image = read_image(item(tmp_path / name, 4))
        assert np.array_equal(unit(image).numpy(), unit(torch.from_numpy(first(BYTES))).numpy())


@pytest.mark.parametrize("kind", [np.int16, np.uint32, np.float32, np.uint16])
def test_a_value_range_spreads_deep_bands_over_all_of_16_bits(kind, tmp_path):
    pixels = rng.integers(-20 if kind in (np.int16, np.float32) else 0, 5000, (6, 8, 5)).astype(kind)
    np.save(tmp_path / "a.npy", pixels)
    expected = np.clip((pixels.astype(float) - 100) / (4000 - 100), 0, 1)
    found = unit(read_image(item(tmp_path / "a.npy", 5, value_range=(100.0, 4000.0)))).numpy()
    assert np.abs(found.transpose(1, 2, 0) - expected).max() < 1e-5


def test_a_tiff_is_turned_by_its_orientation_unless_that_is_ignored(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, DEEP, photometric="minisblack", planarconfig="contig", extratags=[(274, 3, 1, 6, True)])
    assert np.array_equal(read(path, 10), np.rot90(DEEP, -1))
    assert np.array_equal(read(path, 10, exif="ignore"), DEEP)


def test_another_number_of_bands_is_refused_with_what_to_set(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", DEEP, photometric="minisblack", planarconfig="contig")
    Image.fromarray(BYTES[..., :3].copy()).save(tmp_path / "rgb.png")
    wanted = r"set data\.bands: 10, model\.in_channels: 10, and model\.mean and model\.std with 10 values each"
    for bands in (3, 4):
        with pytest.raises(MeaningError, match=r"a\.tif: .*list\.txt:7.*" + wanted):
            read_image(item(tmp_path / "a.tif", bands))
    with pytest.raises(MeaningError, match=r"rgb\.png: 3 bands, and data\.bands is 10 .*leave data\.bands out"):
        read_image(item(tmp_path / "rgb.png", 10))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((4, 5, 4), np.nan, np.float32), "NaN or infinite"),
        (np.full((4, 5, 4), 2.0), r"values of 2 \.\. 2, read without data.value_range are 0 \.\. 1"),
        (np.zeros((4, 5, 4), np.int16), "set data.value_range"),
        (np.zeros((4, 5), np.uint8), r"shape \(4, 5\)"),
        (np.zeros((4, 5, 4), complex), "no pixels"),
    ],
)
def test_values_without_a_known_meaning_are_refused(pixels, message, tmp_path):
    np.save(tmp_path / "a.npy", pixels)
    with pytest.raises(MeaningError, match=message):
        read_image(item(tmp_path / "a.npy", 4))


def test_a_file_that_is_cut_off_is_corrupt_and_its_header_says_so(tmp_path):
    path, one = tmp_path / "a.tif", item(tmp_path / "a.tif", 10)
    tifffile.imwrite(path, DEEP, photometric="minisblack", planarconfig="contig", compression="zlib")
    path.write_bytes(path.read_bytes()[:-40])
    assert read_header(path, one).by_pixels
    with pytest.raises(CorruptError, match=r"a\.tif: cannot be decoded"):
        read_image(one)
    np.save(tmp_path / "a.npy", DEEP)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-40])
    for name in ("a.npy", "none.tif"):
        with pytest.raises(CorruptError):
            read_image(item(tmp_path / name, 10))


def test_the_store_of_decoded_images_gives_the_bands_back(tmp_path):
    pixels = rng.integers(0, 65536, (64, 80, 7)).astype(np.uint16)
    np.save(tmp_path / "a.npy", pixels)
    one = item(tmp_path / "a.npy", 7)
    for _ in range(2):
        image, _ = Reader(2, cache_bytes=0, store_bytes=2**22)(one, with_mask=False)
        assert np.array_equal(image.numpy(), first(pixels))


def test_a_crop_of_bands_is_that_of_each_band_alone():
    image = torch.from_numpy(first(DEEP))
    geometry = Geometry(height=20, width=26, top=3, left=5, flip=True, crop=16)
    crop = geometry.pixels(image)
    for band, whole in zip(crop.numpy(), image.numpy(), strict=True):
        resized = Image.fromarray(whole.astype(np.float32)).resize((26, 20), Image.Resampling.BILINEAR)
        expected = np.asarray(resized)[3:19, 5:21][:, ::-1]
        assert np.abs(band - expected).max() <= 1


def test_a_strong_view_of_bands_has_brightness_contrast_and_blur_and_no_colours():
    image = torch.rand(5, 24, 24, generator=torch.Generator().manual_seed(0))
    drawn = {"brightness": 1.2, "contrast": 0.7, "saturation": 0.3, "hue": 0.2, "gray": True, "blur_sigma": None}
    bright = (1.2 * image).clamp(0, 1)
    expected = (0.7 * bright + 0.3 * bright.mean()).clamp(0, 1)
    torch.testing.assert_close(Strong(**drawn)(image), expected)
    blurred = Strong(**{**dict.fromkeys(drawn), "gray": False, "blur_sigma": 1.5})(image)
    alone = [
        Strong(**{**dict.fromkeys(drawn), "gray": False, "blur_sigma": 1.5})(band.expand(3, -1, -1))[0]
        for band in image
    ]
    torch.testing.assert_close(blurred, torch.stack(alone))


def config(**sections):
    data = {"name": "folder", "root": "/data", "num_classes": 2, "crop": 32, "batch_size": 2}
    base = {"data": data | sections.pop("data", {}), "method": {"name": "unimatch"}, **sections}
    return validate(TrainConfig, base, source="a.yaml")


FOUR = {"in_channels": 4, "mean": [0.1] * 4, "std": [0.2] * 4}


def test_keys_of_colours_have_no_effect_on_other_bands():
    dead = dead_keys(config(data={"bands": 4}, model=FOUR))
    assert {"views.saturation", "views.hue", "views.gray_p"} <= set(dead)
    assert not {"views.brightness", "views.contrast", "views.blur_p"} & set(dead)
    for model in ({}, {"in_channels": 1}):
        assert not {"views.saturation", "views.hue", "views.gray_p"} & set(dead_keys(config(model=model)))


@pytest.mark.parametrize(
    ("data", "model", "message"),
    [
        ({"bands": 4}, {}, r"model\.in_channels = 3: data\.bands = 4; set model\.in_channels: 4 and give model\.mean"),
        (
            {},
            FOUR,
            r"model\.in_channels = 4: images are read as RGB.*where the images have 4 bands, set data\.bands: 4",
        ),
        ({"bands": 4}, {"in_channels": 1}, r"model\.in_channels = 1: data\.bands = 4"),
        ({"bands": 4}, {"in_channels": 4}, r"give mean and std with 4 values each"),
        ({"bands": 4, "shown_bands": [0, 1, 4]}, FOUR, r"shown_bands = \[0, 1, 4\]: .*three of 0 \.\. 3"),
    ],
)
def test_data_and_a_network_of_different_bands_are_refused_with_the_remedy(data, model, message):
    with pytest.raises(ConfigError, match=message):
        config(data=data, model=model)


def test_the_survey_sees_the_bands_and_measures_each(tmp_path):
    for name in ("i", "m"):
        (tmp_path / name).mkdir()
    whole = []
    for number in range(4):
        pixels = rng.integers(0, 3000, (20, 24, 5)).astype(np.uint16) + np.arange(5, dtype=np.uint16) * 100
        whole.append(pixels)
        if number:
            tifffile.imwrite(tmp_path / f"i/{number}.tif", pixels, photometric="minisblack", planarconfig="contig")
        else:
            np.save(tmp_path / "i/0.npy", pixels)
        Image.fromarray((pixels[..., 0] > 1500).astype(np.uint8)).save(tmp_path / f"m/{number}.png")
    Image.fromarray(BYTES[..., :3].copy()).save(tmp_path / "i/other.png")
    seen = survey(tmp_path / "i", tmp_path / "m")
    assert seen.keys == {"bands": 5, "value_range": [0.0, 4095.0]}
    assert len(seen.pairs) == 4
    assert any("other.png: 3 bands" in line for line in seen.said)
    values = np.stack(whole).reshape(-1, 5) / 4095
    assert seen.normalised is not None
    np.testing.assert_allclose(seen.normalised, [values.mean(axis=0), values.std(axis=0)], atol=1e-4)
    with pytest.raises(DataError, match=r"data\.bands"):
        read_image(Item(image=seen.pairs[1].image))
