"""Sections on the search: its course, its parameters, its rungs."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from analysis import findings, readings
from analysis.figures import comparison, curves, fidelity, parallel, parameters, progress, style
from analysis.figures import importance as shares
from analysis.figures.drawing import drawn
from analysis.sections.section import Section
from analysis.stats.beside import Beside
from analysis.stats.compare import compare
from analysis.stats.fidelity import fidelity as rung_fidelity
from analysis.stats.importance import importance as measure
from analysis.stats.study import Study

DISTANCE = "interpixel.distance"


def search_sections(study: Study, plots: Path, confirmed: Sequence[Beside] = ()) -> list[Section]:
    """One section for each question that a search's trials can answer, its course first; none before the first
    score. ``confirmed``: pairs of choices that were run with several seeds."""
    scored = sum(bool(trial.curve) for trial in study.trials)
    if scored == 0:
        return []
    trials = f"{scored} trials, {study.seeds_each()}"
    found = [
        Section(
            title="How did the search go?",
            reading=f"{scored} trials have a score. Only one that ran all {study.max_epochs} epochs can be incumbent.",
            figure=drawn(plots, "progress", partial(progress.draw, study)),
            alt="Score of every trial in the order of its end, with the incumbent",
            n=f"{trials}; {len(study.complete)} of them ran all {study.max_epochs} epochs",
        )
    ]
    if study.parameters:
        found += [
            Section(
                title="What did every parameter do?",
                reading="Compare dots of one colour only: a darker dot ran fewer epochs, and had less time to score.",
                figure=drawn(plots, "parameters", partial(parameters.draw, study)),
                alt="Scatter of every parameter against the last score, coloured by epochs",
                n=f"{trials}, of different budgets",
            ),
            Section(
                title="Which combinations did well?",
                reading="Each line is a trial; a line that breaks has a parameter that was not active in it.",
                figure=drawn(plots, "parallel", partial(parallel.draw, study)),
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
                figure=drawn(plots, "kl-cr", partial(comparison.draw, pair, unit=style.unit(study.metric)))
                if pair is not None and pair.difference is not None
                else None,
                alt="Scores of trials with KL and with CR at the same budget",
                n=f"{len(pair.first_scores)} trials with KL, {len(pair.second_scores)} with CR, at epoch {pair.epoch}; "
                f"{pair.seeds}"
                if pair
                else "",
                notes=tuple(readings.say_pair(one) for one in confirmed if one.name == DISTANCE),
            )
        )
    found.append(
        Section(
            title="Did the rungs stop the right trials?",
            reading=findings.say_curves(study),
            figure=drawn(plots, "curves", partial(curves.draw, study)),
            alt="Learning curves of all trials",
            n=trials,
        )
    )
    told = rung_fidelity(study)
    found.append(
        Section(
            title="Do early epochs tell?",
            reading=findings.say_fidelity(told, study),
            figure=drawn(plots, "fidelity", partial(fidelity.draw, told, study)) if told else None,
            alt="Rank correlation of every rung's scores with the final scores, with intervals",
            n=f"{told.trials} trials of full length, {study.seeds_each()}" if told else "",
        )
    )
    return found


def importance_sections(study: Study, plots: Path) -> list[Section]:
    """Importance among the trials of one budget, for where no surrogate can be trusted, which says more; none before
    the first score."""
    if not study.parameters or not any(trial.curve for trial in study.trials):
        return []
    weights = measure(study)
    return [
        Section(
            title="Which parameters matter?",
            reading=findings.say_importance(weights, study),
            figure=drawn(plots, "importance", partial(shares.draw, weights)) if weights else None,
            alt="Share of variance per parameter with intervals",
            n=f"{weights.trials} trials at epoch {weights.epoch}, {weights.seeds}" if weights else "",
        )
    ]
