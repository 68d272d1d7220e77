"""Makes the `digits` scenes: scikit-learn's scanned digits as objects on textures cut from its sample photographs.

Everything that shapes the scenes is a field of `Scenes`; a hash of those fields is part of the folder's name, so a
change of any of them makes a new folder and never meets an old one.
"""

import colorsys
import contextlib
import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from trainers.common.errors import DataError
from trainers.interface.labels import IGNORE

FORMAT = 4
"""Raised when the code below changes the bytes it makes."""

SETS = "ImageSets/Segmentation"
DRAWN_FROM = 240
"""The labelled scenes are drawn from so many first ones: more unlabelled scenes leave the labelled list as it is."""
LISTS = {name: f"{SETS}/{name}.txt" for name in ("labelled", "unlabelled", "train", "val")}

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Sizes and difficulty. Lengths are in pixels, colours in 0 .. 255."""

    labelled: int = 12
    unlabelled: int = 228
    val: int = 100
    size: int = 96
    """Side of the square images."""
    objects: tuple[int, int] = (5, 8)
    """Digits per image, fewest and most."""
    object_side: tuple[int, int] = (40, 64)
    """Side of a digit's 8 x 8 scan after upsampling."""
    stretch: float = 1.25
    """Width over height is drawn from [1 / s, s]."""
    rotation: float = 20.0
    """Largest rotation in degrees, either way."""
    stroke: float = 0.35
    """Ink above this share of full ink is the object."""
    hue_spread: float = 0.01
    """Standard deviation of an object's hue round its digit's own, in turns of the colour circle. Neighbours lie 0.1
    apart, so that a small network learns within a minute; from shape alone it is still near chance after 1200 steps on
    all labels."""
    saturation: tuple[float, float] = (0.7, 1.0)
    value: tuple[float, float] = (0.6, 1.0)
    """An object's saturation and value; of grey or dark objects the hue cannot be seen."""
    contrast: float = 90.0
    """Least distance of an object's mean colour from the background's, over the three channels."""
    background_colour: tuple[float, float] = (0.3, 1.0)
    """Saturation that is left of the photographs' own: how far backgrounds have the digits' hues."""
    texture: float = 0.3
    """Share of background texture that shows through an object, at most."""
    visible: float = 0.6
    """Least share of every object that stays uncovered."""
    noise: tuple[float, float] = (2.0, 8.0)
    """Standard deviation of the sensor noise."""
    exposure: float = 0.4
    """Brightness, contrast and saturation of a whole image are drawn from [1 - e, 1 + e]: what a few labelled images do
    not show, and many unlabelled ones do."""
    defocus: float = 1.5
    """Largest sigma of the blur that half of the images have."""
    jpeg_quality: int = 90

    @property
    def fingerprint(self) -> str:
        """Eight hex digits over the format and every field."""
        return hashlib.sha256(json.dumps([FORMAT, asdict(self)], sort_keys=True).encode()).hexdigest()[:8]


@dataclass(frozen=True, kw_only=True)
class _Sources:
    """Scans (N, 8, 8) in 0 .. 1 with their classes, and photographs (H, W, 3)."""

    scans: Floats
    digits: NDArray[np.int64]
    photos: list[Pixels]


def cached_scenes(cache: Path, *, seed: int, scenes: Scenes | None = None) -> Path:
    """The folder of the scenes of `seed` below `cache`, made first where it is missing.

    Safe when several processes ask at once: each builds beside it, the first rename wins. Raises DataError where the
    cache cannot be written.
    """
    scenes = scenes or Scenes()
    folder = cache / f"digits-{scenes.fingerprint}-{seed}"
    if folder.is_dir():
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=cache))
        try:
            make_scenes(building, seed=seed, scenes=scenes)
            building.chmod(0o755)
            with contextlib.suppress(OSError):
                building.rename(folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"the digits data set cannot be made in {cache}: {error.strerror or error}; name a writable folder with "
            "data.root or XDG_CACHE_HOME"
        ) from error
    if not folder.is_dir():
        raise DataError(f"the digits data set could not be moved to {folder}; remove what lies there, or set data.root")
    return folder


