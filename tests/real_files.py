"""A folder of mixed files, as users have them: images and masks of many kinds, with names that break programs."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

EXIF_TURN = 0x112
NAMES = (
    "urlaub 01",
    "Käse (2)",
    "ß_03",
    "日本",
    "e\u0301te\u0301",
    "plain",
    "UPPER",
    "two words here",
    "a.b.c",
    "#hash",
)


def scene(rng: np.random.Generator, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An RGB image (H, W, 3) with a bright disc (class 1) and a red box (class 2) on a dark ground, and its classes."""
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    classes = np.zeros(size, np.uint8)
    row, column = rng.integers(height // 4, 3 * height // 4), rng.integers(width // 4, 3 * width // 4)
    classes[(rows - row) ** 2 + (columns - column) ** 2 < (min(size) // 4) ** 2] = 1
    top, left = rng.integers(0, height // 2), rng.integers(0, width // 2)
    classes[top : top + height // 4, left : left + width // 4] = 2
    colours = np.array([[40, 45, 50], [200, 210, 190], [190, 40, 40]])
    image = colours[classes] + rng.normal(0, 12, (*size, 3))
    return image.clip(0, 255).astype(np.uint8), classes


def write_image(path: Path, pixels: NDArray[np.uint8], kind: int) -> Path:
    """The image as a file of one of eight kinds; returns the path with its ending."""
    image = Image.fromarray(pixels)
    if kind == 0:
        image.save(path := path.with_name(path.name + ".jpg"), quality=95)
    elif kind == 1:  # stored lying on its side, and turned by its EXIF orientation
        exif = Image.Exif()
        exif[EXIF_TURN] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(
            path := path.with_name(path.name + ".JPG"), quality=95, exif=exif
        )
    elif kind == 2:
        grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
        Image.fromarray(grey).save(path := path.with_name(path.name + ".png"))
    elif kind == 3:
        image.convert("L").save(path := path.with_name(path.name + ".png"))
    elif kind == 4:
        image.convert("RGBA").save(path := path.with_name(path.name + ".png"))
    elif kind == 5:
        image.convert("P", palette=Image.Palette.ADAPTIVE).save(path := path.with_name(path.name + ".gif"))
    elif kind == 6:
        image.save(path := path.with_name(path.name + ".tif"))
    else:
        image.save(path := path.with_name(path.name + ".webp"), lossless=True)
    return path


def write_mask(path: Path, classes: NDArray[np.uint8], kind: int) -> None:
    """Class indices as a PNG: grey, with a palette, or in a TIFF."""
    image = Image.fromarray(classes)
    if kind == 1:
        image.putpalette([0, 0, 0, 0, 255, 0, 255, 0, 0])
    image.save(path.with_name(path.name + (".tif" if kind == 2 else ".png")))


def mixed_folder(root: Path, *, pairs: int = 30, bare: int = 20) -> tuple[Path, Path]:
    """Folders of images and of masks: of every kind above, two broken images, one that is transparent, one mask of
    another size, and files that are none."""
    images, masks = root / "Bilder der Übung", root / "Bilder der Übung" / "masks"
    masks.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(pairs + bare):
        name = f"{NAMES[number % len(NAMES)]} {number}" if number < 20 else f"bild{number:03d}"
        pixels, classes = scene(rng, (48 + 2 * (number % 5), 64 + 2 * (number % 7)))
        write_image(images / name, pixels, number % 8)
        if number < pairs:
            if number == 21:
                classes = classes[:-3]
            write_mask(masks / name, classes, number % 3)
    broken = (images / "bild029.gif").read_bytes() if (images / "bild029.gif").exists() else b"GIF89a"
    (images / "broken.gif").write_bytes(broken[: len(broken) // 2])
    (images / "empty.jpg").write_bytes(b"")
    clear = Image.new("RGBA", (40, 40), (9, 9, 9, 0))
    clear.save(images / "see-through.png")
    (images / "notes.txt").write_text("not an image")
    (images / "._plain.jpg").write_bytes(b"\x00\x05\x16\x07")
    return images, masks
