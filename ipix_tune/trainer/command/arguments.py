"""What a command is called with: program, arguments, environment and the file of its settings."""

import json
import shlex
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ipix_tune.trainer.command.command_config import Command, CommandRun
from ipix_tune.trainer.command.placeholders import MEETING, filled, names_in, values_of
from ipix_tune.trainer.peers import ALONE, Peers
from trainers.common.atomic import replacing
from trainers.common.home import expanded
from trainers.common.yaml_file import dump_data

OWN_FOLDER, CONFIG_FILE = "run", "config"
"""In a run's folder: the folder that the command is given; the file of its settings."""
STAND_INS = {name: name.upper() for name in MEETING}
"""What stands for the nodes of a trial where a command is only shown."""


def argv_of(config: CommandRun, folder: Path, *, resumed: bool, meeting: Mapping[str, Any] = STAND_INS) -> list[str]:
    """Program and arguments of a run in this folder."""
    values = values_in(config, folder, meeting)
    argv = filled_command(config.command, values)
    more = [config.seed_arguments] if config.seed_arguments else []
    more += [config.resume] if resumed and config.resume else []
    if isinstance(config.command, str):
        argv[-1] = argv[-1].rstrip() + "".join(f" {filled(text, values, quoted=True)}" for text in more)
        return argv
    return [*argv, *(filled(word, values) for text in more for word in shlex.split(text))]


def filled_command(command: Command, values: Mapping[str, Any]) -> list[str]:
    """A command with its values; a line for the shell is given to one."""
    if isinstance(command, str):
        return ["/bin/sh", "-c", filled(command, values, quoted=True)]
    return [filled(str(word), values) for word in command]


def values_in(config: CommandRun, folder: Path, meeting: Mapping[str, Any]) -> dict[str, Any]:
    """What every name stands for in a run in this folder. A setting goes before a name of the trial's nodes."""
    own = {"epochs": config.epochs, "seed": config.seed, "run_dir": str(folder / OWN_FOLDER)}
    return {**meeting, **values_of(config.config, {**own, "config": str(config_file(config, folder))})}


def meeting_of(config: CommandRun, peers: Peers = ALONE) -> dict[str, Any]:
    """Where the processes of a trial's nodes meet, as its first node says it, and which node this is. None of it where
    the first one has ended the trial."""
    first = peers.first_says({"master_addr": peers.address, "master_port": _free_port()} if peers.rank == 0 else None)
    if first is None:
        return {}
    used = {name for _, text in texts_of(config) for name in names_in(text)}
    gpus = {"gpus": _gpus()} if "gpus" in used else {}
    return {"nnodes": peers.count, "node_rank": peers.rank, **first, **gpus}


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("", 0))
        port: int = one.getsockname()[1]
    return port


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def write_settings(config: CommandRun, folder: Path) -> None:
    """Write the file that `{config}` names."""
    text = dump_data(config.config) if config.config_format == "yaml" else json.dumps(config.config)
    with replacing(config_file(config, folder)) as file:
        file.write_text(text)


def config_file(config: CommandRun, folder: Path) -> Path:
    """The file that `{config}` names."""
    return folder / f"{CONFIG_FILE}.{config.config_format}"


def workdir_of(config: CommandRun, values: Mapping[str, Any]) -> Path | None:
    """Where the command runs; None: where this process does."""
    if config.workdir is None:
        return None
    return expanded(filled(config.workdir, values)).absolute()


def where_of(config: CommandRun, values: Mapping[str, Any]) -> dict[str, Any]:
    """Its working directory and environment, as `Running` takes them."""
    environment = {name: filled(text, values) for name, text in config.environment.items()}
    return {"workdir": workdir_of(config, values), "environment": environment}


def texts_of(config: CommandRun) -> list[tuple[str, str]]:
    """The keys of the section that may hold names, and their texts."""
    found = [("command", text) for text in words_of(config.command)]
    found += [(f"environment.{name}", text) for name, text in config.environment.items()]
    found += [("check", text) for text in words_of(config.check)]
    found += [("metrics", config.metrics.place), ("workdir", config.workdir or "")]
    found += [(name, text) for name, text in (("seed", config.seed_arguments), ("resume", config.resume)) if text]
    return found


def words_of(command: object) -> list[str]:
    """Program and arguments as texts; none of none."""
    if command is None:
        return []
    return [str(word) for word in command] if isinstance(command, list) else [str(command)]
