"""A command of the user's as the trainer of a study."""

import json
import shlex
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ipix_tune.trainer import told_checkpoints
from ipix_tune.trainer.command.command_config import Command, CommandRun, CommandSection
from ipix_tune.trainer.command.metrics_source import Epochs
from ipix_tune.trainer.command.placeholders import OWN, check_names, filled, names_in, quoted_names, values_of
from ipix_tune.trainer.command.process import CommandFailed, Running, last_lines, wait_for_earlier
from ipix_tune.trainer.free import SEED, FreeTrainer
from ipix_tune.trainer.interface import Checked, Config, Epoch, Report, Section, SpaceError
from ipix_tune.trainer.resources import ResourcesConfig, Value
from ipix_tune.trainer.told_epochs import ToldEpochs
from trainers.common.errors import ConfigError
from trainers.common.yaml_file import Lines, dump_data, keys_of, validate

LOOK_S = 0.25
"""How often a running command's metrics are looked at."""
OUTPUT, OWN_FOLDER, CONFIG_FILE, STARTED = "output.log", "run", "config", "started"
"""In a run's folder: what the command prints; the folder that it is given; the file of its settings; a mark that it was
begun."""
LONGER_S = 30.0
"""How much longer than `stop_s` an earlier start of a run is waited for."""
CHECK_S = 600.0
"""Longest time that `check` may take."""


class CommandTrainer(FreeTrainer):
    """See :class:`ipix_tune.trainer.interface.Trainer`."""

    kind = "command"

    def check_section(self, section: Section, *, source: str, lines: Lines) -> None:
        validate(CommandSection, dict(section), source=source, lines=lines)

    def data_of(self, section: Section, values: Mapping[str, Value], choices: Mapping[str, Sequence[Value]]) -> Any:
        data = super().data_of(section, values, choices)
        workdir = str(data.get("workdir") or ".")
        if not names_in(workdir):
            workdir = str(Path(workdir).expanduser().absolute())  # trials run elsewhere
        return {**data, "workdir": workdir, "seed_arguments": section.get("seed"), "seed": values.get(SEED, 0)}

    def validated(self, data: Any, *, source: str, lines: Lines) -> Config:
        config = validate(CommandRun, data, source=source, lines=lines)
        known = {*keys_of(config.config), *OWN}
        check_names(_texts(config), known=known)
        if fault := _fault(config):
            raise ConfigError(f"{source}: {fault}")
        return config

    def check_trial(self, config: Config, *, resources: ResourcesConfig, selects: bool) -> None:
        super().check_trial(config, resources=resources, selects=selects)
        asked = _own(config)
        reaching = ("command", "environment", "seed")
        used = {name for key, text in _texts(asked) if key.startswith(reaching) for name in names_in(text)}
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
        texts = [*_words(self._section.get("command")), str(self._section.get("seed") or "")]
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
        if asked.resume is None:
            lines.append("a run that is interrupted starts anew (trainer.resume is not given)")
        if asked.check is None:
            return [*lines, "not checked: its data (trainer.check may name a command that does)"]
        with tempfile.TemporaryDirectory() as folder:
            return [*lines, self._checked(asked, Path(folder))]

    def _checked(self, asked: CommandRun, folder: Path) -> str:
        """The last line of what the user's own check says."""
        assert asked.check is not None
        values, output = _values(asked, folder), folder / OUTPUT
        (folder / OWN_FOLDER).mkdir()
        _write_settings(asked, folder)
        argv, where = _argv(asked.check, values), self._where(asked, values)
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
        workdir = None if per_run else _workdir(asked, {})
        if workdir is not None and not workdir.is_dir():
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
        if "config" in {name for _, text in _texts(asked) for name in names_in(text)}:
            lines.append(f"RUN/{CONFIG_FILE}.{asked.config_format} holds what stands below config")
        return lines

    def run(self, config: Config, folder: Path, report: Report) -> None:
        asked = _own(config)
        told = ToldEpochs(folder, report)
        begun = (folder / STARTED).exists()
        if begun and told.last >= asked.epochs:
            told.again()
            return
        wait_for_earlier(folder / OUTPUT, seconds=asked.stop_s + LONGER_S)
        resumed = begun and asked.resume is not None and told.last > 0
        if begun and not resumed:
            _aside(folder)
        own = folder / OWN_FOLDER
        own.mkdir(parents=True, exist_ok=True)
        (folder / STARTED).touch()
        told_checkpoints.tell(folder, [f"{OWN_FOLDER}/{pattern}" for pattern in asked.checkpoints])
        if not told.again():
            return
        values = _values(asked, folder)
        output = folder / OUTPUT
        place = Path(filled(asked.metrics.place, values)).expanduser()
        workdir = _workdir(asked, values)
        if workdir is not None and not place.is_absolute():
            place = workdir / place
        epochs = Epochs(asked.metrics, place, output, score=asked.score)
        _write_settings(asked, folder)
        argv = argv_of(asked, folder, resumed=resumed)
        began = latest = time.monotonic()
        with Running(argv, **self._where(asked, values), output=output, stop_s=asked.stop_s) as running:
            while True:
                code = running.code()
                for epoch, metrics in epochs.new(over=code is not None):
                    if epoch > asked.epochs:
                        raise ConfigError(
                            f"the command reported epoch {epoch}, and trainer.epochs is {asked.epochs}: hand it its "
                            "length as {epochs}; see also trainer.metrics.rows_per_epoch"
                        )
                    took, latest = {"time/epoch_s": time.monotonic() - latest}, time.monotonic()
                    if not told.tell(Epoch(epoch=epoch, metrics={**took, **metrics}, saved=True)):
                        return
                if code is not None:
                    break
                if asked.timeout_s is not None and time.monotonic() - began > asked.timeout_s:
                    raise ConfigError(_told(output, f"it was not over after {asked.timeout_s:g} s (trainer.timeout_s)"))
                time.sleep(LOOK_S)
        if code != 0 and told.last < asked.epochs:
            raise CommandFailed(_told(output, f"the command ended with status {code}"))
        if told.last == 0:
            where = f" ({place})" if asked.metrics.place else ""
            why = f"the command ended well and reported no epoch in {asked.metrics.described}{where}"
            raise ConfigError(_told(output, why))
        if told.last < asked.epochs:
            raise ConfigError(
                f"the command ended after epoch {told.last} of {asked.epochs} (trainer.epochs); hand it its length as "
                "{epochs}, or give the length that it has"
            )

    def _where(self, config: CommandRun, values: Mapping[str, Any]) -> dict[str, Any]:
        environment = {name: filled(text, values) for name, text in config.environment.items()}
        return {"workdir": _workdir(config, values), "environment": environment}


