"""Bad files, found before a run and during one; evaluation items."""

import numpy as np
import pytest
import torch
from PIL import Image

from trainers.common.errors import DataError
from trainers.data.check import check_data
from trainers.data.evaluation import eval_batches
from trainers.data.loader import TrainLoader
from trainers.data.open import open_data
from trainers.data.read import Reader, read_image
from trainers.data.views import MEAN, STD
from trainers.interface.method import Needs


@pytest.fixture
def checked(train_config):
    def check(**data):
        config = train_config(data=data).data
        return check_data(open_data(config, final=False), config)

    return check


def test_a_sound_data_set_is_counted(checked):
    summary = checked()
    assert summary.images == {"labelled": 6, "unlabelled": 12, "holdout": 2, "val": 0}
    assert summary.images_with_class["labelled"] == (2, 2, 2)
    assert sum(summary.images_with_class["holdout"]) == 2
    assert summary.corrupt == ()


def test_classes_that_a_list_lacks_are_named(checked, folder_root):
    (folder_root / "few.txt").write_text("images/0.png masks/0.png\nimages/1.png masks/1.png")
    assert checked(labelled="few.txt", batch_size=2).absent["labelled"] == ("class 2",)


def wrong_size(root, write_image):
    write_image(root / "masks" / "2.png", np.zeros((20, 23)))


def wrong_class(root, write_image):
    write_image(root / "masks" / "2.png", np.full((20, 24), 3))


def coloured(root, write_image):
    write_image(root / "masks" / "2.png", np.zeros((20, 24, 3)))


def sixteen_bits(root, write_image):
    Image.fromarray(np.zeros((20, 24), dtype=np.uint16)).save(root / "masks" / "2.png")


def no_image(root, write_image):
    (root / "images" / "2.png").write_text("not an image")


BAD = [
    (wrong_size, r"masks/2\.png: the mask is 23 x 20 pixels, its image .*images/2\.png 24 x 20 .*labelled\.txt:3"),
    (wrong_class, r"masks/2\.png: class index 3, allowed are 0 \.\. 2 and 255 = ignore .*labelled\.txt:3"),
    (coloured, r"masks/2\.png: a mask holds one class index .*labelled\.txt:3"),
    (sixteen_bits, r"masks/2\.png: a mask holds one class index of 8 bits"),
    (no_image, r"images/2\.png: cannot be decoded.*labelled\.txt:3.*replace the file.*on_corrupt: skip"),
]


@pytest.mark.parametrize(("spoil", "complaint"), BAD)
def test_the_check_names_a_bad_file_and_its_line(checked, folder_root, write_image, spoil, complaint):
    spoil(folder_root, write_image)
    with pytest.raises(DataError, match=complaint):
        checked()


@pytest.mark.parametrize(("spoil", "complaint"), BAD)
def test_training_names_a_bad_file_and_its_line(train_config, folder_root, write_image, spoil, complaint):
    spoil(folder_root, write_image)
    config = train_config()
    loader = TrainLoader(open_data(config.data, final=False), config, Needs(unlabelled=False))
    with pytest.raises(DataError, match=complaint):
        list(loader.epoch(0))


@pytest.mark.parametrize("spoil", [wrong_size, wrong_class, coloured])
def test_only_undecodable_files_are_forgiven(checked, folder_root, write_image, spoil):
    spoil(folder_root, write_image)
    with pytest.raises(DataError):
        checked(on_corrupt="skip")


def test_a_forgiven_corrupt_jpeg_is_listed(checked, folder_root):
    Image.fromarray(np.zeros((20, 24, 3), dtype=np.uint8)).save(folder_root / "whole.jpg")
    whole = (folder_root / "whole.jpg").read_bytes()
    (folder_root / "images" / "torn.jpg").write_bytes(whole[: len(whole) // 2])
    (folder_root / "with_torn.txt").write_text("images/torn.jpg masks/0.png\nimages/1.png masks/1.png")
    summary = checked(labelled="with_torn.txt", batch_size=1, on_corrupt="skip")
    assert len(summary.corrupt) == 1
    assert "torn.jpg" in summary.corrupt[0]
    assert summary.images_with_class["labelled"] == (0, 1, 0)


def test_a_corrupt_holdout_image_is_never_forgiven(checked, train_config, folder_root):
    held = open_data(train_config().data, final=False).holdout[0]
    held.image.write_text("not an image")
    with pytest.raises(DataError, match=r"cannot be decoded"):
        checked(on_corrupt="skip")


def test_an_unlabelled_file_that_is_no_image_is_found(checked, train_config):
    open_data(train_config().data, final=False).unlabelled[0].image.write_text("not an image")
    with pytest.raises(DataError, match=r"unlabelled\.txt:\d+"):
        checked()
    assert len(checked(on_corrupt="skip").corrupt) == 1


def test_a_grey_image_is_read_as_rgb(folder_root, train_config, write_image):
    write_image(folder_root / "images" / "0.png", np.arange(480).reshape(20, 24) % 256)
    image = read_image(open_data(train_config().data, final=False).labelled[0])
    assert image.shape == (3, 20, 24)
    assert torch.equal(image[0], image[2])


def test_a_reader_gives_the_same_with_and_without_memory(train_config):
    data = open_data(train_config().data, final=False)
    roomy, tight = Reader(3), Reader(3, cache_bytes=2000)
    for _ in range(2):
        for item in data.labelled:
            (a, x), (b, y) = roomy(item, with_mask=True), tight(item, with_mask=True)
            assert torch.equal(a, b)
            assert torch.equal(x, y)


def test_a_reader_reads_what_fits_into_its_memory_once(train_config):
    first, second = open_data(train_config().data, final=False).labelled[:2]
    reader = Reader(3, cache_bytes=2000)  # 24 * 20 * 4 = 1920 bytes: one image with its mask
    kept, _ = reader(first, with_mask=True)
    dropped, _ = reader(second, with_mask=True)
    assert reader(first, with_mask=True)[0] is kept
    assert reader(second, with_mask=True)[0] is not dropped


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_every_item_is_evaluated_exactly_once_over_all_processes(train_config, world):
    items = open_data(train_config().data, final=False).labelled
    values = [
        float(image.amax())
        for rank in range(world)
        for images, _ in eval_batches(items, reader=Reader(3), device=torch.device("cpu"), rank=rank, world=world)
        for image in images
    ]
    assert len(values) == len(items)
    assert len(set(values)) == len(items)


def test_evaluation_sees_whole_normalised_images_and_masks(train_config):
    item = open_data(train_config().data, final=False).labelled[0]
    ((image, mask),) = eval_batches([item], reader=Reader(3), device=torch.device("cpu"))
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    assert (image.shape, image.dtype) == ((1, 3, 20, 24), torch.float32)
    assert torch.allclose(image[0], (read_image(item) / 255 - mean) / std, atol=1e-6)
    assert (mask.shape, mask.dtype) == ((1, 20, 24), torch.int64)
    assert mask.unique().tolist() == [0, 255]
