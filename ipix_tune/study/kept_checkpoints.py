"""Whose checkpoints a study still needs: of what its export may name at the end, whatever the other trials will score.

`keep_checkpoints: best` deletes the others while the study runs.
"""

from collections.abc import Iterable

from ipix_tune.config.study_config import StudyConfig
from ipix_tune.execution.progress_table import ProgressTable
from ipix_tune.search.trial_record import TrialRecord
from ipix_tune.search.trial_store import TrialStore
from ipix_tune.study.confirm_arms import Arm
from ipix_tune.study.confirm_plan import ARM, SEED


def needed_of_search(study: StudyConfig, trials: TrialStore, progress: ProgressTable) -> set[str]:
    """Keys of the trials of the search that have ended and may yet be exported: of the configurations whose seeds have
    all ended the best (with two objectives the front), and as many as the confirmation takes; of every other
    configuration its first run, since its mean may still become the best.

    Args:
        study: how many the confirmation takes.
        trials: knows which configurations have runs to come.
        progress: what is known of them.
    """
    top = 1 if study.confirm is None else study.confirm.top
    return progress.contenders(unsettled=trials.unsettled(), top=top)


def frozen(study: StudyConfig, entries: Iterable[TrialRecord]) -> set[str]:
    """Keys of the trials that a search by `freeze_thaw` has stopped. While the search can be taken up again they may go
    on; where it came to its end their checkpoints are gone.

    Args:
        study: its scheduler.
        entries: the trials of the search.
    """
    if study.scheduler.name != "freeze_thaw":
        return set()
    return {entry.key for entry in entries if entry.state == "stopped"}


def needed_of_confirmation(arms: Iterable[Arm], entries: Iterable[TrialRecord]) -> set[str]:
    """Keys of the runs of a confirmation that may be exported: the complete one with the lowest seed of every arm that
    repeats no trial of the search. More seeds may make any arm the winner.

    Args:
        arms: of the confirmation.
        entries: its runs.
    """
    made = {arm.name for arm in arms if arm.trial is None}
    first: dict[str, tuple[int, str]] = {}
    for entry in entries:
        arm, seed = str(entry.values[ARM]), int(str(entry.values[SEED]))
        if entry.state == "complete" and arm in made:
            first[arm] = min(first.get(arm, (seed, entry.key)), (seed, entry.key))
    return {key for _, key in first.values()}
