"""`python -m ipix_tune.sweep STUDY.yaml`: plan, smoke-test, run or resume a study."""

import json
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ipix_tune.cli.exit_codes import run as run_app
from trainers.cli.dry_run import DryRun, WithDryRun

if TYPE_CHECKING:
    from ipix_tune.config.confirm_config import ConfirmConfig
    from ipix_tune.config.study_config import StudyConfig

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(cls=WithDryRun)
def sweep(
    file: Annotated[Path, typer.Argument(help="A study file, such as search_spaces/voc.yaml.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a value of the file, such as trainer.data.root=/data/voc; repeatable.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Another name for the study and its folder.")] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="HOST:PORT of a Ray cluster, or auto. Default: RAY_ADDRESS, else a Ray started on this machine."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the study where it stopped.")] = False,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="With --resume: run failed trials once more, from their checkpoints."),
    ] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Run two tiny trials through every stage, in the folder <name>-smoke.")
    ] = False,
    calibrate: Annotated[
        int | None,
        typer.Option(
            min=6,
            metavar="N",
            help="Run N full-length trials in <name>-calibration, and say which grace period they support.",
        ),
    ] = None,
    dry_run: Annotated[
        DryRun | None,
        typer.Option(
            help="Check everything and print the plan; --dry-run=measure also measures time and memory of a few steps."
        ),
    ] = None,
) -> None:
    """Search the space of a study file on Ray."""
    from ipix_tune.config.dead_dimensions import check_dead_dimensions
    from ipix_tune.config.load_study import load
    from ipix_tune.config.search_space import SearchSpace
    from trainers.common.errors import ConfigError

    console = Console(markup=False, emoji=False)
    if retry_failed and not resume:
        raise ConfigError("--retry-failed belongs to --resume: a study that begins has no failed trials")
    given = [*(overrides or []), *([] if name is None else [f"name={json.dumps(name)}"])]
    asked = study = load(file, given, say=lambda line: _say(console, line))
    if calibrate is not None:
        if smoke:
            raise ConfigError("--calibrate and --smoke do not go together: two tiny trials say nothing about rungs")
        from ipix_tune.study.calibrate import calibration, findings_of

        study = calibration(study, trials=calibrate)
    if dry_run is not None:
        _dry_run(study, address=address, measured=dry_run is DryRun.MEASURE, console=console)
        return
    if smoke:
        study = _tiny(study)
    for line in check_dead_dimensions(SearchSpace(study)):
        _say(console, f"warning: {line}", style="yellow")
    given = [*(f"--set={one}" for one in overrides or []), *([f"--name={name}"] if name else [])]
    given += [f"--address={address}"] if address else []
    start = ["ipix-tune", "sweep", str(file), *given]
    calibrating = [] if calibrate is None else [f"--calibrate={calibrate}"]
    again = shlex.join([*start, *calibrating, "--resume"])
    _run(study, again=again, resume=resume, retry_failed=retry_failed, smoke=smoke, address=address, console=console)
    if calibrate is not None:
        for line in findings_of(study, asked=asked, start=start):
            console.print(line, highlight=False, soft_wrap=True, markup=False)


def _dry_run(study: "StudyConfig", *, address: str | None, measured: bool, console: Console) -> None:
    from ipix_tune.execution.cluster import connected, inventory, may_grow, room_ahead
    from ipix_tune.execution.concurrency import may_come, no_room_yet
    from ipix_tune.execution.machine import check_machine
    from ipix_tune.execution.resources import room
    from ipix_tune.storage.object_store import store_of
    from ipix_tune.study.dry_run import dry_run as plan
    from ipix_tune.tracking.probe import probe

    for line in check_machine(address):
        _say(console, line, style="yellow")
    if (store := store_of(study)) is not None:
        store.check()
    for line in probe(study):
        _say(console, line, style="yellow")
    with connected(address, nested=False):
        cluster, nodes = inventory()
        no_room = may_grow(address) and not room(study.resources, nodes)
        waits = no_room and may_come(study.resources, cluster, room_ahead())
    if waits:
        _say(console, f"warning: {no_room_yet(study.resources, cluster)}", style="yellow")
    console.print(plan(study, cluster=None if waits else cluster, nodes=nodes, measured=measured))


def _run(
    study: "StudyConfig",
    *,
    again: str,
    resume: bool,
    retry_failed: bool,
    smoke: bool,
    address: str | None,
    console: Console,
) -> None:
    from ipix_tune.storage import study_folder
    from ipix_tune.storage.object_store import store_of
    from trainers.common.errors import UserError
    from trainers.common.object_uri import is_uri

    if not smoke and not is_uri(study.storage):
        study_folder.refuse(study, resume=resume)  # before Ray, W&B and Optuna are loaded
    from ipix_tune.study.run_search import finish, run

    if smoke:
        if (store := store_of(study)) is not None:
            store.check()
            store.delete(study.name)
        shutil.rmtree(study_folder.study_folder(study), ignore_errors=True)

    def begun() -> None:
        if not smoke:
            _say(console, f"after any interruption go on with: {again}")

    unconfirmed = None
    outcome = run(
        study,
        resume=resume and not smoke,
        address=address,
        console=console,
        retry_failed=retry_failed,
        on_begun=begun,
    )
    if study.confirm is not None and study.confirm.after_search and outcome.cut_short is None and outcome.scored:
        from ipix_tune.study.run_confirm import confirm

        _say(console, f"search: {outcome.headline}")
        try:
            confirmation = confirm(study, resume=None, address=address, console=console, retry_failed=retry_failed)
            outcome = replace(confirmation, lacking=(*outcome.lacking, *confirmation.lacking))
        except UserError as error:
            unconfirmed = f"the search is safe, and was not confirmed: {error}"
    made = finish(study, outcome, console=console)
    if outcome.cut_short is not None:
        _say(console, outcome.cut_short, style="yellow")
        if not smoke:
            _say(console, f"go on with: {again}")
    if unconfirmed is not None:
        _say(console, unconfirmed, style="yellow")
        if not smoke:
            _say(console, f"once that is mended, confirm it with: {again}")
    if outcome.by_user:
        sys.exit(130)
    if outcome.cut_short is not None or outcome.scored == 0 or unconfirmed is not None or not made:
        sys.exit(1)


def _say(console: Console, text: str, *, style: str = "") -> None:
    console.print(text, style=style, highlight=False, soft_wrap=True, markup=False)


def _tiny(study: "StudyConfig") -> "StudyConfig":
    """Two trials of two tiny epochs, each evaluated, and a rung after the first; all else as it is."""
    from ipix_tune.trainer.choose import trainer_of

    return study.model_copy(
        update={
            "name": f"{study.name}-smoke",
            "trainer": trainer_of(study.trainer).smoke(study.trainer),
            "scheduler": study.scheduler.model_copy(update={"grace_epochs": 1}),
            "budget": study.budget.model_copy(update={"trials": 2}),
            "confirm": _tiny_confirmation(study.confirm),
        }
    )


def _tiny_confirmation(confirm: "ConfirmConfig | None") -> "ConfirmConfig | None":
    return None if confirm is None else confirm.model_copy(update={"top": 1, "first_seeds": 2, "max_seeds": 2})


if __name__ == "__main__":
    run_app(app)
