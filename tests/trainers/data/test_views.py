"""Views against Pillow and torchvision, boxes against the plain rejection loop."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torchvision.transforms.v2 import functional as ops

from trainers.data.strong import Strong, shift_hue, strong_views, table
from trainers.data.views import MEAN, STD, Geometry, draw_box, neighbour, normalise, random_box
from trainers.data.views_config import ViewsConfig

seeds = st.integers(0, 2**32 - 1)
geometries = st.builds(
    Geometry,
    height=st.integers(5, 60),
    width=st.integers(5, 60),
    top=st.just(0),
    left=st.just(0),
    flip=st.booleans(),
    crop=st.sampled_from([16, 24, 33]),
)


def placed(geometry, seed):
    """The same geometry with a corner drawn where one fits."""
    rng = np.random.default_rng(seed)
    top, left = (
        int(rng.integers(max(s, geometry.crop) - geometry.crop + 1)) for s in (geometry.height, geometry.width)
    )
    return Geometry(**vars(geometry) | {"top": top, "left": left})


def pillow_crop(image, geometry, resample, fill):
    resized = image.resize((geometry.width, geometry.height), resample)
    missing = (max(0, geometry.crop - geometry.width), max(0, geometry.crop - geometry.height))
    padded = ImageOps.expand(resized, (0, 0, *missing), fill=fill)
    box = (geometry.left, geometry.top, geometry.left + geometry.crop, geometry.top + geometry.crop)
    cut = padded.crop(box)
    return np.asarray(ImageOps.mirror(cut) if geometry.flip else cut)


@given(geometry=geometries, seed=seeds)
def test_a_crop_is_what_pillow_resizes_pads_cuts_and_mirrors(geometry, seed):
    geometry = placed(geometry, seed)
    image = np.random.default_rng(seed).integers(0, 256, (21, 30, 3), dtype=np.uint8)
    channels = [Image.fromarray(channel.astype(np.float32)) for channel in image.transpose(2, 0, 1)]
    exact = [pillow_crop(channel, geometry, Image.Resampling.BILINEAR, 0) for channel in channels]
    crop = geometry.image(torch.from_numpy(image).permute(2, 0, 1).contiguous())
    assert crop.dtype == torch.float32
    # Grey levels are rounded after each of two passes, by half of one at most.
    assert np.abs(crop.numpy() * 255 - np.stack(exact)).max() <= 1.001


@given(geometry=geometries, seed=seeds)
def test_a_mask_is_what_pillow_resizes_by_nearest_with_255_as_padding(geometry, seed):
    geometry = placed(geometry, seed)
    mask = np.random.default_rng(seed).integers(0, 21, (21, 30), dtype=np.uint8)
    expected = pillow_crop(Image.fromarray(mask), geometry, Image.Resampling.NEAREST, 255)
    crop = geometry.mask(torch.from_numpy(mask))
    assert crop.dtype == torch.int64
    # Where a centre falls on the border of two pixels the two libraries may round to different sides.
    on_a_border = {
        axis: [(2 * i + 1) * side % (2 * resized) == 0 for i in range(resized)]
        for axis, side, resized in (("y", 21, geometry.height), ("x", 30, geometry.width))
    }
    if not any(on_a_border["x"]) and not any(on_a_border["y"]):
        assert (crop.numpy() == expected).all()
    assert ((crop.numpy() == 255) == (expected == 255)).all()


@given(geometry=geometries, seed=seeds)
def test_ignore_marks_padding_and_nothing_else(geometry, seed):
    geometry = placed(geometry, seed)
    white = torch.full((3, 21, 30), 255, dtype=torch.uint8)
    padded = geometry.image(white)[0] == 0
    assert torch.equal(geometry.ignore(), padded.long() * 255)


@pytest.mark.parametrize("size", [(4, 10), (10, 4)])
def test_the_long_side_takes_every_length_from_half_to_double_equally_often(size):
    rng = np.random.default_rng(0)
    draws = [Geometry.draw(rng, size, crop=16, views=ViewsConfig()) for _ in range(4000)]
    longest = [max(d.height, d.width) for d in draws]
    counts = np.bincount(longest)[5:]
    assert (min(longest), max(longest)) == (5, 20)
    assert (np.abs(counts - 250) < 5 * math.sqrt(250)).all()
    assert all(abs(min(d.height, d.width) - 0.4 * max(d.height, d.width)) <= 0.5 for d in draws)


@given(seed=seeds, size=st.tuples(st.integers(3, 80), st.integers(3, 80)), crop=st.integers(16, 64))
def test_a_drawn_crop_lies_inside_the_resized_and_padded_image(seed, size, crop):
    drawn = Geometry.draw(np.random.default_rng(seed), size, crop=crop, views=ViewsConfig())
    assert 0 <= drawn.top <= max(drawn.height - crop, 0)
    assert 0 <= drawn.left <= max(drawn.width - crop, 0)


@given(seed=seeds, shift=st.floats(-0.5, 0.5), levels=st.sampled_from([2, 4, 256]))
def test_the_hue_shift_is_torchvisions(seed, shift, levels):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(levels, (3, 9, 7), generator=generator) / (levels - 1)
    turns = torch.full((1, 1, 1, 1), shift)
    assert torch.allclose(shift_hue(image[None], turns)[0], ops.adjust_hue(image, shift), atol=2e-5)


def test_a_strong_view_changes_as_often_as_the_config_says():
    rng = np.random.default_rng(0)
    drawn = [Strong.draw(rng, views=ViewsConfig(jitter_p=0.8, gray_p=0.2, blur_p=0.5)) for _ in range(4000)]
    for share, values in (
        (0.8, [d.brightness is not None for d in drawn]),
        (0.8, [d.hue is not None for d in drawn]),
        (0.2, [d.gray for d in drawn]),
        (0.5, [d.blur_sigma is not None for d in drawn]),
    ):
        assert abs(np.mean(values) - share) < 5 * math.sqrt(share * (1 - share) / 4000)


def test_strengths_fill_the_ranges_of_the_config():
    rng = np.random.default_rng(0)
    views = ViewsConfig(jitter_p=1, blur_p=1)
    drawn = [Strong.draw(rng, views=views) for _ in range(2000)]
    for low, high, values in (
        (0.5, 1.5, [d.brightness for d in drawn]),
        (0.5, 1.5, [d.contrast for d in drawn]),
        (0.5, 1.5, [d.saturation for d in drawn]),
        (-0.25, 0.25, [d.hue for d in drawn]),
        (0.1, 2.0, [d.blur_sigma for d in drawn]),
    ):
        assert low <= min(values) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < max(values) <= high


def test_one_probability_does_not_move_the_other_draws():
    base, other = (
        Strong.draw(np.random.default_rng(7), views=ViewsConfig(jitter_p=1, blur_p=1, gray_p=p)) for p in (0, 1)
    )
    assert (base.brightness, base.hue, base.blur_sigma) == (other.brightness, other.hue, other.blur_sigma)
    assert (base.gray, other.gray) == (False, True)


@given(seed=seeds)
def test_a_strong_view_stays_a_picture(seed):
    rng = np.random.default_rng(seed)
    image = torch.from_numpy(rng.random((3, 18, 16), dtype=np.float32))
    changed = Strong.draw(rng, views=ViewsConfig(jitter_p=1, gray_p=0.5, blur_p=1, blur_sigma_max=9))(image)
    assert changed.shape == image.shape
    assert -1e-5 <= changed.min() <= changed.max() <= 1 + 1e-5


def test_normalise_is_imagenets():
    image = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0))
    expected = (image.double().permute(1, 2, 0) - torch.tensor(MEAN).double()) / torch.tensor(STD).double()
    assert torch.allclose(normalise(image).permute(1, 2, 0).double(), expected, atol=1e-6)


boxed = st.builds(
    ViewsConfig,
    cutmix_p=st.just(1.0),
    cutmix_area_min=st.floats(0.02, 0.4),
    cutmix_area_max=st.floats(0.4, 1.0),
    cutmix_ratio_min=st.floats(0.2, 1.0),
)


@given(seed=seeds, crop=st.integers(16, 80), views=boxed)
@settings(deadline=None)
def test_a_box_is_one_rectangle_of_the_wanted_area_and_ratio(seed, crop, views):
    box = draw_box(np.random.default_rng(seed), crop, views=views)
    rows, columns = box.any(1).nonzero()[:, 0], box.any(0).nonzero()[:, 0]
    height, width = len(rows), len(columns)
    assert box.sum() == height * width
    assert (int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)) == (height, width)
    # Both sides are rounded down, by less than one pixel each.
    assert views.cutmix_area_min * crop**2 < (height + 1) * (width + 1)
    assert height * width <= views.cutmix_area_max * crop**2 + 1e-6
    assert (height + 1) / width > views.cutmix_ratio_min
    assert height / (width + 1) < 1 / views.cutmix_ratio_min


def test_boxes_come_as_often_as_the_config_says():
    rng = np.random.default_rng(0)
    drawn = [bool(draw_box(rng, 16, views=ViewsConfig(cutmix_p=0.3)).any()) for _ in range(2000)]
    assert abs(np.mean(drawn) - 0.3) < 5 * math.sqrt(0.3 * 0.7 / 2000)


def test_boxes_of_one_mask_share_its_area_and_a_pixel_under_two_is_left_as_it_was():
    views = ViewsConfig(cutmix_p=1, cutmix_area_min=0.25, cutmix_area_max=0.5, cutmix_ratio_min=0.5, cutmix_boxes=3)
    for seed in range(50):
        mask = draw_box(np.random.default_rng(seed), 48, views=views)
        rng = np.random.default_rng(seed)
        rng.random()
        counted = np.zeros((48, 48), dtype=int)
        for _ in range(3):
            box = random_box(rng, 48, area=(0.25 / 3, 0.5 / 3), ratio_min=0.5).numpy()
            assert (box.any(0).sum() + 1) * (box.any(1).sum() + 1) > 0.25 / 3 * 48**2
            assert box.sum() <= 0.5 / 3 * 48**2
            counted += box
        assert np.array_equal(mask.numpy(), counted % 2 == 1)


def rejected_box(rng, crop):
    """Height, width, top and left by redrawing ratio and corner until the box fits (UniMatch's rule)."""
    area = rng.uniform(0.02, 0.4) * crop**2
    while True:
        ratio = rng.uniform(0.3, 1 / 0.3)
        width, height = int(math.sqrt(area / ratio)), int(math.sqrt(area * ratio))
        left, top = rng.integers(crop), rng.integers(crop)
        if left + width <= crop and top + height <= crop:
            return height, width, top, left


def test_boxes_are_distributed_as_those_of_the_rejection_loop():
    crop, count = 48, 4000
    ours = []
    rng = np.random.default_rng(1)
    for _ in range(count):
        box = draw_box(rng, crop, views=ViewsConfig(cutmix_p=1))
        rows, columns = box.any(1).nonzero()[:, 0], box.any(0).nonzero()[:, 0]
        ours.append((len(rows), len(columns), int(rows[0]), int(columns[0])))
    theirs = [rejected_box(rng, crop) for _ in range(count)]
    for a, b in zip(np.sort(np.array(ours).T), np.sort(np.array(theirs).T), strict=True):
        grid = np.arange(crop + 1)
        gap = np.abs(np.searchsorted(a, grid, "right") - np.searchsorted(b, grid, "right")).max() / count
        assert gap < 1.95 * math.sqrt(2 / count)  # two-sample Kolmogorov-Smirnov at 0.1 %


@pytest.mark.parametrize(("size", "expected"), [(2, [1, 0]), (4, [1, 0, 3, 2]), (5, [1, 0, 3, 2, 4]), (1, [0])])
def test_neighbours_are_pairs_and_the_last_of_an_odd_batch_stays_alone(size, expected):
    batch = torch.arange(size)[:, None] * torch.ones(1, 3)
    assert neighbour(batch)[:, 0].tolist() == expected


def as_torchvision(image, strong):
    """The same changes one after the other, by torchvision's operations."""
    if strong.brightness is not None:
        image = ops.adjust_brightness(image, strong.brightness)
    if strong.contrast is not None:
        image = ops.adjust_contrast(image, strong.contrast)
    if strong.saturation is not None:
        image = ops.adjust_saturation(image, strong.saturation)
    if strong.hue is not None:
        image = ops.adjust_hue(image, strong.hue)
    if strong.gray:
        image = ops.rgb_to_grayscale(image, num_output_channels=3)
    if strong.blur_sigma is not None:
        radius = min(math.ceil(3 * strong.blur_sigma), min(image.shape[-2:]) - 1)
        image = ops.gaussian_blur(image, [2 * radius + 1] * 2, [strong.blur_sigma] * 2)
    return image


@given(seed=seeds, size=st.tuples(st.integers(7, 40), st.integers(7, 40)), count=st.integers(1, 5))
@settings(deadline=None)
def test_strong_views_of_a_batch_are_what_torchvision_makes_of_each_image(seed, size, count):
    rng = np.random.default_rng(seed)
    weak = torch.from_numpy(rng.random((count, 3, *size), dtype=np.float32))
    drawn = [Strong.draw(rng, views=ViewsConfig()) for _ in range(count)]
    before = weak.clone()
    made = strong_views(weak, table(drawn), largest_sigma=2.0)
    assert torch.equal(weak, before)
    for image, strong, one in zip(weak, drawn, made, strict=True):
        torch.testing.assert_close(one, as_torchvision(image, strong), atol=2e-4, rtol=0)


def test_an_image_is_changed_alike_alone_and_in_a_batch():
    rng = np.random.default_rng(3)
    weak = torch.from_numpy(rng.random((7, 3, 65, 65), dtype=np.float32))
    drawn = table([Strong.draw(rng, views=ViewsConfig()) for _ in range(7)])
    together = strong_views(weak, drawn, largest_sigma=2.0)
    for index in range(7):
        alone = strong_views(weak[index : index + 1], drawn[index : index + 1], largest_sigma=2.0)
        assert torch.equal(together[index : index + 1], alone)


@given(geometry=geometries, seed=seeds)
def test_a_centred_crop_has_its_padding_on_both_sides(geometry, seed):
    geometry = placed(geometry, seed)
    mask = geometry.centred(geometry.mask(torch.zeros(21, 30, dtype=torch.uint8)))
    for axis, side in ((0, geometry.height), (1, geometry.width)):
        shown = (mask == 0).any(dim=1 - axis).nonzero().flatten()
        assert len(shown) == min(side, geometry.crop)
        before, after = int(shown[0]), geometry.crop - 1 - int(shown[-1])
        assert abs(before - after) <= 1
