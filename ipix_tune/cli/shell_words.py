"""Values of --set that the shell has taken apart before the command saw them."""

import re
import shlex
from collections.abc import Sequence
from itertools import takewhile

from trainers.common.errors import UserError


def refuse_a_value_in_pieces(words: Sequence[str]) -> None:
    """Look for a value with brackets that stands in several words, as it does where it was given without quotes.

    A shell cuts it at its spaces. Where it has none, bash writes the key before each part between its commas.

    Raises:
        UserError: with the whole value, in quotes, where its parts say what it was.
    """
    for begin, word in enumerate(words[1:], start=1):
        if words[begin - 1] == "--set" and len(pieces := _pieces(words[begin:])) > 1:
            whole = _joined(pieces)
            said = "in quotes: --set " + shlex.quote(whole) if _is_value(whole) else "as you typed it in single quotes"
            raise UserError(f"--set {word}: the shell took this value apart; put it {said}")


def _pieces(words: Sequence[str]) -> Sequence[str]:
    """The first of these words with those that belong to it: all that have its key before them, or as many as close its
    brackets."""
    key = _key_of(words[0])
    repeated = list(takewhile(lambda word: word.startswith(key), words)) if key != "=" else []
    if len(repeated) > 1:
        return repeated
    ends = range(2, len(words) + 1) if _open_brackets(words[0]) > 0 else ()
    return words[: next((end for end in ends if _open_brackets("".join(words[:end])) == 0), 1)]


def _key_of(word: str) -> str:
    return word.partition("=")[0] + "="


def _open_brackets(text: str) -> int:
    return sum(map(text.count, "[{")) - sum(map(text.count, "]}"))


def _joined(pieces: Sequence[str]) -> str:
    key = _key_of(pieces[0])
    if all(piece.startswith(key) for piece in pieces):
        inner = ",".join(piece.removeprefix(key) for piece in pieces)
        return f"{key}{{{re.sub('[:,]', lambda found: found[0] + ' ', inner)}}}"
    return " ".join(pieces)


def _is_value(whole: str) -> bool:
    """Braces within braces are lost: bash makes a part of each, whose place in the whole it does not say."""
    from trainers.common.yaml_file import parse_value

    try:
        parse_value(whole.partition("=")[2], source="")
    except UserError:
        return False
    return True
