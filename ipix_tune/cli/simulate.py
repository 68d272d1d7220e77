"""`ipix-tune simulate STUDY.yaml --curves ...`: a study on recorded or made-up learning curves, in virtual time."""

import time
from pathlib import Path
from typing import Annotated

import typer

from ipix_tune.cli.exit_codes import run
from ipix_tune.study.simulation.simulator import Simulation, SimulationError, describe, write

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def simulate(
    file: Annotated[Path, typer.Argument(help="A study file, such as search_spaces/voc.yaml.")],
    curves: Annotated[
        str, typer.Option(help="A study's folder with tables/, or a family: power, exponential, hpobench-car, ...")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a value of the file, such as scheduler.grace_epochs=5; repeatable.",
        ),
    ] = None,
    concurrent: Annotated[
        int | None,
        typer.Option(min=1, help="Number of trials that run at once. Default: resources.concurrent of the study."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="With a family of curves: the number of one of its members.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Parquet file to write: the best score so far, over time.")] = None,
) -> None:
    """Run a study on learning curves instead of trainings."""
    from ipix_tune.config.load_study import load
    from ipix_tune.study.plan import make_plan
    from ipix_tune.study.simulation.curves import curves_of

    study = load(file, overrides or [])
    at_once = concurrent or study.resources.concurrent
    if at_once is None:
        raise SimulationError(
            f"{file}: resources.concurrent is not set, so how many trials run at once is not known; give --concurrent"
        )
    plan = make_plan(study)
    source = curves_of(curves, study, epochs=plan.max_epochs, seed=seed)
    if source.search is not None:
        study = study.model_copy(update={"search": source.search, "points": []})
        typer.echo(f"{curves} has a search space of its own, taken instead of the study's: {', '.join(source.search)}")
    began = time.perf_counter()
    outcome = Simulation(study, source, max_epochs=plan.max_epochs, concurrent=at_once).run()
    took = time.perf_counter() - began
    for line in describe(outcome, max_epochs=plan.max_epochs):
        typer.echo(line)
    typer.echo(f"simulated in {took:.1f} s, {len(outcome.entries) / took:.0f} trials a second")
    if out is not None:
        write(outcome, out)
        typer.echo(f"incumbent over time: {out}")


if __name__ == "__main__":
    run(app)