def make_scenes(root: Path, *, seed: int, scenes: Scenes) -> None:
    """Write JPEGImages/, SegmentationClass/ and split lists into `root`. Same seed, same bytes.

    Scans seen in the validation images are never seen in the training images.
    """
    from trainers.data.splits import stratified_order

    train, val = _sources(seed)
    for folder in ("JPEGImages", "SegmentationClass", SETS):
        (root / folder).mkdir(parents=True, exist_ok=True)
    lines: dict[str, list[str]] = {}
    present: list[frozenset[int]] = []
    for part, count, sources in (
        ("train", scenes.labelled + scenes.unlabelled, train),
        ("val", scenes.val, val),
    ):
        lines[part] = []
        for index in range(count):
            rng = np.random.default_rng([seed, part == "val", index])
            image, mask = _scene(sources, scenes, rng)
            name = f"{part}_{index:04d}"
            image.save(root / "JPEGImages" / f"{name}.jpg", quality=scenes.jpeg_quality)
            mask_image = Image.fromarray(mask)
            mask_image.putpalette(_palette())
            mask_image.save(root / "SegmentationClass" / f"{name}.png", optimize=True)
            lines[part].append(f"JPEGImages/{name}.jpg SegmentationClass/{name}.png")
            if part == "train":
                present.append(frozenset(np.unique(mask).tolist()) - {IGNORE})
    labelled = stratified_order(present[:DRAWN_FROM], seed=seed)[: scenes.labelled]
    lines["labelled"] = [lines["train"][i] for i in labelled]
    lines["unlabelled"] = [line for i, line in enumerate(lines["train"]) if i not in set(labelled)]
    for part, path in LISTS.items():
        (root / path).write_text("".join(f"{line}\n" for line in lines[part]))


