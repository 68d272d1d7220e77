"""Which trials that failed are offered again when a study is resumed."""

import hashlib

from ipix_tune.search.repeated_error import DATA, DIVERGED
from ipix_tune.search.trial_store import TrialStore
from trainers.common.errors import UserError
from trainers.config import TrainConfig
from trainers.data.copies import contents
from trainers.data.open import open_data


def data_state(config: TrainConfig) -> str:
    """What the lists name and what those files hold, as a digest; '' where the lists cannot be read.

    It does not depend on where the data lie, nor on the files' times: what was copied, moved or touched is the same.
    All files are read for it, once; what was found out is kept until a file changes (`trainers.data.facts`).
    """
    try:
        data = open_data(config.data, final=config.evaluation.final, with_val=config.data.val is not None)
    except (UserError, OSError):
        return ""
    items = (*data.labelled, *data.unlabelled, *data.holdout, *data.val)
    held = contents([path for item in items for path in (item.image, item.mask) if path is not None])
    lines = sorted(
        f"{item.name}\t{held[item.image].hex()}\t{item.mask_name}\t{'' if item.mask is None else held[item.mask].hex()}"
        for item in items
    )
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:16]


def offer_failed(
    journal: TrialStore, config: TrainConfig, *, resume: bool, retry_failed: bool, lost: bool
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
