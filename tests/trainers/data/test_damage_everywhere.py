"""Whatever happens to a file, every place that opens it reads it or names it; no other error comes through."""

import shutil
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ipix_tune.trainer.own.trainer import OwnTrainer
from trainers.cli.draw_splits import draw_splits
from trainers.common.errors import UserError
from trainers.config import TrainConfig
from trainers.data.check import check_data
from trainers.data.earlier import read_otherwise
from trainers.data.evaluation import eval_batches
from trainers.data.loader import TrainLoader
from trainers.data.loading import kept_images
from trainers.data.maskcheck import check_masks
from trainers.data.open import open_data
from trainers.data.presence import classes_present
from trainers.data.read import Reader
from trainers.interface.method import Needs
from trainers.loop.process_group import current
from trainers.loop.stages import unlabelled_images

FORMATS = ("png", "jpg", "tif", "gif", "bmp", "webp")
NEEDS = Needs(unlabelled=True, strong=1)
CLASSES = 3


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Twelve images in six formats with masks; lists of all, of the labelled and of the unlabelled ones."""
    folder = tmp_path_factory.mktemp("damaged")
    lines = []
    for index in range(12):
        name = f"{index}.{FORMATS[index % len(FORMATS)]}"
        mask = np.full((20, 24), index % CLASSES, np.uint8)
        mask[:4] = 255
        Image.fromarray(np.full((20, 24, 3), 20 * index, np.uint8)).save(folder / name)
        Image.fromarray(mask).save(folder / f"mask-{index}.png")
        lines.append(f"{name} mask-{index}.png\n")
    for name, part in (("all", lines), ("labelled", lines[:6]), ("unlabelled", lines[6:])):
        (folder / f"{name}.txt").write_text("".join(part))
    return folder


def config(root, **data):
    lists = {} if "train" in data else {"labelled": "labelled.txt", "unlabelled": "unlabelled.txt"}
    given = {"name": "folder", "root": str(root), "num_classes": CLASSES, "crop": 16, "batch_size": 2, **lists, **data}
    return TrainConfig.model_validate(
        {
            "data": {"holdout": {"images": 2}, **given},
            "method": {"name": "unimatch"},
            "views": {"cutmix_partner": "batch"},
        }
    )


def in_training(given, data):
    loader = TrainLoader(data, given, NEEDS)
    for epoch in range(4):
        list(loader.epoch(epoch))


def in_evaluation(given, data):
    list(eval_batches(data.holdout, reader=Reader(CLASSES), device=torch.device("cpu")))


def between_stages(given, data):
    skip = given.data.on_corrupt == "skip"
    images = unlabelled_images(data, reader=Reader(CLASSES), process=current("cpu"), skip_corrupt=skip)
    list(images(range(len(data.unlabelled))))


def everything(data):
    return (*data.labelled, *data.unlabelled, *data.holdout)


PLACES = {
    "the dry run": lambda given, data: check_data(data, given.data),
    "the check of masks": lambda given, data: check_masks(everything(data), num_classes=CLASSES),
    "the draw by class": lambda given, data: classes_present(everything(data)),
    "the training": in_training,
    "the evaluation": in_evaluation,
    "between stages": between_stages,
    "how much is kept": kept_images,
    "an earlier checkpoint": lambda given, data: read_otherwise(everything(data), exif="apply"),
}
OPENING = {
    "the lists": lambda root: open_data(config(root).data, final=False),
    "a drawn split": lambda root: open_data(config(root, train="all.txt", draw={"labelled": 6}).data, final=False),
    "the splits command": lambda root: draw_splits(root / "all.txt", sizes=[4], out=root / "drawn"),
    "whether the data have changed": lambda root: OwnTrainer().data_state(config(root)),
}


def huge_png(width, height):
    """The first chunks of a PNG that says it is of this size."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", b"")
    )


@st.composite
def damages(draw):
    """What becomes of a file: a function of its path."""

    def written(change):
        return lambda path: path.write_bytes(change(path.read_bytes()))

    def flipped(data):
        data = bytearray(data)
        for _ in range(draw(st.integers(1, 5))):
            data[draw(st.integers(0, len(data) - 1))] ^= draw(st.integers(1, 255))
        return bytes(data)

    def zeroed(data):
        start = draw(st.integers(0, len(data) - 1))
        length = draw(st.integers(1, len(data)))
        return data[:start] + bytes(min(length, len(data) - start)) + data[start + length :]

    def folder(path):
        path.unlink()
        path.mkdir()

    def link(target):
        def make(path):
            path.unlink()
            path.symlink_to(path.with_name(target(path)))

        return make

    kinds = {
        "cut": written(lambda data: data[: draw(st.integers(0, len(data) - 1))]),
        "flipped": written(flipped),
        "zeroed": written(zeroed),
        "longer": written(lambda data: data + draw(st.binary(min_size=1, max_size=64))),
        "random": written(lambda data: draw(st.binary(max_size=200))),
        "a text": written(lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        "huge": written(lambda data: huge_png(draw(st.integers(1, 2**31 - 1)), draw(st.integers(1, 2**31 - 1)))),
        "a folder": folder,
        "gone": lambda path: path.unlink(),
        "a broken link": link(lambda path: "nowhere"),
        "a link to itself": link(lambda path: path.name),
        "closed": lambda path: path.chmod(0),
    }
    return kinds[draw(st.sampled_from(sorted(kinds)))]


def told(work, name):
    """Nothing, or an error that names the file; what else is raised comes through."""
    try:
        work()
    except UserError as error:
        said = str(error)
    else:
        return None
    assert name in said
    return said


@pytest.mark.filterwarnings("ignore")
@given(damage=damages(), victim=st.integers(0, 11), of_mask=st.booleans())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_every_place_that_opens_a_file_reads_it_or_names_it(root, damage, victim, of_mask):
    path = root / (f"mask-{victim}.png" if of_mask else f"{victim}.{FORMATS[victim % len(FORMATS)]}")
    given, whole = config(root), path.read_bytes()
    data = open_data(given.data, final=False)
    damage(path)
    try:
        for place in PLACES.values():
            told(lambda place=place: place(given, data), path.name)
        for opening in OPENING.values():
            shutil.rmtree(root / "drawn", ignore_errors=True)
            told(lambda opening=opening: opening(root), path.name)
        forgiving = config(root, on_corrupt="skip")
        if not of_mask:
            for place in (in_training, between_stages):
                assert "cannot be" not in (told(lambda place=place: place(forgiving, data), path.name) or "")
    finally:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        path.unlink(missing_ok=True)
        path.write_bytes(whole)
