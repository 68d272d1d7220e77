"""`python -m trainers.train cfg.yaml`, alone or under torchrun: one training run from a config file."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trainers.cli.dry_run import DryRun, WithDryRun
from trainers.cli.progress import ProgressLine
from trainers.cli.train_options import File, Overrides, RunDir, Seeds
from trainers.common.base_files import resolved
from trainers.common.config_keys import set_dotted
from trainers.common.errors import ConfigError, TrainingError, UserError
from trainers.common.object_uri import is_uri, without_query
from trainers.common.output import print_any_letters
from trainers.common.shipped import found
from trainers.common.yaml_file import parse_value, read, validate
from trainers.config import TrainConfig
from trainers.data.check import check_data
from trainers.data.describe import data_lines
from trainers.data.open import open_data
from trainers.inference.model_card import write_card, write_cards
from trainers.interface.epoch_record import Callback
from trainers.loop.fit import TrainResult, fit
from trainers.loop.labelled_loss import weight_lines
from trainers.loop.memory_plan import memory_lines, this_place
from trainers.loop.precision import precision_lines_here
from trainers.loop.run_summary import closing_lines, named_classes
from trainers.loop.seeds import planned, summary, train_in_turn
from trainers.loop.together import by_first

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(cls=WithDryRun)
def main(
    file: File,
    run_dir: RunDir = None,
    overrides: Overrides = None,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Resume from the checkpoint in the run's folder.")
    ] = False,
    seeds: Seeds = None,
    dry_run: Annotated[
        DryRun | None,
        typer.Option(help="Check the data and stop; --dry-run=measure also says what memory a training takes."),
    ] = None,
) -> None:
    """Train one config."""
    config = load(file, overrides or [])
    if dry_run is not None:
        for text in dry_run_lines(config, measured=dry_run is DryRun.MEASURE):
            typer.echo(text)
        return
    if seeds is None:
        folder = folder_of(run_dir, file=file, seed=config.seed)
        with process_group(config):
            train(config, folder, resume=resume)
        return
    runs = planned(config, seeds=seeds, folder=folders_of(run_dir, file=file), resume=resume)
    say = typer.echo if int(os.environ.get("RANK", "0")) == 0 else _silent
    with process_group(config):
        done = train_in_turn(runs, lambda one, folder: train(one, folder, resume=resume).records, say=say)
    for text in summary(done):
        say(text)
    if int(os.environ.get("RANK", "0")) == 0:
        write_cards(done)
    if any(run.error for run in done):
        raise typer.Exit(1)


def _silent(text: str) -> None:
    """Print nothing: of a training's processes only the first prints."""


def load(file: Path, overrides: list[str]) -> TrainConfig:
    """The config in ``file`` with ``key=value`` overrides laid over it.

    Raises:
        ConfigError: the file or an override is wrong.
    """
    file = found(file)
    data, places = resolved(*read(file), file=file)
    for override in overrides:
        key, equals, text = override.partition("=")
        path = tuple(key.strip().split("."))
        if not equals or not all(path):
            raise ConfigError(f"--set {override}: write --set dotted.key=value, such as --set seed=1")
        set_dotted(data, key.strip(), parse_value(text, source=f"--set {override}"))
        places = {where: line for where, line in places.items() if where[: len(path)] != path}
        for end in range(1, len(path)):
            places.setdefault(path[:end], f"--set {override}")
        places[path] = f"--set {override}"
    return validate(TrainConfig, data, source=str(file), lines=places)


def folder_of(run_dir: str | None, *, file: Path, seed: int) -> Path:
    """The run's folder: as asked, else runs/<name of the file>-seed<seed>.

    Raises:
        ConfigError: it was asked for in object storage, where a run cannot write.
    """
    if run_dir is not None and is_uri(run_dir):
        raise ConfigError(
            f"--run-dir {without_query(run_dir)}: a run writes into a folder, not into object storage; give a path "
            "that every process sees, and copy the folder afterwards"
        )
    return Path("runs") / f"{file.stem}-seed{seed}" if run_dir is None else Path(run_dir)


def folders_of(run_dir: str | None, *, file: Path) -> Callable[[int], Path]:
    """The folder of each of several seeds: runs/<name of the file>-seed<seed>, or seed<seed> in the one asked for.

    Raises:
        ConfigError: it was asked for in object storage.
    """
    return lambda seed: folder_of(run_dir, file=file, seed=seed) / ("" if run_dir is None else f"seed{seed}")


def train(
    config: TrainConfig, run_dir: Path, *, resume: bool = True, callbacks: Sequence[Callback] = ()
) -> TrainResult:
    """Train with progress on the console, and say at the end what came out.

    Args:
        config: of the training.
        run_dir: its folder.
        resume: go on from what is there.
        callbacks: told of every epoch besides the console.

    Raises:
        ConfigError: the folder holds a run and ``resume`` was not asked for.
        typer.Exit: with code 130 after Ctrl-C.
    """
    first = int(os.environ.get("RANK", "0")) == 0
    if not resume and (run_dir / "checkpoints").exists():
        raise ConfigError(f"{run_dir} holds a run: go on with --resume, or give another --run-dir")
    console = Console(markup=False, emoji=False)

    def say(lines: Sequence[str]) -> None:
        for text in lines if first else ():
            console.print(text, highlight=False, soft_wrap=True, markup=False)

    by_first(lambda: say(describe_data(config)))
    try:
        with ProgressLine(
            console, epochs=config.schedule.epochs, shown=first, classes=named_classes(config)
        ) as progress:
            result = fit(config, run_dir, callbacks=[progress.epoch, *callbacks], on_step=progress.step, on_start=say)
    except KeyboardInterrupt:
        if first:
            saved = (run_dir / "checkpoints").exists()
            hint = "go on with the same command and --resume" if saved else "no epoch is saved yet; start it again"
            typer.echo(f"interrupted: {run_dir}: {hint}", err=True)
        raise typer.Exit(130) from None
    if first:
        for text in closing_lines(config, result.records):
            console.print(text, highlight=False, soft_wrap=True, markup=False)
        console.print(f"run: {run_dir}", highlight=False, soft_wrap=True, markup=False)
        write_card(run_dir)
    return result


def dry_run_lines(config: TrainConfig, *, measured: bool) -> list[str]:
    """What the run will read, and where measured what it takes of the device's memory.

    Raises:
        UserError: the data cannot be used.
    """
    lines = [*describe_data(config), *precision_lines_here(config.precision)]
    if not measured:
        return lines
    data = open_data(config.data, final=config.evaluation.final)
    return lines + [f"memory: {text}" for text in memory_lines(config, data, place=this_place(config))]


def describe_data(config: TrainConfig) -> list[str]:
    """What the run will read, checked as `--dry-run` does; opens and decodes it.

    Raises:
        UserError: the data cannot be used.
    """
    data = open_data(config.data, final=config.evaluation.final)
    return [*data_lines(config.data, data, check_data(data, config.data)), *weight_lines(config, data)]


@contextmanager
def process_group(config: TrainConfig) -> Iterator[None]:
    """torch.distributed, where torchrun started this process. After an error NCCL's group is left as it is: taking it
    down waits for collectives in which this process will not take part, while torchrun ends the others once this one
    has ended."""
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    import torch
    import torch.distributed as dist

    cuda = config.precision.device != "cpu" and torch.cuda.is_available()
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield
    except BaseException:
        if not cuda:
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def run() -> None:
    """Entry point: a user's mistake ends with code 2, a loss that is not finite with 1, Ctrl-C with 130."""
    print_any_letters()
    try:
        app()
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except TrainingError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    run()
