"""Sections on the search: its course, its parameters, its rungs."""

from pathlib import Path

from analysis import findings
from analysis.figures import comparison, curves, fidelity, parallel, parameters, progress, style
from analysis.figures import importance as shares
from analysis.sections.section import Section, drawn
from analysis.stats.compare import compare
from analysis.stats.fidelity import fidelity as rung_fidelity
from analysis.stats.importance import importance as measure
from analysis.stats.study import Study

DISTANCE = "interpixel.distance"


def search_sections(study: Study, plots: Path, *, importance: bool = True) -> list[Section]:
    """One section for each question that a search's trials can answer; none before the first score.

    Args:
        importance: measure it among the trials of one budget; a surrogate that can be trusted says more.
    """
    scored = sum(bool(trial.curve) for trial in study.trials)
    if scored == 0:
        return []
    trials = f"{scored} trials, {study.seeds_each()}"
    found = [
        Section(
            title="How did the search go?",
            reading=f"{scored} trials have a score. Only one that ran all {study.max_epochs} epochs can be incumbent.",
            figures=drawn(plots, "progress", lambda theme: progress.draw(study, theme)),
            alt="Score of every trial in the order of its end, with the incumbent",
            n=f"{trials}; {len(study.complete)} of them ran all {study.max_epochs} epochs",
        )
    ]
    if study.parameters and importance:
        weights = measure(study)
        found.append(
            Section(
                title="Which parameters matter?",
                reading=findings.say_importance(weights, study),
                figures=drawn(plots, "importance", lambda theme: shares.draw(weights, theme)) if weights else (),
                alt="Share of variance per parameter with intervals",
                n=f"{weights.trials} trials at epoch {weights.epoch}, {weights.seeds}" if weights else "",
            )
        )
    if study.parameters:
        found += [
            Section(
                title="What did every parameter do?",
                reading="Compare dots of one colour only: a darker dot ran fewer epochs, and had less time to score.",
                figures=drawn(plots, "parameters", lambda theme: parameters.draw(study, theme)),
                alt="Scatter of every parameter against the last score, coloured by epochs",
                n=f"{trials}, of different budgets",
            ),
            Section(
                title="Which combinations did well?",
                reading="Each line is a trial; a line that breaks has a parameter that was not active in it.",
                figures=drawn(plots, "parallel", lambda theme: parallel.draw(study, theme)),
                alt="Parallel coordinates of all trials",
                n=f"{trials}, of different budgets",
                interactive="parallel",
            ),
        ]
    if {"kl", "cr"} <= set((study.space.get(DISTANCE) or {}).get("choices") or ()):
        pair = compare(study, DISTANCE, first="kl", second="cr")
        found.append(
            Section(
                title="KL or CR?",
                reading=findings.say_comparison(pair, first="kl", second="cr"),
                figures=drawn(plots, "kl-cr", lambda theme: comparison.draw(pair, theme, unit=style.unit(study.metric)))
                if pair
                else (),
                alt="Scores of trials with KL and with CR at the same budget",
                n=f"{len(pair.first_scores)} trials with KL, {len(pair.second_scores)} with CR, at epoch {pair.epoch}; "
                f"{pair.seeds}"
                if pair
                else "",
            )
        )
    found.append(
        Section(
            title="Did the rungs stop the right trials?",
            reading=findings.say_curves(study),
            figures=drawn(plots, "curves", lambda theme: curves.draw(study, theme)),
            alt="Learning curves of all trials",
            n=trials,
        )
    )
    told = rung_fidelity(study)
    found.append(
        Section(
            title="Do early epochs tell?",
            reading=findings.say_fidelity(told, study),
            figures=drawn(plots, "fidelity", lambda theme: fidelity.draw(told, study, theme)) if told else (),
            alt="Rank correlation of every rung's scores with the final scores, with intervals",
            n=f"{told.trials} trials of full length, {study.seeds_each()}" if told else "",
        )
    )
    return found
