"""What is printed arrives, whatever letters it has."""

import io
import sys


def print_any_letters() -> None:
    """From now on a letter that the output's encoding does not have is printed by its number, as in ``\\xe9``, instead
    of ending the program. So is a byte of a file's name that is no letter at all."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
