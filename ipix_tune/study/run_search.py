"""A study from its file to its end: prepare, search, leave everything in its folder."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console

from analysis.columns import key_of
from ipix_tune.config.kinds_of_trial import check_kinds
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.execution.echo import near, say
from ipix_tune.execution.machine import check_machine
from ipix_tune.execution.phase import Outcome, Work, checked_copy, opened, progress_of
from ipix_tune.execution.runner import TOLD, Runner
from ipix_tune.storage import study_folder
from ipix_tune.storage.journal_file import WAIT_S
from ipix_tune.storage.object_sync import CopyKeeper, ObjectCopy
from ipix_tune.storage.study_identity import IDENTITY
from ipix_tune.study.logged_facts import facts_of_search
from ipix_tune.study.plan import Plan, make_plan
from ipix_tune.tracking.probe import probe
from ipix_tune.tracking.shell_environment import wandb_mode
from trainers.common.errors import OutputError
from trainers.common.object_uri import without_query
from trainers.common.retry import FULL, patiently

if TYPE_CHECKING:
    from ipix_tune.search.trial_store import TrialStore

logger = logging.getLogger(__name__)

T = TypeVar("T")


def run(
    study: StudyConfig,
    *,
    resume: bool,
    address: str | None,
    console: Console,
    retry_failed: bool = False,
    on_begun: Callable[[], object] = lambda: None,
) -> Outcome:
    """Run a study, or take it up again.

    Args:
        retry_failed: trials that failed are offered again, whatever their error was.
        on_begun: called when nothing was refused and there is a study that can be resumed.

    Raises:
        UserError: anything that can be known before a trial starts: storage, data, weights, resources.
    """
    from ipix_tune.search.trial_store import TrialStore
    from ipix_tune.study.failed_trials import offer_failed

    for line in check_machine(address):
        say(console, line)
    copy = checked_copy(study)
    study_folder.refuse(study, resume=resume, copy=copy)
    space = SearchSpace(study)
    first = space.to_config(study.points[0] if study.points else make_plan(study).sample)
    check_kinds(study, space)
    lines = space.trainer.check(space.trainer.granted(first, study.resources), study.resources)
    if study.warm_start and not resume:
        from ipix_tune.search.warm_start import describe_warm_start

        lines += [f"warm start: {line}" for line in describe_warm_start(study, space)]
    for line in [*lines, *probe(study)]:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    accept = partial(acceptable, study, space, copy) if resume else lambda place: None
    with opened(study, first, copy, resume=resume, address=address, console=console, accept=accept) as (place, fit):
        on_begun()
        if (idle := space.trainer.idle(first, study.resources, fit.cluster)) is not None:
            say(console, f"warning: {idle}")
        if fit.idle is not None:
            say(console, f"warning: {fit.idle}")
        plan = make_plan(study)
        there = study_folder.trials_of(place, copy)
        trials = TrialStore(
            place,
            study,
            space,
            total=plan.trials,
            max_epochs=plan.max_epochs,
            there=there,
            data_state=partial(space.trainer.data_state, first),
        )
        for line in offer_failed(trials, space.trainer, first, resume=resume, retry_failed=retry_failed, lost=True):
            say(console, line)
        return _search(study, space, plan, trials, place, copy, console=console)


def acceptable(study: StudyConfig, space: SearchSpace, copy: ObjectCopy | None, place: Path) -> None:
    """See that a study that is resumed may be changed so, before the change is written into its `study.yaml`.

    Raises:
        UserError: its confirmation has begun with another plan; its record does not know its trials.
    """
    from ipix_tune.search.trial_store import TrialStore
    from ipix_tune.study import confirm_plan

    if study.confirm is not None:
        confirm_plan.accept(study, place, resume=None)
    TrialStore(place, study, space, total=0, there=study_folder.trials_of(place, copy))


def _search(
    study: StudyConfig,
    space: SearchSpace,
    plan: Plan,
    trials: "TrialStore",
    place: Path,
    copy: ObjectCopy | None,
    *,
    console: Console,
) -> Outcome:
    from ipix_tune.search.budget import budget_of
    from ipix_tune.search.sampler_file import SAMPLER
    from ipix_tune.search.schedulers import build_scheduler
    from ipix_tune.storage.optuna_storage import JOURNAL
    from ipix_tune.study.kept_checkpoints import needed_of_search

    scheduler = build_scheduler(study, trials, max_epochs=plan.max_epochs)
    progress = progress_of(study, trials.entries(), total=plan.trials, max_epochs=plan.max_epochs, phase="search")
    budget = budget_of(study, space, trials, max_epochs=plan.max_epochs)
    work = Work(
        facts=facts_of_search(study, space, plan),
        probe=space.to_config(plan.sample),
        trials=trials,
        record=(IDENTITY, JOURNAL, SAMPLER),
        scheduler=scheduler,
        progress=progress,
        exhausted=budget.exhausted,
        converged=budget.converged,
        needed=lambda: needed_of_search(study, trials, progress),
    )
    return Runner(study, work, place, copy, console=console).run()


def finish(study: StudyConfig, outcome: Outcome, *, console: Console) -> bool:
    """Tables, report and best config from the study's logs, and the checkpoints that need not be kept removed. What
    fails here is said; the study itself is safe.

    Returns:
        whether all of it was made, from complete logs.
    """
    made = _finish(study, outcome, console=console)
    if outcome.lacking:
        lacking = ", ".join(outcome.lacking[:TOLD]) + (", ..." if len(outcome.lacking) > TOLD else "")
        say(console, f"INCOMPLETE: W&B's files lack {len(outcome.lacking)} trials that the record knows: {lacking}")
        say(
            console,
            f"tables, report and best config are made without them. Mend the cause (the study's disk, W&B's "
            f"settings), then: ipix-tune repair {near(outcome.folder)}",
        )
    if outcome.copy is not None:
        try:
            outcome.copy.push(joined=True)
        except (OutputError, OSError) as error:
            say(console, f"the study is safe in {near(outcome.folder)}; its copy is not complete: {error}")
        else:
            say(console, f"copy:        {without_query(study.storage)}/{study.name}")
    return made and not outcome.lacking


class _StorageAway(OSError):
    """The study's disk is full, or its folder is not there."""


