"""What earlier studies, a calibration among them, know of how much of this study's first rung would be luck."""

from typing import TYPE_CHECKING

from ipix_tune.config.study_config import StudyConfig
from ipix_tune.search.warm_start import tables_in

if TYPE_CHECKING:
    from analysis.ingest.tables import Tables
    from analysis.stats.sensitivity.rung_noise import RungNoise
    from analysis.stats.study import StudyTrials


def describe_rung_noise(study: StudyConfig, *, max_epochs: int) -> list[str]:
    """A line for every study under `warm_start` of the same length that knows it; none without a scheduler.

    Raises:
        WarmStartError: a folder is not there or has no tables.
    """
    from analysis.stats.study import from_tables
    from analysis.wording.rungs import say_noise

    grace = study.scheduler.grace_epochs
    if study.scheduler.name == "none" or grace >= max_epochs:
        return []
    found = []
    for folder in study.warm_start:
        known = tables_in(folder)
        recorded = from_tables(known, metric=study.objective.metric)
        if recorded.max_epochs != max_epochs:
            continue
        noise = noise_in(recorded, known, epoch=grace)
        if noise is not None:
            found.append(f"{folder}: {say_noise(noise)}")
    return found


def noise_in(recorded: "StudyTrials", known: "Tables", *, epoch: int) -> "RungNoise | None":
    """Of a rung after ``epoch`` epochs: by confirming runs, else by configurations that the search ran with several
    seeds, else by a surrogate that predicts better than the mean; None where a study has none of these."""
    from analysis.columns import CONFIRM
    from analysis.stats.sensitivity.cross_validation import fit_and_check
    from analysis.stats.sensitivity.rung_noise import rung_noise
    from analysis.stats.study import from_tables

    for seeded in (from_tables(known, metric=recorded.metric, phase=CONFIRM), recorded):
        if (found := rung_noise(recorded, seeded, epoch=epoch)) is not None:
            return found
    fitted = fit_and_check(recorded)
    if fitted is None or not fitted[1].usable:
        return None
    return rung_noise(recorded, recorded, fitted[0], epoch=epoch)
