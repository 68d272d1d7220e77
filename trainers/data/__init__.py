"""The registry of data layouts: one line of import, one entry in the union."""

from typing import Annotated

from pydantic import Field

from trainers.data.ade20k import Ade20kConfig
from trainers.data.cityscapes import CityscapesConfig
from trainers.data.coco import CocoConfig
from trainers.data.digits import DigitsConfig
from trainers.data.folder import FolderConfig
from trainers.data.voc import VocConfig

DataConfig = Annotated[
    DigitsConfig | VocConfig | CityscapesConfig | CocoConfig | Ade20kConfig | FolderConfig, Field(discriminator="name")
]
