"""Values and sizes of masks are checked for all that will ever be read, before a run."""

import numpy as np
import pytest

from ipix_tune.trainer.own.preflight import check_run
from trainers.common.errors import DataError
from trainers.data.check import check_data
from trainers.data.loader import TrainLoader
from trainers.data.maskcheck import check_masks
from trainers.data.open import open_data
from trainers.interface.method import Needs

VAL = "images/18.png masks/18.png\nimages/19.png masks/19.png\n"


def seventh_class(root, write_image, number):
    write_image(root / "masks" / f"{number}.png", np.full((20, 24), 7))


def test_a_bad_mask_of_the_validation_list_is_found_before_the_search(train_config, folder_root, write_image):
    (folder_root / "val.txt").write_text(VAL)
    lines = (folder_root / "unlabelled.txt").read_text().splitlines()[:12]
    (folder_root / "unlabelled.txt").write_text("\n".join(lines))
    seventh_class(folder_root, write_image, 19)
    with pytest.raises(DataError, match=r"masks/19\.png: .*7.*val\.txt:2"):
        check_run(train_config(data={"val": "val.txt"}), workers=1)


@pytest.mark.parametrize("seed", range(4))
def test_masks_that_another_seed_may_draw_are_checked(train_config, folder_root, write_image, seed):
    seventh_class(folder_root, write_image, 3)
    lists = {"labelled": None, "unlabelled": None, "train": "all.txt", "draw": {"labelled": 8, "seed": seed}}
    config = train_config(data=lists).data
    with pytest.raises(DataError, match=r"masks/3\.png: .*7.*all\.txt:4"):
        check_data(open_data(config, final=False), config)


def test_a_mask_is_checked_anew_when_it_has_changed(train_config, folder_root, write_image):
    items = open_data(train_config().data, final=False).labelled
    check_masks(items, num_classes=3)
    seventh_class(folder_root, write_image, 2)
    with pytest.raises(DataError, match=r"masks/2\.png"):
        check_masks(items, num_classes=3)


def test_a_mask_of_another_size_than_its_image_is_named(train_config, folder_root, write_image):
    items = open_data(train_config().data, final=False).labelled
    write_image(folder_root / "masks" / "2.png", np.zeros((20, 23)))
    with pytest.raises(DataError, match=r"masks/2\.png: the mask is 23 x 20 pixels"):
        check_masks(items, num_classes=3)


def test_masks_of_unlabelled_images_are_checked_where_the_method_reads_them(train_config, folder_root, write_image):
    config = train_config()
    data = open_data(config.data, final=False)
    seventh_class(folder_root, write_image, 11)
    TrainLoader(data, config, Needs(unlabelled=True))
    with pytest.raises(DataError, match=r"masks/11\.png: .*7.*unlabelled\.txt"):
        TrainLoader(data, config, Needs(unlabelled=True, presence=True))


def test_unlabelled_images_without_masks_are_named_where_the_method_reads_them(train_config, folder_root):
    config = train_config(data={"holdout": {"images": 2}})
    lines = (folder_root / "unlabelled.txt").read_text().splitlines()
    (folder_root / "unlabelled.txt").write_text("\n".join([*lines[:-1], lines[-1].split()[0]]))
    data = open_data(config.data, final=False)
    with pytest.raises(DataError, match=r"unlabelled\.txt:14: no mask lies beside .*method\.image_labels: false"):
        TrainLoader(data, config, Needs(unlabelled=True, presence=True))
