"""`ipix-tune repair STUDY`: complete a study's W&B logs from its own record."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ipix_tune.cli.exit_codes import run

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def repair(
    study: Annotated[Path, typer.Argument(help="A study's folder, or its study file.")],
) -> None:
    """Complete a study's W&B logs: epochs and ends that they lack are taken from the study's record and the trials' own
    metrics.jsonl, and written to further files. Then make its report anew."""
    from analysis.columns import CONFIRM
    from analysis.page.build import build
    from ipix_tune.config.search_space import SearchSpace
    from ipix_tune.execution.complete_logs import complete
    from ipix_tune.execution.echo import near, say
    from ipix_tune.execution.phase import checked_copy
    from ipix_tune.search.trial_store import TrialStore
    from ipix_tune.storage import study_folder
    from ipix_tune.storage.study_folder import load_study
    from ipix_tune.study.logged_facts import facts_of_search
    from ipix_tune.study.plan import make_plan
    from ipix_tune.study.run_confirm import by_first_objective, facts_and_entries
    from ipix_tune.tracking.shell_environment import clear, wandb_mode
    from trainers.common.errors import UserError

    console = Console(markup=False, emoji=False)
    for line in clear():
        say(console, line)
    config = load_study(study, [])
    if wandb_mode(config.logging) == "disabled":
        raise UserError(
            f"{study}: W&B is disabled for this study (logging.mode, or WANDB_MODE); to log it after all, set "
            "logging.mode: offline in its study.yaml"
        )
    copy, space = checked_copy(config), SearchSpace(config)
    lacking, logged_again = [], 0
    with study_folder.prepared(config, resume=True, copy=copy) as place:
        there = study_folder.trials_of(place, copy)
        search = TrialStore(place, config, space, total=0, there=there).entries()
        phases = [(facts_of_search(config, space, make_plan(config)), search)]
        confirmed = facts_and_entries(config, space, place)
        for facts, entries in [*phases, *([] if confirmed is None else [confirmed])]:
            logged = by_first_objective(config) if facts.phase == CONFIRM else config
            lacked, left = complete(place, logged, facts, entries, copy=copy)
            lacking += left
            logged_again += len(lacked)
            ended = sum(entry.state != "running" for entry in entries)
            say(console, f"{facts.phase}: {len(lacked)} of {ended} trials that ended were not whole in the logs")
            for lack in lacked:
                say(console, f"  {'still lacking' if lack in left else 'logged again'}: {lack.words}")
        if logged_again and wandb_mode(config.logging) == "online":
            say(console, f"the server lacks them still; send them with: ipix-tune wandb-sync {near(place)}")
        if copy is not None:
            copy.push(joined=True)
        if lacking:
            sys.exit(1)
        say(console, f"report:      {near(build(place))}")


if __name__ == "__main__":
    run(app)
