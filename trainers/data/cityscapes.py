"""Cityscapes layout (methods: section 18)."""

from typing import ClassVar, Literal

from trainers.data.base import BaseDataConfig
from trainers.data.download import local_root
from trainers.data.layout import Layout

CLASSES = (
    "road",
    "sidewalk",
    "building",
    "wall",
    "fence",
    "pole",
    "traffic light",
    "traffic sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
)

LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The label id of every class, in the order of train ids; every other id up to 33 is ignored."""
LARGEST_LABEL_ID = 33

IMAGE_SUFFIX = "_leftImg8bit.png"
TRAIN_IDS_SUFFIX = "_gtFine_labelTrainIds.png"
LABEL_IDS_SUFFIX = "_gtFine_labelIds.png"


class CityscapesConfig(BaseDataConfig):
    """Cityscapes: leftImg8bit/ and gtFine/, 19 classes, masks as labelIds or labelTrainIds. A line that names only
    the image leads to the mask of the same name; where labelTrainIds are not made, labelIds are read and mapped."""

    official_val: ClassVar[bool] = True

    name: Literal["cityscapes"]
    root: str
    """Folder that holds leftImg8bit/ and gtFine/, or the URI of one or of an archive in object storage."""

    def layout(self) -> Layout:
        return Layout(
            root=local_root(self.root),
            classes=CLASSES,
            resolve=self._resolve,
            label_ids_suffix=LABEL_IDS_SUFFIX,
            decoding=self.decoding(len(CLASSES)),
        )

    def _resolve(self, columns: tuple[str, ...]) -> tuple[str, str | None]:
        image = columns[0]
        if len(columns) > 1:
            mask = columns[1]
        elif image.endswith(IMAGE_SUFFIX):
            mask = image.removesuffix(IMAGE_SUFFIX).replace("leftImg8bit/", "gtFine/", 1) + TRAIN_IDS_SUFFIX
        else:
            return image, None
        other = mask.removesuffix(TRAIN_IDS_SUFFIX) + LABEL_IDS_SUFFIX
        root = local_root(self.root)
        if mask.endswith(TRAIN_IDS_SUFFIX) and not (root / mask.removeprefix("/")).is_file():
            return image, other if (root / other.removeprefix("/")).is_file() else mask
        return image, mask
