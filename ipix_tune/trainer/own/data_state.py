"""What a training config's data are now, as one short text."""

import hashlib

from trainers.common.errors import UserError
from trainers.config import TrainConfig
from trainers.data.copies import contents
from trainers.data.open import open_data


def data_state(config: TrainConfig) -> str:
    """See `OwnTrainer.data_state`; "" where the data cannot be opened."""
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
