"""The forms in which VOC, Cityscapes and plain folders come."""

import numpy as np
import pytest
import torch

from trainers.common.errors import DataError
from trainers.data.cityscapes import CLASSES
from trainers.data.lists import read_split
from trainers.data.open import open_data
from trainers.data.read import read_mask

IMAGE = np.zeros((6, 8, 3))
MASK = np.zeros((6, 8))

# The table of methods.md section 18, written out once more.
TRAIN_ID = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13}
TRAIN_ID |= {27: 14, 28: 15, 31: 16, 32: 17, 33: 18}


@pytest.fixture
def voc(tmp_path, data_config, write_image):
    """Reads VOC data of one labelled image whose split line is given."""
    write_image(tmp_path / "JPEGImages" / "2007_000032.jpg", IMAGE)
    for folder in ("SegmentationClass", "SegmentationClassAug"):
        write_image(tmp_path / folder / "2007_000032.png", MASK)

    def open_(line, **options):
        (tmp_path / "list.txt").write_text(line)
        layout = data_config(name="voc", root=str(tmp_path), **options).layout()
        (item,) = read_split(tmp_path / "list.txt", layout, labelled=True)
        return item.name, item.mask_name

    return open_


PAIR = ("JPEGImages/2007_000032.jpg", "SegmentationClass/2007_000032.png")
AUG = ("JPEGImages/2007_000032.jpg", "SegmentationClassAug/2007_000032.png")


@pytest.mark.parametrize(
    ("line", "options", "expected"),
    [
        (" ".join(PAIR), {}, PAIR),
        ("/images/2007_000032.jpg /segmentation/2007_000032.png", {}, PAIR),
        ("2007_000032", {"bare_ids": True}, PAIR),
        ("2007_000032", {"bare_ids": True, "mask_dir": "SegmentationClassAug"}, AUG),
        (" ".join(PAIR), {"mask_dir": "SegmentationClassAug"}, AUG),
        (PAIR[0], {"mask_dir": "SegmentationClassAug"}, AUG),
    ],
    ids=["columns", "CPS", "bare ids", "bare ids in another folder", "mapped folder", "image only, mapped folder"],
)
def test_every_voc_line_leads_to_its_image_and_mask(voc, line, options, expected):
    assert voc(line, **options) == expected


@pytest.mark.parametrize(
    ("line", "options", "advice"),
    [("2007_000032", {}, "bare_ids: true"), (" ".join(PAIR), {"bare_ids": True}, "bare_ids: false")],
)
def test_a_voc_list_of_the_other_form_names_the_option_that_reads_it(voc, line, options, advice):
    with pytest.raises(DataError, match=rf"list\.txt:1: .*{advice}"):
        voc(line, **options)


@pytest.fixture
def cityscapes(tmp_path, data_config, write_image):
    """Reads the one mask of a Cityscapes list; the mask holds the given ids."""
    stem = "train/jena/jena_000000_000019"

    def open_(mask_kind, line, ids):
        write_image(tmp_path / f"leftImg8bit/{stem}_leftImg8bit.png", np.zeros((1, len(ids), 3)))
        write_image(tmp_path / f"gtFine/{stem}_gtFine_{mask_kind}.png", np.array([ids]))
        (tmp_path / "list.txt").write_text(line.format(stem))
        layout = data_config(name="cityscapes", root=str(tmp_path)).layout()
        (item,) = read_split(tmp_path / "list.txt", layout, labelled=True)
        return read_mask(item, num_classes=len(layout.classes))

    return open_


CITY_LINES = [
    "leftImg8bit/{0}_leftImg8bit.png gtFine/{0}_gtFine_labelTrainIds.png",
    "/leftImg8bit/{0}_leftImg8bit.png /gtFine/{0}_gtFine_labelTrainIds.png",
    "leftImg8bit/{0}_leftImg8bit.png gtFine/{0}_gtFine_labelIds.png",
    "leftImg8bit/{0}_leftImg8bit.png",
]


@pytest.mark.parametrize("line", CITY_LINES)
def test_cityscapes_label_ids_become_train_ids(cityscapes, line):
    ids = [*range(34), 255]
    expected = [TRAIN_ID.get(i, 255) for i in ids]
    assert cityscapes("labelIds", line, ids)[0].tolist() == expected


@pytest.mark.parametrize("line", [CITY_LINES[0], CITY_LINES[3]])
def test_cityscapes_train_ids_are_read_as_they_are(cityscapes, line):
    ids = [*range(19), 255]
    assert cityscapes("labelTrainIds", line, ids)[0].tolist() == ids


def test_a_cityscapes_label_id_that_does_not_exist_is_refused(cityscapes):
    with pytest.raises(DataError, match=r"class index 34, allowed are 0 \.\. 18"):
        cityscapes("labelIds", CITY_LINES[3], [7, 34])


def test_cityscapes_has_as_many_class_names_as_train_ids():
    assert len(CLASSES) == len(set(CLASSES)) == len(TRAIN_ID)


def test_a_folder_has_the_classes_that_its_config_counts(folder_root, data_config):
    config = data_config(
        name="folder", root=str(folder_root), num_classes=3, labelled="labelled.txt", holdout={"images": 1}
    )
    data = open_data(config, final=False)
    assert data.num_classes == 3
    assert read_mask(data.labelled[0], num_classes=3).dtype == torch.uint8
