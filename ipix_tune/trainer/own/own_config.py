"""A study's config where it is one of our own trainer."""

from ipix_tune.trainer.interface import Config
from trainers.config import TrainConfig


def own_config(config: Config) -> TrainConfig:
    """The config with its type.

    Raises:
        TypeError: it is another trainer's.
    """
    if not isinstance(config, TrainConfig):
        raise TypeError(f"{type(config).__name__} is no training config of our own trainer")
    return config


def has_val(config: TrainConfig) -> bool:
    """Whether the data name images to report on: a benchmark's validation set, or a list of one's own."""
    return config.data.val is not None or type(config.data).own_lists
