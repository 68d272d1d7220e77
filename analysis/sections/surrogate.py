"""All sections that stand on the surrogate, or on several seeds; the surrogate is fitted and checked once for all."""

from dataclasses import replace
from pathlib import Path

from analysis.sections.classes import class_sections
from analysis.sections.section import Section
from analysis.sections.sensitivity import sensitivity_sections
from analysis.sections.stopping import stopping_sections
from analysis.stats.crossval import Check
from analysis.stats.study import Study
from analysis.stats.surrogate import Surrogate
from analysis.tables import Tables


def surrogate_sections(
    study: Study, tables: Tables, plots: Path, fitted: tuple[Surrogate, Check] | None
) -> list[Section]:
    """Sensitivity, stopping and classes.

    Args:
        fitted: what `analysis.stats.crossval.fit_and_check` found for the study.
    """
    surrogate, checked = fitted or (None, None)
    stands = ""
    if surrogate is not None:
        stands = (
            f"{len(surrogate.trials)} trials, {surrogate.complete} of them at full length; {surrogate.rows} scores; "
            f"{study.seeds_each()}"
        )
    return [
        *(replace(one, n=stands) for one in sensitivity_sections(study, tables, plots, surrogate, checked)),
        *stopping_sections(study, plots, surrogate, checked),
        *class_sections(study, tables, plots),
    ]
