"""The confirmation of a study: paired seeds for the arms, round after round, until the race is decided.

It is a phase of the study, in its folder: the arms and the plan in `confirm/plan.json`, written before the first run
and never changed, a record of its own beside it, the runs among the study's trials as c0000, c0001, ...
"""

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from analysis.columns import CONFIRM
from ipix_tune.config.confirm_section import ConfirmError, confirm_of, defaults_of
from ipix_tune.config.dimension_config import Dimension
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.config.validate_confirm import NOT_LOGGED
from ipix_tune.execution.echo import say
from ipix_tune.execution.machine import check_machine
from ipix_tune.execution.phase import Outcome, Values, Work, checked_copy, opened, progress_of
from ipix_tune.execution.runner import Runner
from ipix_tune.search.trial_record import TrialRecord
from ipix_tune.search.trial_store import TrialStore
from ipix_tune.storage.object_sync import ObjectCopy
from ipix_tune.storage.study_folder import study_folder, trials_of
from ipix_tune.storage.study_identity import identity
from ipix_tune.study.confirm_budget import ConfirmationBudget, span
from ipix_tune.study.confirm_extension import extended, judged, write_extension
from ipix_tune.study.confirm_plan import ARM, FOLDER, PLAN, SEED, Confirmation, accept, load, looked_at, settled
from ipix_tune.study.failed_trials import offer_failed
from ipix_tune.study.kept_checkpoints import frozen, needed_of_confirmation, needed_of_search
from ipix_tune.study.logged_facts import facts_of_confirmation
from ipix_tune.tracking import probe as wandb_probe
from ipix_tune.tracking.run_facts import RunFacts
from ipix_tune.tracking.shell_environment import wandb_mode
from ipix_tune.trainer.interface import Config
from trainers.common.errors import UserError

LETTER = "c"


def confirm(
    study: StudyConfig,
    *,
    resume: bool | None,
    address: str | None,
    console: Console,
    more_seeds: int = 0,
    retry_failed: bool = False,
    on_begun: Callable[[], object] = lambda: None,
) -> Outcome:
    """Confirm a study that has been searched, or go on with its confirmation.

    Args:
        study: with a `confirm` section.
        resume: the confirmation has begun; None: whether or not it has.
        more_seeds: extend the plan of a confirmation that has ended by so many seeds an arm.
        retry_failed: runs that failed are offered again; not those whose loss was not finite, which are lost runs.
        on_begun: called when nothing was refused and there is a confirmation that can be resumed.

    Raises:
        UserError: anything that can be known before a run starts: no trial to confirm, another confirmation in the
            folder, storage, data, resources.
    """
    confirm_of(study)
    if wandb_mode(study.logging) == "disabled":
        raise ConfirmError(NOT_LOGGED)
    for line in check_machine(address):
        say(console, line)
    copy = checked_copy(study)
    _check_folder(study, copy)
    if more_seeds and copy is None:  # before a cluster is started
        _extended(study, study_folder(study), more_seeds)
    space = SearchSpace(study)
    probe = _probe(study, space)
    lines = space.trainer.check(probe, study.resources)
    for line in [*lines, *wandb_probe.probe(study)]:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    begun = must_have_begun(resume=resume, more_seeds=more_seeds)

    def acceptable(place: Path) -> None:
        """What is refused is refused before it is written into `study.yaml`."""
        accept(study, place, resume=begun)
        if more_seeds:
            _extended(study, place, more_seeds)
        else:
            looked_at(study, space, place)

    with opened(study, probe, copy, resume=True, address=address, console=console, accept=acceptable) as (place, _):
        found = settled(study, space, place, resume=begun)
        if more_seeds:
            found = _extended(study, place, more_seeds)
            write_extension(found, place / FOLDER / PLAN)
        on_begun()
        return _race(study, space, found, place, copy, console=console, retry_failed=retry_failed)


def must_have_begun(*, resume: bool | None, more_seeds: int) -> bool | None:
    """Whether the folder must hold a confirmation (true), must hold none (false), or may (none)."""
    return True if more_seeds else resume


