"""Where a simulation's learning curves come from: a study's own tables, or a family of curves by name.

A source answers every configuration of a search space with a whole curve. The same configuration always gets the same
curve. `docs/explanation/search-measured.md` describes the families.
"""

from pathlib import Path

from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.study.simulation.curve import Curves, CurvesError
from ipix_tune.study.simulation.hpobench_curves import HpoBenchCurves
from ipix_tune.study.simulation.parametric_curves import ParametricCurves
from ipix_tune.study.simulation.recorded_curves import recorded_curves
from trainers.common.errors import did_you_mean

HPOBENCH = ("australian", "blood_transfusion", "car", "credit_g", "kc1", "phoneme", "segment", "vehicle")
FAMILIES = ("power", "exponential", *(f"hpobench-{name}" for name in HPOBENCH))
"""Names that `--curves` takes besides a folder."""


def curves_of(source: str, study: StudyConfig, *, epochs: int, seed: int) -> Curves:
    """The source named ``source``: a study's folder with tables, or one of `FAMILIES`.

    Args:
        study: the study that asks.
        epochs: its full length.
        seed: of a family: which of its members.

    Raises:
        CurvesError: there is none, or it does not fit the study.
    """
    if source in ("power", "exponential"):
        return ParametricCurves(SearchSpace(study), shape=source, mode=study.objective.mode, epochs=epochs, seed=seed)
    if source in FAMILIES:
        return HpoBenchCurves(source.removeprefix("hpobench-"), mode=study.objective.mode, epochs=epochs, seed=seed)
    folder = Path(source)
    if not folder.is_dir():
        hint = did_you_mean(source, FAMILIES)
        raise CurvesError(
            f"--curves {source}: neither a study's folder nor a family{hint}; families: {', '.join(FAMILIES)}"
        )
    return recorded_curves(folder, study, epochs=epochs)
