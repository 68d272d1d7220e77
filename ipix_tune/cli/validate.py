"""`ipix-tune validate FILE`: spelling, types and ranges of a study file or a training config; starts nothing."""

from pathlib import Path
from typing import Annotated

import typer

from ipix_tune.cli.exit_codes import run
from trainers.common.errors import ConfigError

STUDY_KEYS = {"trainer", "search", "budget"}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def validate(
    file: Annotated[Path, typer.Argument(help="A study file or a training config, YAML.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a value of a study file; repeatable."),
    ] = None,
) -> None:
    """Check a study file or a training config."""
    for line in check_file(file, overrides or []):
        typer.echo(line)


def check_file(file: Path, overrides: list[str]) -> list[str]:
    """What was checked, a line each.

    Raises:
        ConfigError: what is wrong, with file and line.
    """
    from trainers.common.shipped import found
    from trainers.common.yaml_file import read

    file = found(file)
    data, _ = read(file)
    if not isinstance(data, dict):
        raise ConfigError(f"{file}: neither a study file nor a training config: it holds no keys")
    return _study(file, overrides) if STUDY_KEYS & set(data) else _training(file, overrides)


def _study(file: Path, overrides: list[str]) -> list[str]:
    from ipix_tune.config.dead_dimensions import check_dead_dimensions, dead_fixed_keys
    from ipix_tune.config.kinds_of_trial import check_kinds
    from ipix_tune.config.load_study import load
    from ipix_tune.config.search_space import SearchSpace
    from ipix_tune.config.validate_space import CORNERS
    from trainers.common.config_keys import get_dotted, keys_of
    from trainers.common.yaml_file import read

    said: list[str] = []
    study = load(file, overrides, say=said.append)
    space, (data, _) = SearchSpace(study), read(file)
    check_kinds(study, space)
    given = [name for name in keys_of(data.get("trainer") or {}) if get_dotted(study.trainer, name) is not None]
    return [
        f"{file}: study {study.name} is valid",
        f"checked: keys and types; {len(study.search)} search dimensions against the {space.trainer.kind}, at every "
        f"choice, both ends of every range and {CORNERS} corners of the space; {len(study.points)} points",
        *said,
        "not checked: data paths and the cluster (ipix-tune sweep --dry-run does)",
        *(f"warning: {line}" for line in check_dead_dimensions(space) + dead_fixed_keys(space, given)),
    ]


def _training(file: Path, overrides: list[str]) -> list[str]:
    from ipix_tune.cli.train_another import is_anothers, load_another
    from trainers.cli.train import load
    from trainers.common.config_keys import keys_of
    from trainers.common.yaml_file import read
    from trainers.dead_keys import dead_keys, why_dead
    from trainers.loop.network_check import check_network

    if overrides:
        raise ConfigError(f"{file} is a training config; --set belongs to study files")
    if is_anothers(file):
        other = load_another(file, [])
        return [
            f"{file}: the config is valid ({other.epochs} epochs, scored by {other.score})",
            "checked: keys and types",
        ]
    config = load(file, [])
    check_network(config)
    dead, given = dead_keys(config), keys_of(read(file)[0])
    return [
        f"{file}: training config is valid ({config.method.name} on {config.data.name}, "
        f"{config.schedule.epochs} epochs)",
        "checked: keys, types and ranges",
        "not checked: data paths (ipix-tune train does, before it trains)",
        *(f"warning: {name} has no effect: {why_dead(dead[name], config)}" for name in given if name in dead),
    ]


if __name__ == "__main__":
    run(app)
