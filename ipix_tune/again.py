"""Which trials that failed are offered again when a study is resumed."""

import hashlib

from ipix_tune.alike import DATA, DIVERGED
from ipix_tune.journal import Journal
from trainers.config import TrainConfig
from trainers.data.facts import state_of
from trainers.data.open import open_data
from trainers.errors import UserError


def data_state(config: TrainConfig) -> str:
    """What the files of the data are now, read from their entries alone; '' where the lists cannot be read."""
    try:
        data = open_data(config.data, final=config.evaluation.final, with_val=config.data.val is not None)
    except (UserError, OSError):
        return ""
    items = (*data.labelled, *data.unlabelled, *data.holdout, *data.val)
    files = {path for item in items for path in (item.image, item.mask) if path is not None}
    states = sorted(state_of(path) or f"{path} is gone" for path in files)
    return hashlib.sha256("\n".join(states).encode(errors="surrogateescape")).hexdigest()[:16]


def offer_failed(journal: Journal, config: TrainConfig, *, resume: bool, retry_failed: bool, lost: bool) -> list[str]:
    """Offer again the trials that failed by data which have changed since; with ``retry_failed`` all that failed.

    Args:
        config: of one of the trials, for its data.
        resume: the study is gone on with; else nothing failed yet.
        lost: with `retry_failed`, also those whose loss was not finite. A confirmation counts them as lost runs, which
            is a result.

    Returns:
        what there is to say.
    """
    journal.data_state = lambda: data_state(config)
    failed = [entry for entry in journal.entries() if entry.state == "failed"] if resume else []
    now = data_state(config) if any(entry.cause == DATA for entry in failed) else ""
    changed = journal.offer_again(lambda one: one.cause == DATA and one.data_state != now)
    asked = journal.offer_again(lambda one: lost or one.cause != DIVERGED) if retry_failed else []
    lines = []
    if changed:
        lines.append(f"run again, since the data by which they failed have changed: {', '.join(changed)}")
    if asked:
        lines.append(f"run again, as asked by --retry-failed: {', '.join(asked)}")
    left = [entry.key for entry in failed if entry.key not in {*changed, *asked} and entry.cause != DIVERGED]
    if left:
        lines.append(f"failed before and not run again: {', '.join(left)}; with --retry-failed they are")
    return lines
