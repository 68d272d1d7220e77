"""The study file's `confirm` section: what it asks for."""

from ipix_tune.config.confirm_config import ConfirmConfig
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.trainer.resources import Value
from trainers.common.errors import UserError


class ConfirmError(UserError):
    """There is nothing to confirm, or it cannot be confirmed as asked."""


def defaults_of(study: StudyConfig) -> dict[str, Value] | None:
    """Training config keys of the configuration to beat, if the confirmation has one."""
    given = confirm_of(study).defaults
    if given is False:
        return None
    return dict(study.points[0] if given is True else given)


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
