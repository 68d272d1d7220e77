"""What the loader reads of a training config."""

from typing import Literal, Protocol

from trainers.data import DataConfig
from trainers.data.views_config import ViewsConfig


class EpochLength(Protocol):
    """How many steps an epoch has."""

    @property
    def steps_per_epoch(self) -> int | None:
        """Given, or None: one pass over the list that ``epoch_base`` names."""

    @property
    def epoch_base(self) -> Literal["unlabelled", "labelled"]:
        """The list of which an epoch is one pass."""


class Accumulation(Protocol):
    """How a batch is shared out over steps."""

    @property
    def accumulate(self) -> int:
        """Parts that a batch is trained in."""


class LoaderConfig(Protocol):
    """The sections of `trainers.config.TrainConfig` that the loader reads."""

    @property
    def data(self) -> DataConfig:
        """Lists, crop and batch."""

    @property
    def views(self) -> ViewsConfig:
        """Weak and strong views."""

    @property
    def schedule(self) -> EpochLength:
        """Steps of an epoch."""

    @property
    def optim(self) -> Accumulation:
        """Parts of a batch."""

    @property
    def order_seed(self) -> int:
        """Seed of order and views."""
