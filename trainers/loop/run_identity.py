"""What tells runs apart: what a checkpoint and the run that goes on from it must have in common."""

from typing import Any

from trainers.config import TrainConfig

FORMAT = 2
_NOT_THE_DATA = (
    "root",
    "loader_workers",
    "loader_wait_s",
    "cache_gb",
    "list_encoding",
    "copies",
    "classes",
    "shown_bands",
)
"""Keys of the section `data` that change no curve, or do so by the lists alone, which the split's hash tells apart."""
HOW_SCORED = ("evaluation.mode:", "evaluation.scale:", "evaluation.boundary_width:")
"""What a run may change when it goes on: an evaluation that was too large is made smaller so, or scores more."""
NOT_BY_DEFAULT = {
    *("method.consistency_mean", "method.region_area", "method.bank_area", "method.copy_paste_never"),  # ael
    *("method.sampling_class", "method.background", "method.rescale", "method.vat_xi", "method.head_dropout"),
}
"""Keys whose default is not what was done before there was the key: a checkpoint without them was trained otherwise."""

TOLD_BY_FILES = {"data.exif"}
"""A key that an earlier checkpoint may lack whatever the run sets: `trainers.data.earlier` sees whether it matters."""


def identity(config: TrainConfig, *, split_hash: str) -> dict[str, Any]:
    """What must be equal for a checkpoint to be continued: the config without what does not change the curve."""
    data = config.model_dump(
        mode="json",
        exclude={"provenance": True, "checkpoint": True, "logging": True, "evaluation": {"final", "pictures"}},
    )
    data["precision"].pop("device")
    return {"config": _of_the_curve(data), "split_hash": split_hash, "format": FORMAT}


def _of_the_curve(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "data": {key: value for key, value in config.get("data", {}).items() if key not in _NOT_THE_DATA}}


def changed(theirs: dict[str, Any], config: TrainConfig, *, split_hash: str) -> list[str]:
    """Dotted keys at which a checkpoint's identity differs from that of a run, with both values.

    A key that the checkpoint lacks was added after it was written. Where the run leaves such a key at its default, it
    does what was done before there was the key (but for `NOT_BY_DEFAULT`), and they do not differ.

    Args:
        theirs: as :func:`identity` made it, in this version or an earlier one.
        config: of the run that is to go on.
        split_hash: of its lists.
    """
    ours = identity(config, split_hash=split_hash)
    given = config.model_dump(mode="json", exclude_defaults=True)
    known = _with_defaults(_of_the_curve(theirs.get("config", {})), ours["config"], given)
    return differences({**theirs, "config": known}, ours)


def _with_defaults(
    theirs: dict[str, Any], ours: dict[str, Any], given: dict[str, Any], prefix: str = ""
) -> dict[str, Any]:
    """``theirs``, and every key of ``ours`` that it lacks and that is not ``given``."""
    found = dict(theirs)
    for key, value in ours.items():
        if key in theirs or (key in given and isinstance(value, dict)):
            if isinstance(value, dict) and isinstance(theirs.get(key, {}), dict):
                found[key] = _with_defaults(theirs.get(key, {}), value, given.get(key, {}), f"{prefix}{key}.")
        elif f"{prefix}{key}" in TOLD_BY_FILES or (key not in given and f"{prefix}{key}" not in NOT_BY_DEFAULT):
            found[key] = value
    return found


def scored_otherwise(changed: list[str]) -> list[str]:
    """The changes that :func:`changed` lists in how epochs are evaluated, which a resumed run may make."""
    return [one for one in changed if one.startswith(HOW_SCORED)]


def kept_apart(changed: list[str]) -> list[str]:
    """The changes that :func:`changed` lists which make it another run."""
    return [one for one in changed if not one.startswith(HOW_SCORED)]


def differences(theirs: Any, ours: Any, prefix: str = "") -> list[str]:
    """Dotted keys at which two nested dicts differ, with both values."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        keys = sorted(set(theirs) | set(ours))
        return [
            line
            for key in keys
            for line in differences(theirs.get(key), ours.get(key), f"{prefix}.{key}" if prefix else str(key))
        ]
    return [] if theirs == ours else [f"{prefix.removeprefix('config.')}: {theirs} there, {ours} here"]
