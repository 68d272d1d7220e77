"""A command of the user's as the trainer of a study."""

import shlex
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ipix_tune.trainer.command.arguments import (
    CONFIG_FILE,
    OWN_FOLDER,
    argv_of,
    filled_command,
    meeting_of,
    texts_of,
    values_in,
    where_of,
    words_of,
    workdir_of,
    write_settings,
)
from ipix_tune.trainer.command.command_config import CommandRun, CommandSection
from ipix_tune.trainer.command.placeholders import MEETING, OWN, check_names, names_in, quoted_names
from ipix_tune.trainer.command.process import Running, last_lines
from ipix_tune.trainer.command.run import LOOK_S, OUTPUT, run_first, run_other
from ipix_tune.trainer.free import SEED, FreeTrainer
from ipix_tune.trainer.interface import Checked, Config, Report, Section, SpaceError
from ipix_tune.trainer.peers import ALONE, Peers
from ipix_tune.trainer.resources import ResourcesConfig, Value
from trainers.common.config_faults import Lines
from trainers.common.config_keys import keys_of
from trainers.common.errors import ConfigError
from trainers.common.home import expanded
from trainers.common.paths import is_folder
from trainers.common.yaml_file import validate

CHECK_S = 600.0
"""Longest time that `check` may take."""


class CommandTrainer(FreeTrainer):
    """See :class:`ipix_tune.trainer.interface.Trainer`."""

    kind = "command"
    joined = False

    def check_section(self, section: Section, *, source: str, lines: Lines) -> None:
        validate(CommandSection, dict(section), source=source, lines=lines)

    def data_of(self, section: Section, values: Mapping[str, Value], choices: Mapping[str, Sequence[Value]]) -> Any:
        data = super().data_of(section, values, choices)
        workdir = str(data.get("workdir") or ".")
        if not names_in(workdir):
            workdir = str(expanded(workdir).absolute())  # trials run elsewhere
        return {**data, "workdir": workdir, "seed_arguments": section.get("seed"), "seed": values.get(SEED, 0)}

    def validated(self, data: Any, *, source: str, lines: Lines) -> Config:
        config = validate(CommandRun, data, source=source, lines=lines)
        known = {*keys_of(config.config), *OWN, *MEETING}
        check_names(texts_of(config), known=known)
        if fault := _fault(config):
            raise ConfigError(f"{source}: {fault}")
        return config

    def check_trial(self, config: Config, *, resources: ResourcesConfig, selects: bool) -> None:
        super().check_trial(config, resources=resources, selects=selects)
        asked = _own(config)
        reaching = ("command", "environment", "seed")
        used = {name for key, text in texts_of(asked) if key.startswith(reaching) for name in names_in(text)}
        if resources.workers > 1 and "master_addr" not in used:
            raise SpaceError(
                f"resources.workers = {resources.workers}: the command is started on so many nodes, and its processes "
                "must find each other: name {nnodes}, {node_rank}, {master_addr} and {master_port} in it or in "
                "trainer.environment, as in torchrun --nnodes {nnodes} --node-rank {node_rank} --master-addr "
                "{master_addr} --master-port {master_port} ...; for a command of one node take resources.workers = 1",
                path=("resources", "workers"),
            )
        if "config" in used:
            return
        for name in keys_of(asked.config):
            if name not in used:
                raise SpaceError(
                    f"{name} reaches the command nowhere: name it there as {{{name}}}, or hand over all settings as a "
                    "file, {config}",
                    path=("trainer", "command"),
                )

    def seeds(self) -> str | None:
        texts = [*words_of(self._section.get("command")), str(self._section.get("seed") or "")]
        texts += [str(self._section.get("seed_arguments") or "")]
        texts += [str(value) for value in (self._section.get("environment") or {}).values()]
        if any("seed" in names_in(text) for text in texts):
            return None
        return (
            "the command takes no seed, so that runs cannot be paired; say how it takes one, such as trainer.seed: "
            '"--seed {seed}"'
        )

    def check(self, config: Config, resources: ResourcesConfig) -> list[str]:
        asked = _own(config)
        self.check_node(config, "")
        lines = [f"command: {shlex.join(argv_of(asked, Path('RUN'), resumed=False))}"]
        if not isinstance(asked.command, str) and (program := shutil.which(str(asked.command[0]))) is not None:
            lines.append(f"program: {program}")
        if resources.workers > 1:
            lines.append(
                f"a trial starts it {resources.workers} times, once a worker, with NODE_RANK 0 to "
                f"{resources.workers - 1}; its metrics are those of NODE_RANK 0"
            )
        if asked.resume is None:
            lines.append("a run that is interrupted starts anew (trainer.resume is not given)")
        if asked.check is None:
            return [*lines, "not checked: its data (trainer.check may name a command that does)"]
        with tempfile.TemporaryDirectory() as folder:
            return [*lines, self._checked(asked, Path(folder))]

    def _checked(self, asked: CommandRun, folder: Path) -> str:
        """The last line of what the user's own check says."""
        assert asked.check is not None
        values, output = values_in(asked, folder, meeting_of(asked)), folder / OUTPUT
        (folder / OWN_FOLDER).mkdir()
        write_settings(asked, folder)
        argv, where = filled_command(asked.check, values), where_of(asked, values)
        with Running(argv, **where, output=output, stop_s=asked.stop_s) as running:
            end = time.monotonic() + CHECK_S
            while (code := running.code()) is None and time.monotonic() < end:
                time.sleep(LOOK_S)
        told = last_lines(output)
        if code != 0:
            ended = "was not over after 10 min" if code is None else f"ended with status {code}"
            raise ConfigError(f"trainer.check: {shlex.join(argv)} {ended}:\n{told}")
        return f"checked: {told.splitlines()[-1]}"

    def plan(self, configs: Sequence[Config], resources: ResourcesConfig, *, measured: bool) -> Checked:
        asked = _own(configs[0])
        found = self.planned(self.check(asked, resources), asked.score)
        if measured:
            found.warnings.append("--dry-run=measure times our own trainer alone; a first trial shows what yours takes")
        return found

    def check_node(self, config: Config, seen: str) -> str:
        asked = _own(config)
        per_run = bool(names_in(asked.workdir or ""))
        workdir = None if per_run else workdir_of(asked, {})
        if workdir is not None and not is_folder(workdir, what="trainer.workdir"):
            raise ConfigError(f"trainer.workdir: {workdir}: there is no such folder")
        if isinstance(asked.command, str):
            return ""
        program = str(asked.command[0]) if asked.command else ""
        there = workdir is not None and (workdir / program).is_file()
        if not program or (shutil.which(program) is None and not there):
            raise ConfigError(f"trainer.command: there is no program {program!r} on this machine's PATH")
        return ""

    def how_to_run(self, config: Config) -> Sequence[str]:
        asked = _own(config)
        lines = [f"run it: {shlex.join(argv_of(asked, Path('RUN'), resumed=False))}"]
        if asked.workdir is not None:
            lines.append(f"in {asked.workdir}")
        used = {name for _, text in texts_of(asked) for name in names_in(text)}
        if used & set(MEETING) - set(asked.config):
            lines.append(
                "NNODES nodes, this one NODE_RANK (from 0) with GPUS; node 0 is MASTER_ADDR, MASTER_PORT there"
            )
        if "config" in used:
            lines.append(f"RUN/{CONFIG_FILE}.{asked.config_format} holds what stands below config")
        return lines

    def run(self, config: Config, folder: Path, report: Report, peers: Peers = ALONE) -> None:
        asked = _own(config)
        if peers.rank == 0:
            run_first(asked, folder, report, peers)
        else:
            run_other(asked, folder, peers)


