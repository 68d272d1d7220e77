"""`ipix-tune train CONFIG`: one training run, in this process or spread over Ray Train's workers."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ipix_tune.cli.exit_codes import run
from ipix_tune.trainer.interface import Config
from trainers.cli.progress import line
from trainers.cli.train_options import File, Overrides, RunDir, Seeds
from trainers.common.errors import ConfigError
from trainers.common.yaml_file import validate
from trainers.interface.epoch_record import METRICS, EpochRecord, read_records
from trainers.loop.run_summary import closing_lines, named_classes

LOOK_EVERY_S = 0.5

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def train(
    file: File,
    run_dir: RunDir = None,
    overrides: Overrides = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume from the checkpoint in the run's folder.")] = False,
    seeds: Seeds = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of processes, started by Ray Train. Default: train in this process."),
    ] = None,
    cpus_per_worker: Annotated[float, typer.Option(min=0.1)] = 1,
    gpus_per_worker: Annotated[float, typer.Option(min=0)] = 0,
    address: Annotated[
        str | None, typer.Option(help="HOST:PORT of a Ray cluster, or auto. Default: a Ray started on this machine.")
    ] = None,
    wandb: Annotated[
        str, typer.Option(help="W&B: offline (to disk, no account), online or disabled; WANDB_MODE takes precedence.")
    ] = "offline",
    wandb_project: Annotated[str | None, typer.Option(help="W&B project; default: ipix-tune.")] = None,
    wandb_entity: Annotated[str | None, typer.Option(help="W&B entity.")] = None,
    wandb_weights: Annotated[
        bool, typer.Option("--wandb-weights", help="Keep the weights as a W&B artifact too.")
    ] = False,
) -> None:
    """Train one config, here or with --workers under Ray Train."""
    if workers is None and (gpus_per_worker or address is not None):
        raise ConfigError("--gpus-per-worker and --address belong to Ray Train: give --workers as well")
    from ipix_tune.cli.train_another import is_anothers, train_another

    if is_anothers(file):
        if workers is not None:
            raise ConfigError("--workers belongs to our own trainer; a command starts its processes itself")
        train_another(file, overrides or [], run_dir=run_dir, resume=resume, seeds=seeds)
        return
    from ipix_tune.config.study_config import LoggingConfig
    from ipix_tune.tracking.final_run import FinalRun, said
    from ipix_tune.tracking.shell_environment import wandb_mode
    from ipix_tune.trainer.own.final_recipe import compared
    from ipix_tune.trainer.own.own_config import own_config
    from trainers.cli.train import describe_data, folder_of, folders_of, load
    from trainers.cli.train import train as train_here
    from trainers.inference.model_card import write_card, write_cards
    from trainers.loop.seeds import planned, summary, train_in_turn

    given = {"mode": wandb, "project": wandb_project, "entity": wandb_entity}
    source = "--wandb, --wandb-project, --wandb-entity"
    logging = validate(LoggingConfig, {k: v for k, v in given.items() if v is not None}, source=source)
    wandb_mode(logging)  # says what is wrong with WANDB_MODE before anything is trained

    def one(config: Config, folder: Path) -> Sequence[EpochRecord]:
        processes = workers or 1
        with FinalRun(folder, config, logging, group=file.stem, weights=wandb_weights, world_size=processes) as logged:
            return trained(config, folder, logged)

    def trained(given: Config, folder: Path, logged: FinalRun) -> Sequence[EpochRecord]:
        config = own_config(given)
        if workers is None:
            return train_here(config, folder, resume=resume, callbacks=[logged.epoch]).records
        if not resume and (folder / "checkpoints").exists():
            raise ConfigError(f"{folder} holds a run: go on with --resume, or give another --run-dir")
        from ipix_tune.execution.trainable import train_on_ray

        for text in describe_data(config):
            typer.echo(text)
        for record in read_records(folder / METRICS):  # of a run that goes on
            logged.epoch(record)
        classes = named_classes(config)
        with _following(folder, epochs=config.schedule.epochs, classes=classes, told=logged.epoch):
            train_on_ray(
                config,
                folder.absolute(),
                workers=workers,
                cpus_per_worker=cpus_per_worker,
                gpus_per_worker=gpus_per_worker,
                address=address,
            )
        records = read_records(folder / METRICS)
        for text in [*closing_lines(config, records), f"run: {folder}"]:
            typer.echo(text)
        write_card(folder)
        return records

    config = load(file, overrides or [])
    if seeds is None:
        folder = folder_of(run_dir, file=file, seed=config.seed)
        one(config, folder)
        for text in said([folder]):
            typer.echo(text)
        return
    runs = planned(config, seeds=seeds, folder=folders_of(run_dir, file=file), resume=resume)
    done = train_in_turn(runs, one, say=typer.echo)
    for text in [*summary(done), *compared(config.provenance, done)]:
        typer.echo(text)
    write_cards(done)
    for text in said([one_run.folder for one_run in done]):
        typer.echo(text)
    if any(run.error for run in done):
        raise typer.Exit(1)


@contextmanager
def _following(
    folder: Path, *, epochs: int, classes: Sequence[str] | None, told: Callable[[EpochRecord], object]
) -> Iterator[None]:
    """Print what workers, wherever they are, write into the run's folder: how they load the data, and the epochs, which
    ``told`` is told too."""
    seen = len(read_records(folder / METRICS))
    loading = _loading(folder)
    done = threading.Event()

    def show() -> None:
        nonlocal seen, loading
        if (now := _loading(folder)) != loading:
            loading = now
            for text in now[1]:
                typer.echo(text)
        for record in read_records(folder / METRICS)[seen:]:
            typer.echo(line(record, epochs=epochs, classes=classes))
            told(record)
            seen = record.epoch

    def follow() -> None:
        while not done.wait(LOOK_EVERY_S):
            show()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        show()


def _loading(folder: Path) -> tuple[int, tuple[str, ...]]:
    """When a run's `environment.json` was written, and what it says of how the data are loaded."""
    path = folder / "environment.json"
    try:
        return path.stat().st_mtime_ns, tuple(json.loads(path.read_text()).get("loading", ()))
    except (OSError, ValueError):
        return 0, ()


if __name__ == "__main__":
    run(app)