def describe(study: StudyConfig, *, more_seeds: int = 0) -> list[str]:
    """What the confirmation will run, at least and at most, as far as it can be known without a cluster.

    Raises:
        UserError: there is no study, nothing to confirm, or the data lack what a run needs.
    """
    confirm, space = confirm_of(study), SearchSpace(study)
    place = study_folder(study)
    _check_folder(study, None)
    lines = space.trainer.check(_probe(study, space), study.resources)
    found = looked_at(study, space, place)
    for arm in found.arms:
        set_ = ", ".join(f"{name}={value}" for name, value in arm.values.items())
        lines.append(f"{arm.name}{f' (trial {arm.trial})' if arm.trial else ''}: {set_}")
    lines += [f"compared: {arm} with {other}" for arm, other in found.plan.comparisons]
    max_epochs = space.trainer.max_epochs(found.arms[0].config)
    if more_seeds:
        _check_begun(place)
        entries = _entries(study, found, place)
        longer = extended(found, entries, more_seeds, sign=study.objective.sign)
        arms = {arm for arm, _ in judged(entries, longer.plan, sign=study.objective.sign).wanted}
        runs = len(arms) * more_seeds
        lines.append(
            f"seeds {found.plan.seeds + 1} to {longer.plan.seeds} of {', '.join(sorted(arms))}: at most {runs} runs of "
            f"{max_epochs} epochs, {runs * max_epochs} epochs"
        )
        return lines
    cost = ConfirmationBudget(
        arms=len(found.arms), confirm=confirm, max_epochs=max_epochs, metric=study.objective.measured
    )
    return [*lines, *cost.lines(), *_measured(place, cost)]


def _measured(place: Path, cost: ConfirmationBudget) -> list[str]:
    """Trial hours at most, from what an epoch of the search took on average; none where the tables are missing."""
    from analysis.errors import LogsError
    from analysis.ingest import tables

    try:
        history = tables.load(place).history
    except LogsError:
        return []
    seconds = [
        (row.get("time/epoch_s") or 0) + (row.get("time/eval_s") or 0) for row in history.to_pylist() if row["epoch"]
    ]
    if not seconds or not any(seconds):
        return []
    hours = cost.epochs_at_most * sum(seconds) / len(seconds) / 3600
    return [f"at most {hours:.2g} trial hours, by the {len(seconds)} epochs that the search took"]


def _check_folder(study: StudyConfig, copy: ObjectCopy | None) -> None:
    place = study_folder(study)
    there = copy is not None and copy.store.exists(f"{copy.key}/study.yaml")
    if not there and not (place / "study.yaml").is_file():
        raise ConfirmError(f"{place}: there is no study to confirm; run it first: ipix-tune sweep STUDY.yaml")


def _extended(study: StudyConfig, place: Path, more_seeds: int) -> Confirmation:
    """The confirmation in the study's folder with its plan extended; nothing is written."""
    _check_begun(place)
    found = load(place / FOLDER / PLAN)
    return extended(found, _entries(study, found, place), more_seeds, sign=study.objective.sign)


def _check_begun(place: Path) -> None:
    if not (place / FOLDER / PLAN).is_file():
        raise ConfirmError(f"{place}: no confirmation has begun that --more-seeds could extend; leave it out to begin")


def _probe(study: StudyConfig, space: SearchSpace) -> Config:
    """A config as a run of the confirmation has it, with the validation list."""
    import random

    values = defaults_of(study) or space.sample(random.Random(0))
    config = space.trainer.with_seed(space.to_config(values), 0, first=0)
    return space.trainer.granted(config, study.resources)


