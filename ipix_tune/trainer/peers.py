"""The processes of one trial, as one of them sees the others."""

from typing import Any, Protocol


class Peers(Protocol):
    """One of a trial's ``count`` workers. They meet through the first one, rank 0."""

    rank: int
    """0, 1, ... below ``count``."""
    count: int
    """`resources.workers`."""
    address: str
    """Where the other workers reach this one's machine."""

    def first_says(self, what: Any = None) -> Any:
        """What rank 0 says, on every worker. The others wait for it: their nth call gets what rank 0 gave in its nth
        call, and None once rank 0 has left the trial."""
        ...

    def end(self, *, after_s: float = 0.0) -> None:
        """Rank 0 only: the others are to end, now or in so many seconds."""
        ...

    def is_over(self) -> bool:
        """Whether rank 0 has ended the trial for this worker."""
        ...


class Alone:
    """A trial of one process; see :class:`Peers`."""

    rank, count, address = 0, 1, "127.0.0.1"

    def first_says(self, what: Any = None) -> Any:
        return what

    def end(self, *, after_s: float = 0.0) -> None:
        """There are no others."""

    def is_over(self) -> bool:
        return False


ALONE = Alone()