def _when_it_can_be_written(make: Callable[[], T], place: Path) -> T:
    """What ``make`` gives of the study's folder. A disk that is full meanwhile, or away, is waited for as long as for a
    trial's epoch."""

    mark = place / IDENTITY if (place / IDENTITY).exists() else place

    def attempt() -> T:
        try:
            return make()
        except OSError as error:
            if error.errno in FULL or not mark.exists():
                raise _StorageAway(error.errno, error.strerror or str(error), error.filename) from error
            raise

    return patiently(attempt, path=place, wait_s=WAIT_S, faults=(_StorageAway,))


def _finish(study: StudyConfig, outcome: Outcome, *, console: Console) -> bool:
    from analysis.page.build import build
    from ipix_tune.study.export import export_best
    from ipix_tune.study.provenance import count_seeds, trial_key

    place, best = outcome.folder, outcome.folder / "best.yaml"
    if wandb_mode(study.logging) == "disabled":
        say(console, f"nothing was logged (W&B is disabled): no report, no best config; see {near(place)}/trials")
        return True
    if outcome.scored == 0 and not any((place / "wandb").rglob("*.wandb")):
        say(console, "no trial has reported anything yet: there is nothing to make a report of")
        return False
    try:
        page = _when_it_can_be_written(lambda: build(place), place)
    except Exception as error:
        logger.debug("no report", exc_info=True)
        say(console, f"the trials are safe, the report failed: {error}")
        say(console, f"make it with: ipix-tune report {near(place)}")
        return False
    say(console, f"report:      {near(page)}")
    if outcome.scored == 0:
        say(console, "no trial ended with a score: there is no best config; the table says why")
        return True
    try:
        choice = _when_it_can_be_written(lambda: export_best(place, best, force=True), place)
    except Exception as error:
        logger.debug("no best config", exc_info=True)
        say(console, f"the trials are safe, the export failed: {error}")
        say(console, f"make it with: ipix-tune export {near(place)} --out best.yaml")
        return False
    if study.keep_checkpoints != "all" and outcome.cut_short is None and not outcome.lacking:
        named = {trial_key(choice.row), *choice.front, *outcome.needed}
        kept = named | unended(place, outcome.copy) if study.keep_checkpoints == "best" else set[str]()
        study_folder.remove_checkpoints(place, of=study_folder.trials_of(place) - kept)
        if outcome.copy is not None:
            keeper = CopyKeeper(outcome.copy, on_fault=lambda reason: say(console, f"checkpoints stay: {reason}"))
            keeper.remove_checkpoints(of=outcome.copy.trials() - kept)
    say(console, f"best config: {near(best)}")
    if choice.confirmed is None:
        say(console, f"{outcome.headline}; {count_seeds(choice.seeds)} for the best config")
    else:
        for verdict in choice.confirmed[1].judgement.verdicts:
            say(console, f"verdict: {verdict.words}")
        say(console, f"{outcome.headline}; {choice.rule}")
    if outcome.converged is not None:
        say(console, f"the search ended early by {outcome.converged}")
    for caveat in choice.caveats:
        say(console, f"note: {caveat}")
    return True


def unended(place: Path, copy: ObjectCopy | None) -> set[str]:
    """Keys of the trials, of the search and of its confirmation, that may go on from their own checkpoints: those that
    failed or were cut off, and those that the tables do not know."""
    from analysis.ingest.tables import load

    rows = load(place).runs.select(["run_id", "state"]).to_pylist()
    over = {key_of(row["run_id"]) for row in rows if row["state"] in ("complete", "stopped", "infeasible")}
    return study_folder.trials_of(place, copy) - over
