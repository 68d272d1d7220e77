"""Which images of a new data set keep their labels, which are scored on, and which train without labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from trainers.common.errors import DataError
from trainers.data.layout import Item
from trainers.data.splits import stratified_order

MOST_SCORED = 500
"""More images make a score hardly more certain, and every evaluation longer."""
FEWEST_PAIRS = 3


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The lists of a study, and how many of them the search is scored on.

    Args:
        labelled, unlabelled, val: no image is in two of them.
        holdout: images that `data.holdout` cuts off the list that `source` names.
        said: how the parts were chosen, in lines for people.
    """

    labelled: tuple[Item, ...]
    unlabelled: tuple[Item, ...]
    val: tuple[Item, ...]
    holdout: int
    source: Literal["labelled", "unlabelled"]
    said: tuple[str, ...]


def draw_parts(
    pairs: Sequence[Item], present: Sequence[frozenset[int]], bare: Sequence[Item], *, labelled: int | None, seed: int
) -> Parts:
    """Draw the lists. Labelled images are drawn so that they show every class as early as can be, as `draw-splits`
    does; then those of `val`, by the same rule, among the rest.

    Args:
        pairs: images with masks.
        present: the classes in each of their masks.
        bare: images without masks.
        labelled: how many images with masks keep them; None: all that are not scored on.
        seed: another one draws others.

    Raises:
        DataError: there are too few images, or none is left that could train without labels.
    """
    total = len(pairs)
    if total < FEWEST_PAIRS:
        raise DataError(
            f"{total} images have masks that can be used, and {FEWEST_PAIRS} are the fewest: one to train on, one to "
            "score the search on, one to report on"
        )
    if labelled is None and not bare:
        raise DataError(
            f"all {total} images have masks, so that none trains without; say how many keep their labels with "
            f"--labelled, such as --labelled {max(1, total // 8)}, or put images without masks beside them"
        )
    if labelled is not None and labelled > total - 2:
        raise DataError(
            f"--labelled {labelled} of {total} images with masks leaves fewer than two to score on; give at most "
            f"{total - 2}, or leave it out: then a fifth each is kept for the search's scores and for the report's"
        )
    order = stratified_order(present, seed=seed)
    if labelled is None:
        scored = min(MOST_SCORED, max(1, total // 5))
        trained, rest, source = total - scored, order[total - scored :], "labelled"
    else:
        scored = min(MOST_SCORED, max(1, (total - labelled) // 3))
        trained, rest, source = labelled, order[labelled:], "unlabelled"
    tail = stratified_order([present[place] for place in rest], seed=seed + 1)
    val = sorted(rest[place] for place in tail[:scored])
    left = sorted(set(rest) - set(val))
    cut = f"{scored} images {'of the labelled ones' if source == 'labelled' else 'with masks of the unlabelled ones'}"
    return Parts(
        labelled=tuple(pairs[place] for place in order[:trained]),
        unlabelled=(*(pairs[place] for place in left), *bare),
        val=tuple(pairs[place] for place in val),
        holdout=scored,
        source="labelled" if source == "labelled" else "unlabelled",
        said=(
            f"lists: {trained} labelled, {len(left) + len(bare)} unlabelled, {len(val)} for the report (val); drawn "
            f"with seed {seed}, so that the labelled ones show every class as early as can be",
            f"the search is scored on {cut}, which do not train then",
        ),
    )
