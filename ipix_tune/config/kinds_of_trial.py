"""Every kind of trial that a study may have, checked before one starts."""

import random

from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig

PROBES = 200
"""Random corners of the space, at the ends of every range."""


def check_kinds(study: StudyConfig, space: SearchSpace) -> None:
    """Have the trainer check the study's points and corners of its space, by what they would be built of.

    Raises:
        UserError: such a trial cannot start; with the values that ask for it.
    """
    rng = random.Random(0)
    corners = (space.sample(rng, corners=True) for _ in range(PROBES if space.dimensions else 1))
    space.trainer.check_kinds(
        ((values, space.to_config(values)) for values in (*study.points, *corners)), study.resources
    )
