"""Whether an error that ended a study's work is one of its storage: a full disk, a record that cannot be had."""

from collections.abc import Iterator
from pathlib import Path

from trainers.common.retry import FULL


def storage_fault(error: BaseException, place: Path) -> str | None:
    """Why the study's storage failed; None where the error is another one. Ray Tune raises errors of its own for what a
    searcher or a callback raised: those before it are looked at too.

    Args:
        place: the study's folder.
    """
    from ipix_tune.storage.optuna_storage import RecordError

    for one in _causes(error):
        if isinstance(one, RecordError) or (isinstance(one, OSError) and _lies_in(one, place)):
            return str(one)
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those that it was raised for or after."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _lies_in(error: OSError, place: Path) -> bool:
    """Whether an error is of the study's storage: its disk is full, or a file in its folder cannot be had."""
    named = [Path(str(name)) for name in (error.filename, error.filename2) if name is not None]
    return error.errno in FULL or any(path.is_relative_to(place) for path in named)
