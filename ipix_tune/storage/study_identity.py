"""Who a study is: a name of its own, made once with its folder, that stays when the folder is renamed or moved.

It names the study's W&B runs, so that no other study of the same project shares them, and its record, so that a resume
cannot take up another one.
"""

import re
import secrets
from collections.abc import Collection
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from analysis.columns import IDENTITY, identity_of
from ipix_tune.config.study_config import StudyConfig
from trainers.common.errors import UserError

STUDY = "study.yaml"
"""The study's file in its folder."""


class IdentityError(UserError):
    """The record is not that of the study in this folder."""


def new_identity(name: str) -> str:
    """``name`` and six random hexadecimal digits."""
    return f"{name}-{secrets.token_hex(3)}"


def identity(folder: Path, study: StudyConfig) -> str:
    """What the folder's file says. Of a study from before there was one: the name that it was started under, whatever
    its folder is called now; of one that has no folder yet: its name."""
    return identity_of(folder) or _name_in(folder / STUDY) or study.name


def _name_in(file: Path) -> str | None:
    try:
        found = YAML(typ="safe").load(file.read_text())
    except (OSError, YAMLError):
        return None
    return str(found["name"]) if isinstance(found, dict) and "name" in found else None


def check_record(known: int, there: Collection[str], *, letter: str, folder: Path, record: str) -> None:
    """A study's record knows every trial whose folder is there: it is written before the trial starts.

    Args:
        known: trials that the record holds.
        there: names of all folders of trials.
        letter: what the keys of this record's trials begin with.
        folder: the study's folder, for the message.
        record: where the record lies, for the message.

    Raises:
        IdentityError: a trial is there that the record does not know.
    """
    keys = sorted(key for key in there if re.fullmatch(rf"{letter}\d{{4,}}", key))
    unknown = [key for key in keys if int(key[1:]) >= known]
    if unknown:
        raise IdentityError(
            f"{folder}: trials/ holds {len(keys)} trials, {keys[0]} to {keys[-1]}, but the record ({record}) knows "
            f"{known or 'none'} of them: it is not the record that they were started from. Put that record back, then "
            "resume; or start anew under another --name"
        )


__all__ = ["IDENTITY", "STUDY", "IdentityError", "check_record", "identity", "new_identity"]
