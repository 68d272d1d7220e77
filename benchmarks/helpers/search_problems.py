"""Problems for a search: learning curves by family, and the study that searches them."""

from collections.abc import Mapping
from pathlib import Path

from benchmarks.helpers.recorded_digits import RecordedDigits, shipped
from benchmarks.helpers.trained_curves import DATA, SEARCH, TrainedCurves
from ipix_tune.config.dimension_config import Dimension
from ipix_tune.config.load_study import load
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.study.simulation.curve import Curves
from ipix_tune.study.simulation.curves import HPOBENCH
from ipix_tune.study.simulation.hpobench_curves import HpoBenchCurves
from ipix_tune.study.simulation.parametric_curves import ParametricCurves
from ipix_tune.trainer.resources import Value

FAMILIES = ("power", "exponential", "mlp", "kernel")
"""Those of `benchmarks.search_quality`; `benchmarks.anytime` has the recorded digits too."""


SPACE = Path(__file__).parents[2] / "search_spaces" / "voc.yaml"


def problem(family: str, seed: int) -> Curves:
    """One member of a family."""
    if family in SEARCH:
        return TrainedCurves(family, list(DATA)[seed % len(DATA)], seed)
    if family == "digits":
        return RecordedDigits(shipped(), seed)
    if family == "hpobench":
        return HpoBenchCurves(HPOBENCH[seed % len(HPOBENCH)], mode="max", epochs=EPOCHS, seed=seed)
    return ParametricCurves(SearchSpace(load(SPACE)), shape=family, mode="max", epochs=EPOCHS, seed=seed)


def truth(curves: Curves, values: Mapping[str, Value]) -> float:
    """What a configuration is worth after the last epoch, without the luck of the training by which it was found: a
    formula without its jitter, of a real training the mean of other seeds, of a recorded one that of all."""
    if isinstance(curves, ParametricCurves):
        return curves.end(values)
    if isinstance(curves, TrainedCurves | RecordedDigits):
        return curves.worth(curves.curve(values))
    return curves.curve(values).scores[-1] or 0.0


def search_of(curves: Curves) -> dict[str, Dimension]:
    """The space without priors."""
    search = curves.search if curves.search is not None else load(SPACE).search
    return {name: dimension.model_copy(update={"prior": None}) for name, dimension in search.items()}


def study_of(
    search: Mapping[str, Dimension], *, sampler: str, scheduler: str, trials: int, seed: int, quota: bool = True
) -> StudyConfig:
    """A study as `studyfile.load` would give it, for a space that the training config need not have."""
    return StudyConfig.model_validate(
        {
            "name": "search-quality",
            "trainer": load(SPACE).trainer,
            "search": dict(search),
            "sampler": {"name": sampler, "seed": seed},
            "scheduler": {"name": scheduler, "quota": quota},
            "budget": {"trials": trials},
        }
    )


EPOCHS, CONCURRENT, FULL_TRIALS = 27, 4, 64