def _fault(config: CommandRun) -> str | None:
    """Why such a command cannot be run many times, beside one another and again."""
    if taken := [name for name in config.config if name in OWN]:
        return f"trainer.config.{taken[0]}: the study fills in {{{taken[0]}}} itself; give the setting another name"
    place, workdir = config.metrics.place, config.workdir or ""
    if place and "run_dir" not in names_in(place) and (Path(place).is_absolute() or "run_dir" not in names_in(workdir)):
        return (
            f"trainer.metrics: {place} would be the same for all runs; have the command write below {{run_dir}}, and "
            "name that place here"
        )
    for one in config.checkpoints:
        if Path(one).is_absolute() or ".." in Path(one).parts or "{" in one:
            return f"trainer.checkpoints: {one}: give a path or pattern below {{run_dir}}, such as checkpoints/*.pth"
    pattern = config.metrics.pattern
    if pattern is not None and config.metrics.epoch not in pattern and config.resume is not None:
        return "trainer.resume with a pattern for the score alone: epochs could not be told apart; add one for them"
    if not isinstance(config.command, str):
        return None
    line = config.command.strip()
    if (config.seed_arguments or config.resume) and set(line) & set(";|&\n"):
        return (
            "trainer.seed and trainer.resume are added behind the line, which has several commands: name {seed} where "
            "it belongs, or give a list of program and arguments"
        )
    if (inside := quoted_names(line)) is not None:
        return f"trainer.command: {{{inside}}} stands within quotes; a value is quoted already, so write it outside"
    return None


def _own(config: Config) -> CommandRun:
    assert isinstance(config, CommandRun)
    return config
