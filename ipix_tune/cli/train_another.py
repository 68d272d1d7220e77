"""`ipix-tune train` for a config of a trainer that is not ours: an exported command or function."""

from pathlib import Path
from typing import Any

import typer

from ipix_tune.trainer.choose import trainer_of
from ipix_tune.trainer.command.process import CommandFailed
from ipix_tune.trainer.free import FreeConfig
from ipix_tune.trainer.interface import Epoch
from trainers.cli.train import folder_of, folders_of
from trainers.common.config_keys import set_dotted
from trainers.common.errors import ConfigError, TrainingError
from trainers.common.yaml_file import parse_value, read
from trainers.loop.seeds import mean_of


def is_anothers(file: Path) -> bool:
    """Whether a file is a config of such a trainer."""
    data, _ = read(file)
    return isinstance(data, dict) and ("command" in data or "function" in data)


def load_another(file: Path, overrides: list[str]) -> FreeConfig:
    """The config in a file, with overrides laid over it by their whole path, such as config.lr=0.1 or seed=3.

    Raises:
        ConfigError: with file, line, key and what is allowed.
    """
    data, lines = read(file)
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override}: write --set config.<key>=value, or seed=1")
        set_dotted(data, name, parse_value(text, source=f"--set {override}"))
    config = trainer_of(data).validated(data, source=str(file), lines=lines)
    assert isinstance(config, FreeConfig)
    return config


def train_another(file: Path, overrides: list[str], *, run_dir: str | None, resume: bool, seeds: int | None) -> None:
    """Run it, with so many seeds in turn.

    Raises:
        ConfigError: a folder holds a run and ``resume`` was not asked for, or the trainer takes no seed.
        CommandFailed: the one run that was asked for failed.
    """
    config = load_another(file, overrides)
    trainer = trainer_of(config.model_dump(mode="json"))
    if seeds is not None and seeds > 1 and (why := trainer.seeds()) is not None:
        raise ConfigError(f"--seeds {seeds}: {why}")
    place = folders_of(run_dir, file=file) if seeds is not None else None
    folders = [
        folder_of(run_dir, file=file, seed=config.seed) if place is None else place(config.seed + number)
        for number in range(seeds or 1)
    ]
    if begun := [str(folder) for folder in folders if folder.exists() and not resume]:
        raise ConfigError(f"{', '.join(begun)}: holds a run; go on with --resume, or give another --run-dir")
    scores: dict[int, float] = {}
    for number, folder in enumerate(folders):
        last: dict[str, Any] = {}

        def tell(epoch: Epoch, last: dict[str, Any] = last) -> bool:
            score = epoch.metrics.get(config.score)
            typer.echo(
                f"epoch {epoch.epoch}/{config.epochs}" + ("" if score is None else f"  {config.score} {score:.4g}")
            )
            last.clear()
            last.update(epoch.metrics)
            return True

        try:
            trainer.run(trainer.with_seed(config, number, first=config.seed), folder.absolute(), tell)
        except (CommandFailed, ConfigError, TrainingError) as error:
            if seeds is None:
                raise ConfigError(str(error)) from None
            typer.echo(f"seed {config.seed + number} failed: {error}")
            continue
        typer.echo(f"run: {folder}")
        if config.score in last:
            scores[config.seed + number] = last[config.score]
    if seeds is None:
        return
    typer.echo(f"{config.score}, last epoch:")
    for number in range(seeds):
        seed = config.seed + number
        typer.echo(f"  seed {seed}: " + (f"{scores[seed]:.4g}" if seed in scores else "failed"))
    if len(scores) > 1:
        mean = mean_of(list(scores.values()))
        typer.echo(f"  mean {mean.value:.4g} (95 % t interval {mean.low:.4g} to {mean.high:.4g}, n = {mean.runs} runs)")
    if len(scores) < seeds:
        raise typer.Exit(1)