def argv_of(config: CommandRun, folder: Path, *, resumed: bool) -> list[str]:
    """Program and arguments of a run in this folder."""
    values = _values(config, folder)
    argv = _argv(config.command, values)
    more = [config.seed_arguments] if config.seed_arguments else []
    more += [config.resume] if resumed and config.resume else []
    if isinstance(config.command, str):
        argv[-1] = argv[-1].rstrip() + "".join(f" {filled(text, values, quoted=True)}" for text in more)
        return argv
    return [*argv, *(filled(word, values) for text in more for word in shlex.split(text))]


def _argv(command: Command, values: Mapping[str, Any]) -> list[str]:
    if isinstance(command, str):
        return ["/bin/sh", "-c", filled(command, values, quoted=True)]
    return [filled(str(word), values) for word in command]


def _values(config: CommandRun, folder: Path) -> dict[str, Any]:
    own = {"epochs": config.epochs, "seed": config.seed, "run_dir": str(folder / OWN_FOLDER)}
    return values_of(config.config, {**own, "config": str(_config_file(config, folder))})


def _write_settings(config: CommandRun, folder: Path) -> None:
    text = dump_data(config.config) if config.config_format == "yaml" else json.dumps(config.config)
    _config_file(config, folder).write_text(text)


def _told(output: Path, why: str) -> str:
    """What a command printed last, and why that is an error: in the last line, which tables show."""
    lines = last_lines(output)
    return f"the command printed:\n{lines}\n{why}; its last line: {lines.splitlines()[-1]}"


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


def _config_file(config: CommandRun, folder: Path) -> Path:
    return folder / f"{CONFIG_FILE}.{config.config_format}"


def _workdir(config: CommandRun, values: Mapping[str, Any]) -> Path | None:
    if config.workdir is None:
        return None
    return Path(filled(config.workdir, values)).expanduser().absolute()


def _texts(config: CommandRun) -> list[tuple[str, str]]:
    """The keys of the section that may hold names, and their texts."""
    found = [("command", text) for text in _words(config.command)]
    found += [(f"environment.{name}", text) for name, text in config.environment.items()]
    found += [("check", text) for text in _words(config.check)]
    found += [("metrics", config.metrics.place), ("workdir", config.workdir or "")]
    found += [(name, text) for name, text in (("seed", config.seed_arguments), ("resume", config.resume)) if text]
    return found


def _words(command: object) -> list[str]:
    if command is None:
        return []
    return [str(word) for word in command] if isinstance(command, list) else [str(command)]


def _aside(folder: Path) -> None:
    """Move what an earlier start left out of the way."""
    number = 1 + sum(1 for _ in folder.glob("earlier-*"))
    place = folder / f"earlier-{number}"
    place.mkdir()
    for name in (OWN_FOLDER, OUTPUT):
        if (folder / name).exists():
            (folder / name).rename(place / name)


def _own(config: Config) -> CommandRun:
    assert isinstance(config, CommandRun)
    return config
