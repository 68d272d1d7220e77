"""Values of --set that the shell has taken apart before the command saw them."""

import re
import shlex
from collections.abc import Sequence

from trainers.common.errors import UserError


def refuse_a_value_in_pieces(words: Sequence[str]) -> None:
    """Look for a value with brackets that stands in several words, as it does where it was given without quotes.

    A shell cuts it at its spaces. Where it has none, bash writes the key before each part between its commas.

    Raises:
        UserError: with the whole value, in quotes.
    """
    for begin, word in enumerate(words[1:], start=1):
        if words[begin - 1] != "--set" or _open_brackets(word) <= 0:
            continue
        for end in range(begin + 2, len(words) + 1):
            if _open_brackets("".join(words[begin:end])) == 0:
                whole = shlex.quote(_joined(words[begin:end]))
                raise UserError(f"--set {word}: the shell took this value apart; put it in quotes: --set {whole}")


def _open_brackets(text: str) -> int:
    return sum(map(text.count, "[{")) - sum(map(text.count, "]}"))


def _joined(pieces: Sequence[str]) -> str:
    key = pieces[0].partition("=")[0] + "="
    if all(piece.startswith(key) for piece in pieces):
        inner = ",".join(piece.removeprefix(key) for piece in pieces)
        return f"{key}{{{re.sub('[:,]', lambda found: found[0] + ' ', inner)}}}"
    return " ".join(pieces)
