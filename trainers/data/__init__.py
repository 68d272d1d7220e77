"""The registry of data layouts: one line of import, one entry in the union."""

from typing import Annotated

from pydantic import Field

from trainers.data.cityscapes import CityscapesConfig
from trainers.data.digits import DigitsConfig
from trainers.data.folder import FolderConfig
from trainers.data.voc import VocConfig

DataConfig = Annotated[DigitsConfig | VocConfig | CityscapesConfig | FolderConfig, Field(discriminator="name")]
