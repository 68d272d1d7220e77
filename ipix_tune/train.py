"""`ipix-tune train CONFIG`: one training run, in this process or spread over Ray Train's workers."""

from pathlib import Path
from typing import Annotated

import typer

from ipix_tune.console import run
from trainers.errors import UserError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def train(
    file: Annotated[Path, typer.Argument(help="A training config, such as an exported one.")],
    run_dir: Annotated[Path | None, typer.Option(help="Folder of the run; default: runs/<name of the file>.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes, through Ray Train; none: here.")] = None,
    cpus_per_worker: Annotated[float, typer.Option(min=0.1)] = 1,
    gpus_per_worker: Annotated[float, typer.Option(min=0)] = 0,
    address: Annotated[str | None, typer.Option(help="Ray cluster, or auto; none: a Ray on this machine.")] = None,
) -> None:
    """Train one config. A run folder that exists is taken up where it stopped."""
    from trainers.config import TrainConfig
    from trainers.yamlfile import load

    if workers is None and (gpus_per_worker or address is not None):
        raise UserError("--gpus-per-worker and --address belong to Ray Train: give --workers as well")
    config = load(file, TrainConfig)
    folder = run_dir or Path("runs") / file.stem
    if workers is None:
        from trainers.train import train as train_here

        train_here(config, folder)
        return
    from ipix_tune.trial import train_on_ray

    train_on_ray(
        config,
        folder.absolute(),
        workers=workers,
        cpus_per_worker=cpus_per_worker,
        gpus_per_worker=gpus_per_worker,
        address=address,
    )


if __name__ == "__main__":
    run(app)
