"""Where a trained network lies: a run's folder, a trial's, a checkpoint's file; and its config."""

import json
from pathlib import Path
from typing import Any, Literal

from trainers.common.config_keys import set_dotted
from trainers.common.errors import CheckpointError, ConfigError
from trainers.common.home import expanded
from trainers.common.object_uri import is_uri, without_query
from trainers.common.paths import is_file
from trainers.common.yaml_file import parse_value, read, validate
from trainers.config import TrainConfig
from trainers.loop import about_model, checkpoint_files

CONFIG = "config.yaml"
CHECKPOINTS = "checkpoints"
NO_ROOT = "(not known)"
"""`data.root` of a model that is known by an earlier version's checkpoint alone."""
SECTIONS = ("data", "evaluation", "precision")
"""Sections of the config that may be set otherwise than in the training."""

Which = Literal["last", "best"]


def find(source: str | Path, which: Which | None = None) -> tuple[Path, dict[str, Any]]:
    """The file of a checkpoint, and what it holds, every byte of it checked.

    Args:
        source: a run's folder, such as runs/best-seed1 or a study's trials/t0003; its folder checkpoints; or a file.
        which: of a folder, the weights of the last epoch (as None), or those of the best one on held-out images.

    Raises:
        ConfigError: there is none, or ``which`` was asked of a file.
        CheckpointError: it is damaged, or no checkpoint of this program.
    """
    if is_uri(str(source)):
        raise ConfigError(f"{without_query(str(source))}: a model is read from a folder of this machine; copy it here")
    path = expanded(source)
    if is_file(path, what="the model"):
        if which is not None:
            raise ConfigError(f"--weights {which}: {path} is one checkpoint; give the run's folder to choose by name")
        return path, checkpoint_files.load(path)
    folder = _checkpoints(path)
    if which == "best":
        if not (folder / checkpoint_files.BEST).is_file():
            raise ConfigError(
                f"{folder}: there are no best weights (no epoch was scored on held-out images, or "
                "checkpoint.keep_best was false); leave --weights best out for those of the last epoch"
            )
        return folder / checkpoint_files.BEST, checkpoint_files.load(folder / checkpoint_files.BEST)
    state = checkpoint_files.latest(folder, differs=lambda _: [])
    assert state is not None  # _checkpoints has seen one
    return folder / checkpoint_files.LAST, state


def _checkpoints(path: Path) -> Path:
    """The folder of checkpoints in what was given."""
    names = (checkpoint_files.FRESH, checkpoint_files.LAST, checkpoint_files.PREVIOUS)
    for folder in (path / CHECKPOINTS, path):
        if any((folder / name).is_file() for name in names):
            return folder
    if not path.exists():
        raise ConfigError(
            f"{path}: no such file or folder; give a run's folder or a checkpoint, such as runs/x/last.pt"
        )
    inner = sorted({file.parent.parent for file in path.glob(f"**/{CHECKPOINTS}/{checkpoint_files.LAST}")})
    if inner:
        shown = ", ".join(map(str, inner[:3])) + (f" and {len(inner) - 3} more" if len(inner) > 3 else "")
        raise ConfigError(f"{path} holds {len(inner)} trained runs ({shown}); give one of them")
    raise ConfigError(
        f"{path}: no checkpoint lies here; give a run's folder (it has {CHECKPOINTS}/), a study's trials/<key>, or a "
        "checkpoint's file"
    )


def config_of(
    path: Path, state: dict[str, Any], overrides: tuple[str, ...] = ()
) -> tuple[TrainConfig, dict[str, Any] | None]:
    """The config that a checkpoint was trained by, and what it says of its classes and images.

    Args:
        path: the checkpoint's file. One of an earlier version is told by the `config.yaml` of its run, where it still
            lies there, and else by its identity, which does not know the folder of the data.
        state: what it holds.
        overrides: key=value, laid over the config; of the sections `SECTIONS` alone.

    Raises:
        ConfigError: an override cannot be accepted.
        CheckpointError: the config is not one of this version.
    """
    known, beside = about_model.told(state), path.parent.parent / CONFIG
    if known is not None:
        data, origin = known["config"], str(path)
    elif path.parent.name == CHECKPOINTS and beside.is_file():
        data, origin = read(beside)[0], str(beside)
    else:
        data, origin = json.loads(state["identity"])["config"], str(path)
        if data.get("data", {}).get("name") != "digits":
            data["data"].setdefault("root", NO_ROOT)
    try:
        validate(TrainConfig, data, source=origin)
    except ConfigError as error:
        raise CheckpointError(f"{path}: its config is not one of this version: {error}") from None
    for override in overrides:
        key, equals, text = (part.strip() for part in override.partition("="))
        section = key.partition(".")[0]
        if not equals or section not in SECTIONS or key == section:
            allowed = ", ".join(f"{one}.*" for one in SECTIONS)
            raise ConfigError(
                f"--set {override}: of a trained model only {allowed} can be set; write --set data.root=/data/voc"
            )
        set_dotted(data, key, parse_value(text, source=f"--set {override}"))
    named = f"{origin} with {' '.join(f'--set {one}' for one in overrides)}" if overrides else origin
    return validate(TrainConfig, data, source=named), known
