"""Sections on the budget: what the rungs ranked, what was stopped too early, and how far seeds differ."""

from functools import partial

from analysis.figures import forest, learning_curves, style
from analysis.figures.render import Figures
from analysis.sections import unanswered
from analysis.sections.section import Part, ReportSection
from analysis.sections.seed_sources import seed_sources_section
from analysis.stats.seed_sources import is_crossed
from analysis.stats.sensitivity.cross_validation import Check
from analysis.stats.sensitivity.rung_noise import rung_noise
from analysis.stats.sensitivity.stopped_early import LIKELY, own_noise_at, seed_noise, stopped_early
from analysis.stats.sensitivity.surrogate import Surrogate
from analysis.stats.study import StudyTrials
from analysis.wording import rungs, sensitivity
from analysis.wording.phrases import configurations

SHOWN = 12


def stopping_sections(
    study: StudyTrials, seeded: StudyTrials, figures: Figures, surrogate: Surrogate | None, check: Check | None
) -> list[Part]:
    """None before the first score. ``seeded``: the runs that say how far seeds differ."""
    if not any(trial.curve for trial in study.trials):
        return []
    usable = surrogate if check is not None and check.usable else None
    sections: list[Part] = [_rungs(study, seeded, figures, usable)]
    if usable is not None and any(trial.state == "stopped" for trial in study.trials):
        sections.append(_stopped(usable, figures))
    if is_crossed(study):
        sections.append(seed_sources_section(study, figures))
    if seeded is not study or not is_crossed(study):
        sections.append(_seeds(study, seeded, figures, usable))
    return sections


def _rungs(study: StudyTrials, seeded: StudyTrials, figures: Figures, usable: Surrogate | None) -> ReportSection:
    noise = rung_noise(study, seeded, usable) if study.rungs else None
    return ReportSection(
        title="Did the rungs stop the right trials?",
        reading=f"{rungs.say_curves(study)} {rungs.say_rung_noise(noise, study)}".strip(),
        figure=figures.drawn("curves", partial(learning_curves.draw, study)),
        alt="Learning curves of all trials",
        n=f"{sum(bool(trial.curve) for trial in study.trials)} trials, {study.seeds_each()}",
    )


def _seeds(study: StudyTrials, seeded: StudyTrials, figures: Figures, usable: Surrogate | None) -> Part:
    title, noise = "How far do seeds differ?", seed_noise(seeded)
    if not noise and usable is None:
        return unanswered.no_seed_noise(title)
    lines = [
        forest.Line(
            label=f"epoch {one.epoch} (n = {one.runs} runs of {one.configs})",
            value=one.value,
            interval=(one.low, one.high),
            colour=style.BLUE,
            group="seeds",
        )
        for one in noise
    ]
    unit = f"standard deviation of {style.unit(study.metric)}, 95 % interval"
    return ReportSection(
        title=title,
        reading=sensitivity.say_seed_noise(noise, usable, own_noise_at(seeded, noise[-1].epoch) if noise else None),
        figure=figures.drawn(
            "seed-noise",
            partial(forest.draw, lines, title="Between seeds of one configuration", unit=unit),
        )
        if lines
        else None,
        alt="Standard deviation between seeds at every budget, with intervals",
        n="; ".join(f"{one.runs} runs of {configurations(one.configs)} at epoch {one.epoch}" for one in noise)
        or f"no configuration with several seeds; {seeded.seeds_each()}",
    )


def _stopped(surrogate: Surrogate, figures: Figures) -> ReportSection:
    study, found, best = surrogate.study, stopped_early(surrogate), surrogate.study.best()
    level = None if best is None else study.mean_score(best)
    lines = [
        forest.Line(
            label=f"trial {one.number} after {one.epochs} ({one.chance:.0%})",
            value=one.end[0],
            interval=one.end[1:],
            colour=style.RED if one.chance > LIKELY else style.BLUE,
            group="too early" if one.chance > LIKELY else "likely below it",
        )
        for one in found[:SHOWN]
    ]
    title = f"Expected end of stopped trials, line: the incumbent (likeliest {len(lines)} of {len(found)})"
    return ReportSection(
        title="Which trials were stopped too early?",
        reading=sensitivity.say_stopped(found, surrogate),
        figure=figures.drawn(
            "stopped",
            partial(
                forest.draw,
                lines,
                title=title,
                unit=style.unit(study.metric),
                zero=level,
            ),
        )
        if lines
        else None,
        alt="Expected final scores of stopped trials with intervals, against the incumbent",
        n=f"{len(found)} stopped trials, {study.seeds_each()}; the surrogate stands on {len(surrogate.trials)} trials",
    )
