"""The registry of methods: one line of import, one entry in the union."""

from typing import Annotated

from pydantic import Field

from trainers.methods.fixmatch import FixMatchConfig
from trainers.methods.supervised import SupervisedConfig
from trainers.methods.unimatch import UniMatchConfig

MethodConfig = Annotated[SupervisedConfig | FixMatchConfig | UniMatchConfig, Field(discriminator="name")]
