"""The study file's `confirm` section: what it asks for, and the training configs that it changes."""

from collections.abc import Mapping

from ipix_tune.config.study_config import ConfirmConfig, StudyConfig, Value
from ipix_tune.config.train_keys import method_keys
from trainers.common.errors import UserError
from trainers.common.yaml_file import set_dotted, validate
from trainers.config import TrainConfig
from trainers.dead_keys import without_refused


class ConfirmError(UserError):
    """There is nothing to confirm, or not in this way."""


def defaults_of(study: StudyConfig) -> dict[str, Value] | None:
    """Training config keys of the configuration to beat, if the confirmation has one."""
    given = confirm_of(study).defaults
    if given is False:
        return None
    return dict(study.points[0] if given is True else given)


def changed(config: TrainConfig, changes: Mapping[str, Value]) -> TrainConfig:
    """``config`` with these keys set. Left out are keys that another `method.name` does not have, and what is refused
    under a new value.

    Raises:
        ConfigError: the training config refuses a value.
    """
    data = config.model_dump(mode="json")
    for name, value in changes.items():
        set_dotted(data, name, value)
    if (own := method_keys().get(str(data["method"]["name"]))) is not None and "method.name" in changes:
        data["method"] = {key: value for key, value in data["method"].items() if key in own}
    without_refused(data, changes)
    named = ", ".join(f"{name}={value}" for name, value in changes.items())
    return validate(TrainConfig, data, source=f"confirm ({named})", lines={})


def confirm_of(study: StudyConfig) -> ConfirmConfig:
    """The study's `confirm` section.

    Raises:
        ConfirmError: it has none.
    """
    if study.confirm is None:
        raise ConfirmError(
            f"{study.name}: the study has no confirm section; add one to the file (search_spaces/README.md), or give "
            "--set confirm.top=2"
        )
    return study.confirm
