"""What the report says on its first screen of a search, in words, each statement with its n. No drawing, no HTML."""

import json
from dataclasses import replace
from typing import Any

from analysis.columns import CONFIRM, key_of
from analysis.ingest.tables import Tables
from analysis.stats.sensitivity.stopped_early import measured_noise
from analysis.stats.study import StudyTrials, Trial, from_tables
from analysis.units import is_miou, is_percent
from analysis.wording.answer_type import Answer, Headline
from analysis.wording.pareto import of_two
from analysis.wording.phrases import (
    OWN_LISTS,
    PUBLISHED_BY,
    PUBLISHED_SPREAD,
    as_reported,
    configurations,
    duration,
    epochs,
    shown,
    validation_called,
)


def answer(study: StudyTrials, tables: Tables, *, confirmed: Headline | None = None) -> Answer:
    """The answer that a confirmation gives, or without one the provisional answer, with what stands behind it."""
    found = _provisional(study, tables)
    if confirmed is None:
        return found
    known = (*study.trials, *from_tables(tables, phase=CONFIRM).trials)
    best = next((trial for trial in known if key_of(trial.run_id) == confirmed.key), found.best)
    return replace(
        found,
        question=confirmed.question,
        headline=confirmed.headline,
        trust=confirmed.trust,
        shown=confirmed.shown,
        rule=confirmed.rule,
        cost=f"Search: {found.cost} {confirmed.cost}",
        best=best,
        provisional=not confirmed.confirmed,
        config=() if best is None else tuple((name, shown(value)) for name, value in best.values.items()),
    )


def _provisional(study: StudyTrials, tables: Tables) -> Answer:
    best = study.best()
    config: tuple[tuple[str, str], ...] = ()
    if best is None or best.score is None:
        headline, trust = _no_score(study), ""
    else:
        seeds, rivals = study.seeds_of(best), len(study.ranked)
        score = study.mean_score(best) or 0.0
        runs = f"{max(best.curve)} of {study.max_epochs} epochs"
        headline = (
            f"Provisional winner: trial {best.number}, {study.metric} {score:.2f}{_percent(study)} after {runs}, "
            f"{_spread(study, best, seeds)}."
        )
        trust = _trust(study, tables, best, seeds=seeds, rivals=rivals)
        config = tuple((name, shown(value)) for name, value in best.values.items())
    found = Answer(
        question=(
            f"Which setting of {len(study.parameters)} searched parameters gives the "
            f"{'highest' if study.mode == 'max' else 'lowest'} {study.metric} after {epochs(study.max_epochs)}?"
        ),
        headline=headline,
        rule=(
            f"Selection: the best last score among trials that ran all {epochs(study.max_epochs)}, a mean where a "
            "configuration has several seeds. Stopped and failed trials cannot win, nor can those that break a "
            "constraint; while no trial is complete, the best at the highest epoch with a score is shown."
        ),
        trust=trust,
        best=best,
        provisional=True,
        config=config,
        cost=_cost(study),
        scored_on=_scored_on(study, tables),
    )
    return found if study.second_objective is None else of_two(found, study)


def _no_score(study: StudyTrials) -> str:
    failed = sum(trial.state == "failed" for trial in study.trials)
    if failed and failed == len(study.trials):
        return f"No answer: {'the only trial' if failed == 1 else f'all {failed} trials'} failed."
    broke = sum(trial.state == "infeasible" for trial in study.trials)
    if broke:
        others = f", {failed} failed" if failed else ""
        return f"No answer: of {len(study.trials)} trials {broke} broke a constraint{others}, and no other has a score."
    without = f"; {failed} of {len(study.trials)} trials failed" if failed else ""
    return f"No answer yet: no trial that did not fail has a score{without}."


def _trust(study: StudyTrials, tables: Tables, best: Trial, *, seeds: int, rivals: int) -> str:
    if best.state != "complete":
        return (
            f"No trial has run all {study.max_epochs} epochs; this is the best of those that ran longest. "
            "It is no result, only where the search stands."
        )
    if seeds > 1:
        return (
            f"Mean over {seeds} seeds; the best of {rivals} configurations that ran to the end, chosen after looking, "
            "so that its score is too high on average. It is not confirmed: that takes a comparison over paired seeds."
        )
    gap = f" It leads the next by {abs(study.ranked[0].score - study.ranked[1].score):.2f}." if rivals > 1 else ""
    several = "with several seeds" if tables.unpaired is None else "several times"
    return (
        f"One seed per configuration: the winner is provisional. It is the best of {rivals} that ran to the end, so "
        f"its score is too high on average.{gap} {say_seeds(study, tables)} Train the leading configurations {several} "
        "before you believe an order among them."
    )


