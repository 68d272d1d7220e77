"""Which trials that failed are offered again when a study is resumed."""

from ipix_tune.search.repeated_error import DATA, DIVERGED
from ipix_tune.search.trial_store import TrialStore
from ipix_tune.trainer.interface import Config, Trainer


def offer_failed(
    trials: TrialStore, trainer: Trainer, config: Config, *, resume: bool, retry_failed: bool, lost: bool
) -> list[str]:
    """Offer again the trials that failed by data which have changed since; with ``retry_failed`` all that failed.

    Args:
        config: of one of the trials, for its data.
        resume: the study is gone on with; else nothing failed yet.
        lost: with `retry_failed`, also those whose loss was not finite. A confirmation counts them as lost runs, which
            is a result.

    Returns:
        what there is to say.
    """
    failed = [entry for entry in trials.entries() if entry.state == "failed"] if resume else []
    now = trainer.data_state(config) if any(entry.cause == DATA for entry in failed) else ""
    changed = trials.offer_again(lambda one: one.cause == DATA and one.data_state != now)
    asked = trials.offer_again(lambda one: lost or one.cause != DIVERGED) if retry_failed else []
    lines = []
    if changed:
        lines.append(f"run again, since the data by which they failed have changed: {', '.join(changed)}")
    if asked:
        lines.append(f"run again, as asked by --retry-failed: {', '.join(asked)}")
    left = [entry.key for entry in failed if entry.key not in {*changed, *asked} and entry.cause != DIVERGED]
    if left:
        lines.append(f"failed before and not run again: {', '.join(left)}; with --retry-failed they are")
    return lines
