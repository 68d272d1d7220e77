"""The section `method` while `method.name` is searched or changed: each method has keys that others do not have."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ipix_tune.trainer.interface import Section
from ipix_tune.trainer.own.keys import method_keys
from ipix_tune.trainer.resources import Value


def other_methods_key(
    section: Section, values: Mapping[str, Value], choices: Mapping[str, Sequence[Value]]
) -> tuple[str, str] | None:
    """The first searched key that the chosen method does not have, and what to do. See `Trainer.values_fault`."""
    known = method_keys()
    method = values.get("method.name", (section.get("method") or {}).get("name"))
    if method not in known:
        return None
    for name in values:
        if not name.startswith("method.") or name.split(".")[1] in known[str(method)]:
            continue
        having = [one for one, keys in known.items() if name.split(".")[1] in keys]
        if "method.name" in values:
            having = [one for one in having if one in choices.get("method.name", ())]
            cure = f"add only_if: {{method.name: [{', '.join(having)}]}}" if having else "remove it"
        else:
            cure = f"it belongs to {', '.join(having)}; remove it"
        return name, f"{name} is not a key of method {method}; {cure}"
    return None


def drop_other_methods_keys(method: dict[str, Any], names: Iterable[Value], section: Section) -> None:
    """Drop the keys that belong to methods of these names and that the chosen method does not have."""
    known = method_keys()
    own = known.get(str(method.get("name")))
    if own is None:
        return
    others = set(itertools.chain.from_iterable(known.get(str(name), ()) for name in names))
    for key in section.get("method") or {}:
        if key not in own and key in others:
            del method[key]


def own_keys(method: Mapping[str, Any]) -> dict[str, Any]:
    """The section without what its method does not have; all of it where the method is unknown."""
    own = method_keys().get(str(method["name"]))
    return {key: value for key, value in method.items() if own is None or key in own}
