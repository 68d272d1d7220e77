"""`{name}` in a command: what stands for it, and which names there are."""

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from trainers.common.config_keys import get_dotted, keys_of
from trainers.common.errors import ConfigError, did_you_mean

OWN = ("epochs", "seed", "run_dir", "config")
"""Names that the study fills in."""
MEETING = ("nnodes", "node_rank", "master_addr", "master_port", "gpus")
"""The same of a trial's nodes, unless a setting is called so: how many, which one, where the first one is reached, and
how many GPUs it has here. A command needs them that starts processes on several nodes, such as torchrun."""
_FOUND = re.compile(r"\{\{|\}\}|\{([A-Za-z_][\w.\-/ ]*)\}")


def names_in(text: str) -> list[str]:
    """The names that a text asks for."""
    return [one.group(1) for one in _FOUND.finditer(text) if one.group(1) is not None]


def filled(text: str, values: Mapping[str, Any], *, quoted: bool = False) -> str:
    """The text with every name's value in its place.

    Args:
        quoted: each value as one word of a shell.
    """

    def value(found: re.Match[str]) -> str:
        if found.group(1) is None:
            return found.group(0)[0]
        given = "" if values[found.group(1)] is None else str(values[found.group(1)])
        return shlex.quote(given) if quoted else given

    return _FOUND.sub(value, text)


def quoted_names(line: str) -> str | None:
    """The first name that stands within quotes of a line for the shell; None where none does."""
    at = {one.start(): one.group(1) for one in _FOUND.finditer(line) if one.group(1) is not None}
    quote, escaped = "", False
    for place, letter in enumerate(line):
        if quote and place in at:
            return at[place]
        if escaped:
            escaped = False
        elif letter == "\\" and quote != "'":
            escaped = True
        elif letter in "'\"" and quote in ("", letter):
            quote = "" if quote else letter
    return None


def values_of(config: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Every name that may be asked for, with its value: the settings by dotted name, and the study's own."""
    return {name: get_dotted(config, name) for name in keys_of(config)} | dict(own)


def check_names(texts: Sequence[tuple[str, str]], *, known: Collection[str]) -> None:
    """See that every name that is asked for is there.

    Args:
        texts: the key of the study file and its text.

    Raises:
        ConfigError: with the nearest spelling.
    """
    for where, text in texts:
        for name in names_in(text):
            if name not in known:
                hint = did_you_mean(name, known)
                raise ConfigError(
                    f"trainer.{where}: {{{name}}} is no setting{hint}; give it below trainer.config, or search it. "
                    "For a brace itself write {{"
                )
