"""Where a trial and its workers leave what they tell each other."""

import asyncio
import math
import time
from dataclasses import dataclass, field
from typing import Any

EpochRow = dict[str, Any]
KEPT = 3
"""Trials of before whose workers may still be about to leave."""


@dataclass
class Meeting:
    """What the workers of one trial have told each other.

    Args:
        said: what rank 0 has said, one after the other.
        left: the ranks that are through with the trial.
        over_at: when the others are to end, by this process's clock.
    """

    said: list[Any] = field(default_factory=list)
    left: set[int] = field(default_factory=set)
    over_at: float = math.inf


class Mailbox:
    """Where a trial leaves its config for the workers, and rank 0 its rows for the trial and its words for the other
    workers. A row waits until the trial asks for the next one, or is over. Trials are numbered from 1."""

    def __init__(self) -> None:
        self._moved = asyncio.Condition()
        self._configs: dict[int, dict[str, Any]] = {}
        self._meetings: dict[int, Meeting] = {}
        self._over = 0
        self._row: tuple[int, int, EpochRow | None] = (0, 0, None)
        self._seen = (0, 0)

    async def give(self, trial: int, config: dict[str, Any]) -> None:
        """A trial's config, for every worker."""
        async with self._moved:
            self._configs = {number: one for number, one in self._configs.items() if number >= trial - 1}
            self._meetings = {number: one for number, one in self._meetings.items() if number >= trial - KEPT}
            self._configs[trial] = config
            self._moved.notify_all()

    async def take(self, trial: int) -> dict[str, Any]:
        """Wait for a trial's config."""
        async with self._moved:
            await self._moved.wait_for(lambda: trial in self._configs)
            return self._configs[trial]

    async def send(self, trial: int, number: int, row: EpochRow | None) -> bool:
        """A trial's row, counted from 1; None: there are no more. Whether to go on."""
        async with self._moved:
            if trial > self._over:
                self._row = (trial, number, row)
                self._moved.notify_all()
                await self._moved.wait_for(lambda: self._seen >= (trial, number) or trial <= self._over)
            return trial > self._over

    async def next(self, trial: int, number: int) -> EpochRow | None:
        """Wait for a trial's row of this number; those before it were seen."""
        async with self._moved:
            self._seen = (trial, number - 1)
            self._moved.notify_all()
            await self._moved.wait_for(lambda: self._row[:2] == (trial, number))
            return self._row[2]

    async def end(self, trial: int) -> None:
        """A trial is over: who waits with a row of it shall stop."""
        async with self._moved:
            self._over = max(self._over, trial)
            self._moved.notify_all()

    async def say(self, trial: int, what: Any) -> None:
        """Rank 0's next word in a trial."""
        async with self._moved:
            self._meeting(trial).said.append(what)
            self._moved.notify_all()

    async def heard(self, trial: int, number: int) -> Any:
        """Wait for rank 0's word of this number, from 0; None where rank 0 has left without it."""
        async with self._moved:
            meeting = self._meeting(trial)
            await self._moved.wait_for(lambda: len(meeting.said) > number or 0 in meeting.left)
            return meeting.said[number] if len(meeting.said) > number else None

    async def end_others(self, trial: int, after_s: float) -> None:
        """The other workers of a trial are to end, in so many seconds."""
        async with self._moved:
            meeting = self._meeting(trial)
            meeting.over_at = min(meeting.over_at, time.monotonic() + after_s)

    async def is_over(self, trial: int) -> bool:
        """Whether they are to end now."""
        async with self._moved:
            return time.monotonic() >= self._meeting(trial).over_at

    async def leave(self, trial: int, rank: int, *, of: int) -> None:
        """A worker is through with a trial. Rank 0 waits for the others, so that a trial is over on all of its nodes at
        once."""
        async with self._moved:
            meeting = self._meeting(trial)
            meeting.left.add(rank)
            if rank == 0:
                meeting.over_at = min(meeting.over_at, time.monotonic())
            self._moved.notify_all()
            if rank == 0:
                await self._moved.wait_for(lambda: len(meeting.left) == of)

    def _meeting(self, trial: int) -> Meeting:
        return self._meetings.setdefault(trial, Meeting())


class MailboxPeers:
    """See :class:`ipix_tune.trainer.peers.Peers`; a worker of a trial, for which the mailbox is another process."""

    def __init__(self, mailbox: Any, trial: int, *, rank: int, count: int) -> None:
        import ray

        self._mailbox, self._trial, self._number = mailbox, trial, 0
        self.rank, self.count = rank, count
        self.address = str(ray.util.get_node_ip_address())

    def first_says(self, what: Any = None) -> Any:
        import ray

        self._number += 1
        if self.rank == 0:
            ray.get(self._mailbox.say.remote(self._trial, what))
            return what
        return ray.get(self._mailbox.heard.remote(self._trial, self._number - 1))

    def end(self, *, after_s: float = 0.0) -> None:
        import ray

        ray.get(self._mailbox.end_others.remote(self._trial, after_s))

    def is_over(self) -> bool:
        import ray

        over: bool = ray.get(self._mailbox.is_over.remote(self._trial))
        return over

    def leave(self) -> None:
        """This worker is through with the trial; rank 0 waits for the others."""
        import ray

        ray.get(self._mailbox.leave.remote(self._trial, self.rank, of=self.count))
