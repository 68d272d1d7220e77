"""Where Optuna keeps a study's trials: a journal file (the default) or a database.

Both hold the search history and nothing else: results are read from W&B's files.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from sqlalchemy import make_url
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

from ipix_tune.storage.atomic import FolderError
from ipix_tune.storage.journal_file import WAIT_S, PatientJournalFile
from trainers.common.retry import patiently

JOURNAL = "journal.log"


class RecordError(FolderError):
    """The study's record could not be read or written, and waiting did not help."""


class PatientDatabase(RDBStorage):
    """Optuna's storage in a database; what fails because the database is locked, full or away is tried again."""


def _patient(name: str) -> Callable[..., Any]:
    """Each of these is one transaction, which is taken back where it fails, so that it can be made again."""
    call = getattr(RDBStorage, name)

    def patient(self: PatientDatabase, *args: Any, **values: Any) -> Any:
        where = make_url(self.url).render_as_string(hide_password=True)

        def once() -> Any:
            try:
                return call(self, *args, **values)
            except StorageInternalError as error:
                if not isinstance(error.__cause__, OperationalError | InterfaceError):
                    raise
                raise RecordError(f"record: {where}: {str(error.__cause__).splitlines()[0]}") from error

        return patiently(once, path=where, wait_s=WAIT_S, faults=(RecordError,))

    return patient


for _name in (
    "create_new_study",
    "set_study_user_attr",
    "set_study_system_attr",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_directions",
    "get_study_user_attrs",
    "get_study_system_attrs",
    "get_all_studies",
    "_create_new_trial",
    "_set_trial_param",
    "set_trial_state_values",
    "set_trial_intermediate_value",
    "set_trial_user_attr",
    "set_trial_system_attr",
    "get_trial_id_from_study_id_trial_number",
    "get_trial",
    "_get_trials",
    "_get_best_trial_id",
):
    setattr(PatientDatabase, _name, _patient(_name))


def open_record(folder: Path | None, *, record: str) -> BaseStorage:
    """The storage of a study's trials.

    Args:
        folder: the study's folder; None: memory only, and nothing is written.
        record: ``journal``, or a database's URL.

    Raises:
        FolderError: the database cannot be opened.
    """
    if folder is None:
        return InMemoryStorage()
    if record == "journal":
        return JournalStorage(PatientJournalFile(folder / JOURNAL, wait_s=WAIT_S))
    try:
        waits = {"connect_args": {"timeout": WAIT_S}} if make_url(record).get_backend_name() == "sqlite" else {}
        return PatientDatabase(record, engine_kwargs={"pool_pre_ping": True, **waits})
    except (ImportError, SQLAlchemyError) as error:
        raise FolderError(f"record: the database cannot be opened: {str(error).splitlines()[0]}") from None


def told(folder: Path, *, record: str) -> str:
    """Where a record lies, for a message: a file's path, or a database's URL without its password."""
    if record == "journal":
        return str(folder / JOURNAL)
    return make_url(record).render_as_string(hide_password=True)
