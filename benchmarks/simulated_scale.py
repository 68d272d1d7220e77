"""What a long search costs the driver: processor time and memory of simulated studies, by number of trials.

`python -m benchmarks.simulated_scale --sampler tpe --trials 500,1500`. The space is that of `voc.yaml`, the curves are
those of the family power, 64 trials run at once. Nothing trains: all that is counted is the record in
memory, the sampler, the scheduler and the curves' formula.
"""

import resource
import time
from typing import Annotated

import typer

from benchmarks.helpers.command_line import run_command
from benchmarks.helpers.search_problems import EPOCHS, problem, search_of, study_of
from ipix_tune.study.simulation.simulator import Simulation

AT_ONCE = 64


def main(
    sampler: Annotated[str, typer.Option(help="As in a study file.")] = "random",
    scheduler: Annotated[str, typer.Option(help="As in a study file.")] = "asha",
    trials: Annotated[str, typer.Option(help="Numbers of trials, comma-separated.")] = "1000,10000",
) -> None:
    """Print a line for every number of trials."""
    for count in map(int, trials.split(",")):
        curves = problem("power", 0)
        study = study_of(search_of(curves), sampler=sampler, scheduler=scheduler, trials=count, seed=0)
        began = time.process_time()
        outcome = Simulation(study, curves, max_epochs=EPOCHS, concurrent=AT_ONCE).run()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        took = time.process_time() - began
        what = f"{sampler}, {scheduler}: {len(outcome.entries)} trials, {outcome.epochs} epochs"
        each = 1000 * took / outcome.epochs
        print(f"{what}: {took:.1f} s of processor time ({each:.1f} ms an epoch), peak memory {memory} MiB", flush=True)


if __name__ == "__main__":
    run_command(main)
