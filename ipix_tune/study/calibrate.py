"""`--calibrate N`: a few full-length trials before a study, and which grace period they support."""

import shlex
from collections.abc import Sequence

from ipix_tune.config.study_config import BudgetConfig, StudyConfig
from ipix_tune.storage import study_folder
from ipix_tune.study.earlier_noise import noise_in


def calibration(study: StudyConfig, *, trials: int) -> StudyConfig:
    """The study of ``trials`` random configurations, all at full length, in a folder of its own. It keeps grace period
    and reduction, by which its report counts."""
    return study.model_copy(
        update={
            "name": f"{study.name}-calibration",
            "points": [],
            "warm_start": [],
            "sampler": study.sampler.model_copy(update={"name": "random"}),
            "scheduler": study.scheduler.model_copy(update={"name": "none"}),
            "budget": BudgetConfig(trials=trials),
            "confirm": None,
            "keep_checkpoints": "none",
        }
    )


def findings_of(calibrated: StudyConfig, *, asked: StudyConfig, start: Sequence[str]) -> list[str]:
    """What the calibration found, and the command that starts the study next.

    Args:
        calibrated: the calibration, run and with tables.
        asked: the study that it was for.
        start: the command line of that study.
    """
    from analysis.ingest import tables
    from analysis.stats.rung_correlation import fidelity
    from analysis.stats.study import from_tables
    from analysis.wording.rungs import say_fidelity, say_noise, say_supported

    place = study_folder.study_folder(calibrated)
    known = tables.load(place)
    study = from_tables(known)
    found = fidelity(study)
    lines = [say_fidelity(found, study)]
    if (noise := noise_in(study, known, epoch=asked.scheduler.grace_epochs)) is not None:
        lines.append(say_noise(noise))
    more: list[str] = []
    if found is not None:
        supported = say_supported(found)
        lines += [supported] if supported not in lines[0] else []
        scheduler = "name=none" if found.supported is None else f"grace_epochs={found.supported}"
        more.append(f"--set=scheduler.{scheduler}")
        if (other := brackets_instead(asked, found.supported)) is not None:
            lines.append(other)
    if asked.sampler.name == "tpe" and asked.objective.second_objective is None:
        earlier = [*asked.warm_start, f"{asked.storage}/{calibrated.name}"]
        more.append(f"--set=warm_start=[{', '.join(earlier)}]")
    return [*lines, f"start the study with: {shlex.join([*start, *more])}"]


def brackets_instead(asked: StudyConfig, supported: int | None) -> str | None:
    """What to set where the supported grace period is longer than the study's and costs too much; None where it is not
    longer."""
    scheduler = asked.scheduler
    if supported is None or supported <= scheduler.grace_epochs or scheduler.brackets > 1:
        return None
    brackets, rung = 1, scheduler.grace_epochs
    while rung < supported:
        brackets, rung = brackets + 1, rung * scheduler.reduction
    return (
        f"Where that costs too many epochs, keep grace_epochs: {scheduler.grace_epochs} and set scheduler.brackets: "
        f"{brackets}: only a part of the trials is then not judged before epoch {rung}."
    )
