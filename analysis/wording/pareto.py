"""What the report says of two objectives, in words, each statement with its n."""

from dataclasses import replace
from typing import TYPE_CHECKING

from analysis.stats.pareto import Pareto, Point, pareto
from analysis.stats.sensitivity.stopped_early import seed_noise_at
from analysis.stats.study import StudyTrials
from analysis.units import is_miou, is_percent
from analysis.wording.phrases import PUBLISHED_BY, PUBLISHED_SPREAD, configurations, epochs

if TYPE_CHECKING:
    from analysis.wording.answer_type import Answer

MEASURED = ("time/", "memory/")
"""How the names of metrics begin that were measured on the machine."""


def front_of(study: StudyTrials) -> Pareto | None:
    """The study's front, with what is known of the noise of its first objective."""
    measured = seed_noise_at(study, study.max_epochs)
    if measured is not None:
        return pareto(study, noise=measured.value)
    return pareto(study, noise=PUBLISHED_SPREAD if is_miou(study.metric) else None)


def of_two(answer: "Answer", study: StudyTrials) -> "Answer":
    """The first screen of a study with two objectives: there is no single winner."""
    assert study.second_objective is not None
    first, second = (
        f"{_most(study.mode)} {study.metric}",
        f"{_most(study.second_objective.mode)} {study.second_objective.metric}",
    )
    question = (
        f"Which settings of {len(study.parameters)} searched parameters weigh the {first} against the {second} best, "
        f"after {epochs(study.max_epochs)}?"
    )
    found = front_of(study)
    if found is None:
        return replace(answer, question=question)
    ends = found.front[0], found.front[-1]
    count = len(found.front)
    span = f"from {_told(ends[0], study)} (trial {ends[0].trial.number})"
    if count > 1:
        span += f" to {_told(ends[1], study)} (trial {ends[1].trial.number})"
    return replace(
        answer,
        question=question,
        headline=(
            f"{'' if count == 1 else 'No single winner: '}{count} of {len(found.points)} configurations "
            f"{'is alone' if count == 1 else 'are'} on the Pareto front, {span}; {seeds_in_words(found)}."
        ),
        rule=(
            "On the front: no other configuration that ran all its epochs is as good in both and better in one. "
            f"Stopped and failed trials cannot be on it. best.yaml is the front's end with the best {study.metric} "
            f"(trial {ends[0].trial.number}); ipix-tune export --trial takes another."
        ),
        trust=say_trust(found, study),
    )


def say_trust(found: Pareto, study: StudyTrials) -> str:
    """How far the front is to be believed."""
    assert study.second_objective is not None
    parts = []
    if any(point.seeds == 1 for point in found.points):
        parts.append("One seed per configuration: who is on the front is provisional.")
    if found.noise is None:
        parts.append(f"By how much seeds differ in {study.metric} is not known, so neither is who would stay there.")
    else:
        off = len(found.points) - len(found.front)
        parts.append(
            f"Seeds of one configuration differ by about {found.noise:.3g} {_whose(study)}; {found.close} of the "
            f"{len(found.front)} on the front differ by less than that from another one there, and {found.near} of the "
            f"{off} others would be on it with {found.noise:.3g} more."
        )
    if study.second_objective.metric.startswith(MEASURED):
        parts.append(
            f"{study.second_objective.metric} was measured once in every trial, beside whatever else ran on its "
            "machine; it holds for that machine."
        )
    return " ".join(parts)


def _whose(study: StudyTrials) -> str:
    """Where the noise of the first objective is from."""
    measured = seed_noise_at(study, study.max_epochs)
    if measured is None:
        return f"mIoU elsewhere, not measured here ({PUBLISHED_BY})"
    return f"in this study (standard deviation, {measured.runs} runs of {configurations(measured.configs)})"


def say_front(found: Pareto, study: StudyTrials) -> str:
    """One sentence of reading."""
    assert study.second_objective is not None
    text = (
        f"{len(found.front)} of {len(found.points)} configurations that ran all {study.max_epochs} epochs are on the "
        f"front ({seeds_in_words(found)}); for every other one there is one as good in both and better in one."
    )
    if any(trial.state == "stopped" for trial in study.trials):
        text += (
            f" The scheduler stopped trials by {study.metric} alone, so that what is weak there was seldom run to the "
            "end, however cheap: the front's cheap end may be incomplete."
        )
    return text


def seeds_in_words(found: Pareto) -> str:
    """`1 seed each`, `1 to 3 seeds each`."""
    low, high = min(point.seeds for point in found.points), max(point.seeds for point in found.points)
    return f"{low} to {high} seeds each" if low < high else f"{low} seed{'s' if low > 1 else ''} each"


def _told(point: Point, study: StudyTrials) -> str:
    assert study.second_objective is not None
    percent = " %" if is_percent(study.metric) else ""
    return f"{study.metric} {point.score:.2f}{percent} at {study.second_objective.metric} {point.second_score:.4g}"


def _most(mode: str) -> str:
    return "highest" if mode == "max" else "lowest"