def say_seeds(study: StudyTrials, tables: Tables) -> str:
    """How far seeds differ: as this study measured it, else as others published it, else that it is not known."""
    found = measured_noise(study, tables)
    if found is not None:
        return (
            f"Seeds of one configuration differ by {found.value:.2f} in this study (standard deviation, 95 % interval "
            f"{found.low:.2f} to {found.high:.2f}, n = {found.runs} runs of {configurations(found.configs)})."
        )
    if not is_miou(study.metric):
        return f"By how much seeds differ in {study.metric} is not known."
    return (
        f"How far seeds differ here is not measured; elsewhere it was about {PUBLISHED_SPREAD} mIoU ({PUBLISHED_BY}), "
        "and with few labels or short training it may be several times that."
    )


def _spread(study: StudyTrials, best: Trial, seeds: int) -> str:
    """The seeds behind the score and its interval, which one seed does not give."""
    from analysis.stats.configuration_means import result_of

    standing = study.standing_of(best)
    if standing is None or seeds == 1:
        return "1 seed, so that it has no interval"
    found = result_of(study, standing)
    if found.low is None or found.high is None:
        return f"mean over {seeds} runs that share seeds of single sources of chance, so that it has no interval yet"
    return f"mean over {seeds} seeds, 95 % interval {found.low:.2f} to {found.high:.2f}"


def _percent(study: StudyTrials) -> str:
    return " %" if is_percent(study.metric) else ""


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def _cost(study: StudyTrials) -> str:
    epochs = sum(trial.epochs for trial in study.trials)
    counts = {state: sum(trial.state == state for trial in study.trials) for state in _STATES}
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    full = len(study.trials) * study.max_epochs
    running = counts["running"] > 0
    of = f" of {study.planned}" if running and study.planned and study.planned > len(study.trials) else ""
    return (
        f"{len(study.trials)}{of} trials ({states}), {epochs} epochs of {full} without early stopping, "
        f"{duration(sum(trial.runtime_s for trial in study.trials))}.{_to_go(study) if running else ''}"
    )


def _to_go(study: StudyTrials) -> str:
    """How long the search will go on, as trials have ended so far; empty before the first."""
    ended = [trial for trial in study.trials if trial.state != "running"]
    if not ended or study.planned is None or study.planned <= len(ended):
        return ""
    began = min(trial.ended_at - trial.runtime_s for trial in study.trials)
    now = max(trial.ended_at for trial in study.trials)
    minutes = (now - began) / len(ended) * (study.planned - len(ended)) / 60
    left = f"{minutes / 60:.1f} hours" if minutes >= 60 else f"{max(minutes, 1):.0f} minutes"
    return f" About {left} to go, at the pace so far."


_STATES = ("complete", "stopped", "infeasible", "failed", "interrupted", "running", "crashed")


def _scored_on(study: StudyTrials, tables: Tables) -> str:
    config: dict[str, Any] = json.loads(tables.runs["config"][0].as_py())
    if "data" not in config:
        return as_reported(study.metric)
    if not study.metric.startswith("val/"):
        return f"Scores are {study.metric}, which is measured in each run's own training, not on images held out of it."
    holdout = config["data"].get("holdout")
    if not holdout:
        return f"Scores are on the {validation_called(config['data'])}."
    text = f"Scores are on {holdout['images']} training images that were cut off the {holdout['source']} list"
    if config["data"].get("val") or config["data"].get("name") in OWN_LISTS:
        text += f"; the {validation_called(config['data'])} was not used for the search"
    text += "."
    if holdout["source"] == "unlabelled":
        text += (
            " The search used the masks of these images to choose the configuration, though nothing trained on them: "
            "it saw more labels than the labelled list has, which belongs beside any result."
        )
    return text
