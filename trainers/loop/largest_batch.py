"""The largest batch that fits, from few and dear measurements."""

from collections.abc import Callable

CAREFUL = 0.98
"""Share of the way to the room's end at which the next one is tried, since a training that fails says less."""


def largest_batch(
    peak: Callable[[int], int | None], *, batch: int, step: int, most: int, room: int, tries: int
) -> dict[int, int | None]:
    """Measure until the largest batch is known, or ``tries`` are used up: bytes at the peak by batch size, the first
    that of ``batch``, None where it does not fit.

    Memory grows about in a straight line with the batch, so that two measurements say where to look; what is measured
    then moves the ends between which the largest one is.

    Args:
        peak: bytes that a batch takes; None: it does not fit.
        step: sizes are multiples of it.
        most: largest size that the data allow.
        room: bytes that there are.
    """
    found: dict[int, int | None] = {}
    asking: int | None = batch
    while asking is not None and len(found) < tries:
        taken = peak(asking)
        found[asking] = None if taken is None or taken > room else taken
        asking = _next(found, step=step, most=most, room=room)
    return found


def fitting(found: dict[int, int | None]) -> int | None:
    """The largest batch that was measured to fit."""
    return max((size for size, taken in found.items() if taken is not None), default=None)


def extrapolated(found: dict[int, int | None], *, step: int, most: int, room: int) -> int | None:
    """The largest batch by a straight line through the two largest that fit; the largest itself where there is one."""
    fits = sorted((size, taken) for size, taken in found.items() if taken is not None)
    if len(fits) < 2:
        return fitting(found)
    return min(_along(fits, room) // step * step, most // step * step)


def _along(fits: list[tuple[int, int]], room: float) -> int:
    """The batch at which a straight line through the last two reaches ``room``."""
    (first, one), (second, other) = fits[-2:]
    slope = max(1.0, (other - one) / (second - first))
    return int(second + (room - other) / slope)


def _next(found: dict[int, int | None], *, step: int, most: int, room: int) -> int | None:
    """What to measure next; None where the largest one is known."""
    fits = sorted((size, taken) for size, taken in found.items() if taken is not None)
    fails = [size for size, taken in found.items() if taken is None]
    low = fits[-1][0] if fits else 0
    high = min([*fails, most // step * step + step])  # no size from here on
    if high - low <= step:
        return None
    guess = _along(fits, fits[-1][1] + CAREFUL * (room - fits[-1][1])) if len(fits) > 1 else 2 * low
    if not fits or (fails and guess >= high):
        guess = (low + high) // 2
    return min(max(guess // step * step, low + step), high - step)
