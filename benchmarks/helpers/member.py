"""One member of a family of problems, and what the searches on it start from."""

import random
from dataclasses import dataclass
from functools import cached_property

from benchmarks.helpers.priors import with_prior
from benchmarks.helpers.search_problems import problem, search_of
from ipix_tune.config.dimension_config import Dimension
from ipix_tune.study.simulation.curve import Curves


@dataclass(frozen=True)
class Member:
    """Its curves, and the space in which they are searched; ``seed`` says which member it is."""

    family: str
    seed: int

    @cached_property
    def curves(self) -> Curves:
        """What a trial of it scores."""
        return problem(self.family, self.seed)

    @cached_property
    def plain(self) -> dict[str, Dimension]:
        """The space without priors."""
        return search_of(self.curves)

    @cached_property
    def priors(self) -> dict[bool, dict[str, Dimension]]:
        """The space with the good prior (True), and with the misleading one."""
        rng = random.Random(self.seed)
        return {good: with_prior(self.curves, self.plain, good=good, rng=rng) for good in (True, False)}