def _race(
    study: StudyConfig,
    space: SearchSpace,
    found: Confirmation,
    place: Path,
    copy: ObjectCopy | None,
    *,
    console: Console,
    retry_failed: bool,
) -> Outcome:
    from ray.tune.schedulers import FIFOScheduler

    from ipix_tune.storage.optuna_storage import JOURNAL

    sign = study.objective.sign

    seen = [0]

    def next_round(entries: Sequence[TrialRecord]) -> list[Values]:
        judgement = judged(entries, found.plan, sign=sign)
        if len(entries) > seen[-1]:
            seen.append(len(entries))
            say(console, f"results judged: {judgement.reason}")
        return [{ARM: arm, SEED: number} for arm, number in judgement.wanted]

    whole, study = study, by_first_objective(study)
    runs = as_study(study, found, place)
    total = len(found.arms) * found.plan.seeds
    probe = found.config(found.arms[0].name, 0)
    trials = TrialStore(
        place / FOLDER,
        runs,
        SearchSpace(runs),
        total=total,
        rounds=next_round,
        letter=LETTER,
        there=trials_of(place, copy),
        data_state=partial(space.trainer.data_state, probe),
    )
    for line in offer_failed(trials, space.trainer, probe, resume=True, retry_failed=retry_failed, lost=False):
        say(console, line)
    max_epochs = space.trainer.max_epochs(found.arms[0].config)
    progress = progress_of(study, trials.entries(), total=total, max_epochs=max_epochs, phase=CONFIRM)
    say(
        console,
        f"confirming {len(found.arms)} configurations, {span(found.plan.first_seeds, found.plan.seeds)} seeds:",
    )
    for arm in found.arms:
        origin = f" (trial {arm.trial})" if arm.trial else ""
        say(console, f"  {arm.name}{origin}")
    searched = _needed_of_search(whole, space, found, place, max_epochs=max_epochs)
    work = Work(
        facts=facts_of_confirmation(study, space, found),
        probe=probe,
        trials=trials,
        record=tuple(f"{FOLDER}/{name}" for name in (PLAN, JOURNAL)),
        scheduler=FIFOScheduler(),
        progress=progress,
        exhausted=lambda: None,
        converged=lambda: None,
        needed=lambda: searched | needed_of_confirmation(found.arms, trials.entries()),
    )
    outcome = Runner(study, work, place, copy, console=console).run()
    with contextlib.suppress(UserError, OSError):  # where the record failed, the outcome says so
        say(console, f"confirmation: {judged(trials.entries(), found.plan, sign=sign).reason}")
    return outcome


def _needed_of_search(
    study: StudyConfig, space: SearchSpace, found: Confirmation, place: Path, *, max_epochs: int
) -> set[str]:
    """Keys of the trials of the search whose checkpoints stay: what the arms repeat, what the search may name, and what
    goes on where it is taken up again."""
    trials = TrialStore(place, study, space, total=0)
    entries = trials.entries()
    progress = progress_of(study, entries, total=0, max_epochs=max_epochs, phase="search")
    repeated = {arm.trial for arm in found.arms if arm.trial is not None}
    return needed_of_search(study, trials, progress) | repeated | frozen(study, entries)


def facts_and_entries(
    study: StudyConfig, space: SearchSpace, place: Path
) -> tuple[RunFacts, Sequence[TrialRecord]] | None:
    """What the runs of the confirmation in a study's folder say in the logs, and what its record has; None where none
    has begun. Nothing is written."""
    if not (place / FOLDER / PLAN).is_file():
        return None
    found, study = load(place / FOLDER / PLAN), by_first_objective(study)
    return facts_of_confirmation(study, space, found), _entries(study, found, place)


def _entries(study: StudyConfig, found: Confirmation, place: Path) -> Sequence[TrialRecord]:
    """What the confirmation's record has; nothing is written."""
    runs = as_study(by_first_objective(study), found, place)
    return TrialStore(place / FOLDER, runs, SearchSpace(runs), total=0, rounds=lambda _: [], letter=LETTER).entries()


def by_first_objective(study: StudyConfig) -> StudyConfig:
    """The race has one: a second objective, of which the search made a front, decides nothing here."""
    return study.model_copy(update={"objective": study.objective.model_copy(update={"second_objective": None})})


def as_study(study: StudyConfig, found: Confirmation, place: Path) -> StudyConfig:
    """The runs as a search space of two dimensions, for the record of the study in ``place``."""
    names = tuple(arm.name for arm in found.arms)
    dimensions = {ARM: Dimension(choice=names), SEED: Dimension(int=(0, found.plan.seeds - 1))}
    update = {"name": f"{identity(place, study)}-{FOLDER}", "search": dimensions, "points": [], "warm_start": []}
    sampler = study.sampler.model_copy(update={"name": "random"})
    return study.model_copy(update={**update, "sampler": sampler})
