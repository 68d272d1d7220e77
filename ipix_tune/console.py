"""Where every command line of the study side ends: a user's mistake is one line on stderr and exit code 2."""

import sys
from collections.abc import Sequence
from typing import NoReturn

import typer

from trainers.errors import TrainingError, UserError


def run(app: typer.Typer, *, args: Sequence[str] | None = None, prog_name: str | None = None) -> NoReturn:
    """Run a command line and leave the process: 0, 1 where the work went wrong, 2 for a mistake of the user's, 130
    where it was interrupted."""
    try:
        result = app(args=args, prog_name=prog_name, standalone_mode=True)
    except UserError as error:
        _leave(error, code=2)
    except TrainingError as error:
        _leave(error, code=1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        logs = sys.modules.get("analysis.errors")  # whoever raises its error has imported it
        if logs is not None and isinstance(error, logs.LogsError):
            _leave(error, code=2)
        raise
    sys.exit(result if isinstance(result, int) else 0)


def _leave(error: Exception, *, code: int) -> NoReturn:
    typer.echo(f"error: {error}", err=True)
    sys.exit(code)
