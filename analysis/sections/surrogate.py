"""All sections that stand on the surrogate, or on several seeds; the surrogate is fitted and checked once for all."""

from dataclasses import replace

from analysis.columns import CONFIRM
from analysis.figures.render import Figures
from analysis.ingest.tables import Tables
from analysis.sections.classes import class_sections
from analysis.sections.section import Part, ReportSection
from analysis.sections.sensitivity import sensitivity_sections
from analysis.sections.stopping import stopping_sections
from analysis.stats.confirm.results import Confirmed
from analysis.stats.sensitivity.cross_validation import Check
from analysis.stats.sensitivity.external_evidence import confirmed_pairs
from analysis.stats.sensitivity.surrogate import Surrogate
from analysis.stats.study import StudyTrials, from_tables


def surrogate_sections(
    study: StudyTrials,
    tables: Tables,
    figures: Figures,
    fitted: tuple[Surrogate, Check] | None,
    confirmation: Confirmed | None = None,
) -> list[Part]:
    """Sensitivity, stopping and classes.

    Args:
        fitted: what `analysis.stats.sensitivity.cross_validation.fit_and_check` found for the study.
        confirmation: whose pairs stand beside the surrogate's, where there is one, and whose runs say what seeds and
            classes do, once it has a configuration with two seeds.
    """
    pairs = () if confirmation is None else confirmed_pairs(confirmation)
    if confirmation is not None and max(len(arm.scores) for arm in confirmation.arms) < 2:
        confirmation = None
    seeded = study if confirmation is None else from_tables(tables, phase=CONFIRM)
    surrogate, checked = fitted or (None, None)
    stands = ""
    if surrogate is not None:
        stands = (
            f"{len(surrogate.trials)} trials, {surrogate.complete} of them at full length; {surrogate.rows} scores; "
            f"{study.seeds_each()}"
        )
    sensitivity = sensitivity_sections(study, tables, figures, surrogate, checked, pairs)
    return [
        *(replace(one, n=stands) if isinstance(one, ReportSection) else one for one in sensitivity),
        *stopping_sections(study, seeded, figures, surrogate, checked),
        *class_sections(seeded, tables, figures, confirmation),
    ]
