"""Where every command line of the study side ends: a user's mistake is one line on stderr and exit code 2."""

import errno
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn, TextIO

import typer

from ipix_tune.cli.shell_words import refuse_a_value_in_pieces
from trainers.common.errors import TrainingError, UserError
from trainers.common.output import print_any_letters


def outlive_output() -> None:
    """From now on a terminal that was closed, or a pipe whose reader has gone, ends nothing: what is printed is
    dropped. A study is worth more than the lines that it prints. A library's own log that finds no room on its disk, as
    W&B's in the study's folder, prints no traceback for each line: whoever keeps results there says it once."""
    logging.raiseExceptions = False
    print_any_letters()
    sys.stdout = _Lasting(sys.stdout)
    sys.stderr = _Lasting(sys.stderr)


GONE = frozenset({errno.EPIPE, errno.EIO})
"""Errors of an output that will not come back: nobody reads the pipe, the terminal was closed. Others may pass, as
where output goes to a file on a disk that is full for a while: then only what was printed meanwhile is lost."""


OF_THE_PATH = frozenset(
    (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
)
"""Errors of a path that was given: nobody may go there, or something else lies there."""


class _Lasting:
    """A stream that goes on as the null device where it cannot be written any more, and drops what it cannot write
    now."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """As a text stream's."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._failed(error)
            return len(text)

    def flush(self) -> None:
        """As a text stream's."""
        try:
            self._stream.flush()
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        if error.errno not in GONE:
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def run(app: typer.Typer, *, args: Sequence[str] | None = None, prog_name: str | None = None) -> NoReturn:
    """Run a command line and leave the process: 0, 1 where the work went wrong, 2 for a mistake of the user's, 130
    where it was interrupted."""
    outlive_output()
    try:
        refuse_a_value_in_pieces(sys.argv[1:] if args is None else args)
        result = app(args=args, prog_name=prog_name, standalone_mode=True)
    except UserError as error:
        _leave(error, code=2)
    except TrainingError as error:
        _leave(error, code=1)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        if error.errno not in OF_THE_PATH or error.filename is None:
            raise
        _leave(UserError(f"{os.fsdecode(error.filename)}: {error.strerror}"), code=2)
    except Exception as error:
        logs = sys.modules.get("analysis.errors")  # whoever raises its error has imported it
        if logs is not None and isinstance(error, logs.LogsError):
            _leave(error, code=2)
        raise
    sys.exit(result if isinstance(result, int) else 0)


def _leave(error: Exception, *, code: int) -> NoReturn:
    typer.echo(f"error: {error}", err=True)
    sys.exit(code)
