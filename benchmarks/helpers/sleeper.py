"""A Ray actor that stands for a trial's process and only sleeps. It imports nothing else, so that two hundred of them
have room on one machine."""

import random
import time


class Sleeper:
    """Trains what it is given, and says nothing else.

    Args:
        seconds: of an epoch, on the average.
        seed: of how long each takes.
    """

    def __init__(self, seconds: float, seed: int) -> None:
        self._seconds, self._rng = seconds, random.Random(seed)

    def train(self) -> float:
        """One epoch; when it ended, by the clock that all processes of a machine share."""
        time.sleep(self._seconds * (0.5 + self._rng.random()))
        return time.monotonic()
