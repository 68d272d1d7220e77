"""`ipix-tune train CONFIG`: one training run, in this process or spread over Ray Train's workers."""

from pathlib import Path
from typing import Annotated

import typer

from ipix_tune.console import run
from trainers.errors import ConfigError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def train(
    file: Annotated[Path, typer.Argument(help="A training config, such as an exported best.yaml.")],
    run_dir: Annotated[
        Path | None, typer.Option(help="Folder of the run; default: runs/<name of the file>-seed<seed>.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Laid over the file, such as seed=1.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the folder's checkpoint.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes, under Ray Train; none: this one.")] = None,
    cpus_per_worker: Annotated[float, typer.Option(min=0.1)] = 1,
    gpus_per_worker: Annotated[float, typer.Option(min=0)] = 0,
    address: Annotated[str | None, typer.Option(help="Ray cluster, or auto; none: a Ray on this machine.")] = None,
) -> None:
    """Train one config, here or with --workers under Ray Train."""
    if workers is None and (gpus_per_worker or address is not None):
        raise ConfigError("--gpus-per-worker and --address belong to Ray Train: give --workers as well")
    from trainers.train import load
    from trainers.train import train as train_here

    config = load(file, overrides or [])
    folder = run_dir or Path("runs") / f"{file.stem}-seed{config.seed}"
    if workers is None:
        train_here(config, folder, resume=resume)
        return
    if not resume and (folder / "checkpoints").exists():
        raise ConfigError(f"{folder} holds a run: go on with --resume, or give another --run-dir")
    from ipix_tune.trial import train_on_ray

    train_on_ray(
        config,
        folder.absolute(),
        workers=workers,
        cpus_per_worker=cpus_per_worker,
        gpus_per_worker=gpus_per_worker,
        address=address,
    )
    typer.echo(f"run: {folder}")


if __name__ == "__main__":
    run(app)