def _sources(seed: int) -> tuple[_Sources, _Sources]:
    from sklearn.datasets import load_digits, load_sample_images

    bunch = load_digits()
    photos = [np.asarray(photo, dtype=np.uint8) for photo in load_sample_images().images]
    in_val = np.zeros(len(bunch.target), dtype=bool)
    rng = np.random.default_rng([seed, 2])
    for digit in range(10):
        of_digit = np.flatnonzero(bunch.target == digit)
        in_val[rng.permutation(of_digit)[: len(of_digit) // 3]] = True
    scans = (bunch.images / 16).astype(np.float32)
    train, val = (
        _Sources(scans=scans[part], digits=bunch.target[part].astype(np.int64), photos=photos)
        for part in (~in_val, in_val)
    )
    return train, val


def _scene(sources: _Sources, scenes: Scenes, rng: np.random.Generator) -> tuple[Image.Image, Pixels]:
    canvas = _background(sources, scenes, rng)
    back_colour = canvas.mean(axis=(0, 1))
    mask = np.zeros((scenes.size, scenes.size), dtype=np.uint8)
    owner = np.full(mask.shape, -1)
    areas: list[int] = []
    wanted = int(rng.integers(scenes.objects[0], scenes.objects[1] + 1))
    for _ in range(wanted * 10):
        if len(areas) == wanted:
            break
        which = int(rng.integers(len(sources.digits)))
        ink = _place(_shape(sources.scans[which], scenes, rng), scenes.size, rng)
        alpha = np.clip((ink - scenes.stroke) / 0.15 + 0.5, 0, 1)
        body = ink > scenes.stroke
        covered = owner.copy()
        covered[body] = len(areas)
        left = [np.count_nonzero(covered == i) / area for i, area in enumerate(areas)]
        if not body.any() or min(left, default=1.0) < scenes.visible:
            continue
        border = np.asarray(Image.fromarray(body.astype(np.uint8)).filter(ImageFilter.MaxFilter(3))) > body
        canvas = _paint(
            canvas, alpha, _colour(int(sources.digits[which]), back_colour, scenes, rng), sources, scenes, rng
        )
        owner = covered
        areas.append(int(np.count_nonzero(body)))
        mask[border] = IGNORE
        mask[body] = sources.digits[which] + 1
    noisy = canvas + rng.normal(0, rng.uniform(*scenes.noise), canvas.shape)
    image = Image.fromarray(np.clip(noisy, 0, 255).round().astype(np.uint8))
    return _photographed(image, scenes, rng), mask


def _photographed(image: Image.Image, scenes: Scenes, rng: np.random.Generator) -> Image.Image:
    """The image as one camera among many takes it."""
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = change(image).enhance(float(rng.uniform(1 - scenes.exposure, 1 + scenes.exposure)))
    sigma = float(rng.uniform(0.1, scenes.defocus))
    return image.filter(ImageFilter.GaussianBlur(sigma)) if rng.random() < 0.5 else image


def _background(sources: _Sources, scenes: Scenes, rng: np.random.Generator) -> Floats:
    """A square of a photograph, (size, size, 3), turned and recoloured."""
    size = scenes.size
    photo = sources.photos[int(rng.integers(len(sources.photos)))]
    side = int(rng.integers(size // 2, 3 * size))
    top, left = (int(rng.integers(limit - side + 1)) for limit in photo.shape[:2])
    crop = np.rot90(photo[top : top + side, left : left + side], int(rng.integers(4)))
    image = Image.fromarray(np.ascontiguousarray(crop)).resize((size, size), Image.Resampling.BILINEAR)
    image = ImageEnhance.Color(image).enhance(rng.uniform(*scenes.background_colour))
    image = ImageEnhance.Contrast(image).enhance(rng.uniform(0.5, 1.1))
    shift = rng.uniform(-20, 20, size=3)
    return np.clip(np.asarray(image, dtype=np.float32) + shift, 0, 255).astype(np.float32)


def _shape(scan: Floats, scenes: Scenes, rng: np.random.Generator) -> Floats:
    """The scan's ink, upsampled, stretched and turned."""
    side = rng.uniform(*scenes.object_side)
    ratio = np.exp(rng.uniform(-1, 1) * np.log(scenes.stretch))
    width, height = (max(8, round(side * factor)) for factor in (ratio**0.5, ratio**-0.5))
    ink = Image.fromarray(np.pad(scan, 1), mode="F").resize((width, height), Image.Resampling.BICUBIC)
    turned = ink.rotate(rng.uniform(-scenes.rotation, scenes.rotation), Image.Resampling.BILINEAR, expand=True)
    return np.asarray(turned, dtype=np.float32)


def _place(ink: Floats, size: int, rng: np.random.Generator) -> Floats:
    """The ink on an empty square of side `size`; up to a quarter of it may lie outside."""
    height, width = ink.shape
    top, left = (int(rng.integers(-side // 4, size - side + side // 4 + 1)) for side in (height, width))
    whole = np.zeros((size + 2 * height, size + 2 * width), dtype=np.float32)
    whole[top + height : top + 2 * height, left + width : left + 2 * width] = ink
    return whole[height : height + size, width : width + size]


def _colour(digit: int, back_colour: Floats, scenes: Scenes, rng: np.random.Generator) -> Floats:
    """RGB of the digit's hue, more or less, that stands out from the background."""
    while True:
        hue = (digit / 10 + rng.normal(0, scenes.hue_spread)) % 1
        rgb = colorsys.hsv_to_rgb(hue, rng.uniform(*scenes.saturation), rng.uniform(*scenes.value))
        colour = 255 * np.array(rgb, dtype=np.float32)
        if np.linalg.norm(colour - back_colour) >= scenes.contrast:
            return colour


def _paint(
    canvas: Floats, alpha: Floats, colour: Floats, sources: _Sources, scenes: Scenes, rng: np.random.Generator
) -> Floats:
    """Blend a coloured, faintly textured object over the canvas where alpha is 1."""
    texture = _background(sources, scenes, rng)
    amount = rng.uniform(0, scenes.texture)
    paint = colour + amount * (texture - texture.mean(axis=(0, 1)))
    blended: Floats = (canvas + alpha[..., None] * (paint - canvas)).astype(np.float32)
    return blended


def _palette() -> list[int]:
    """VOC's colour map: bits of the index spread over the channels, (256 * 3)."""
    colours = []
    for index in range(256):
        for channel in range(3):
            colours.append(sum(((index >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(3)))
    return colours
