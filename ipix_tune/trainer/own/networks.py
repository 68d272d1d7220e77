"""The networks that a study's trials may have: built and checked before a trial starts."""

from collections.abc import Iterable, Mapping
from typing import Any

from trainers.common.errors import ConfigError
from trainers.common.yaml_file import dump_data
from trainers.config import TrainConfig


def check_networks(kinds: Iterable[tuple[Mapping[str, Any], TrainConfig]], *, workers: int) -> None:
    """Every kind of network, with the crops and batches that it is trained on.

    Args:
        kinds: searched values, and the config that they make.
        workers: processes of a trial.

    Raises:
        ConfigError: a network cannot be built, or does not take its crops; with the values that ask for it.
    """
    from trainers.loop.network_check import check_network

    seen: set[str] = set()
    for values, config in kinds:
        if (kind := _kind(config)) in seen:
            continue
        seen.add(kind)
        try:
            check_network(config, world=workers)
        except ConfigError as error:
            chosen = [f"{name}={value}" for name, value in values.items() if name.startswith(("model.", "data."))]
            at = f" (in a trial with {', '.join(chosen)})" if chosen else ""
            raise ConfigError(f"trainer: {error}{at}") from None


def _kind(config: TrainConfig) -> str:
    """What the check depends on."""
    told = {
        "model": config.model.model_dump(mode="json"),
        "sizes": [config.data.crop, config.data.batch_size, config.optim.accumulate],
        "how": [config.optim.batch_norm, config.evaluation.mode, config.optim.layer_decay],
    }
    return dump_data(told)
