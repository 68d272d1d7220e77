"""What the report says, in words, each statement with its n. No drawing, no HTML."""

import json
from dataclasses import replace
from typing import Any

from analysis.columns import CONFIRM, key_of
from analysis.ingest.tables import Tables
from analysis.stats.all_choices import Rivals
from analysis.stats.rung_correlation import LEAST as LEAST_FULL
from analysis.stats.rung_correlation import Fidelity, Rung
from analysis.stats.sensitivity.rung_noise import MOSTLY, RungNoise
from analysis.stats.sensitivity.stopped_early import measured_noise
from analysis.stats.study import Study, Trial, from_tables
from analysis.stats.two_choices import Comparison
from analysis.units import is_percent
from analysis.wording.answer_type import Answer, Headline
from analysis.wording.pareto import of_two
from analysis.wording.phrases import (
    OWN_LISTS,
    PUBLISHED_BY,
    PUBLISHED_SPREAD,
    as_reported,
    configurations,
    duration,
    validation_called,
)


def answer(study: Study, tables: Tables, *, confirmed: Headline | None = None) -> Answer:
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
        config=() if best is None else tuple((name, _shown(value)) for name, value in best.values.items()),
    )


def _provisional(study: Study, tables: Tables) -> Answer:
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
        config = tuple((name, _shown(value)) for name, value in best.values.items())
    found = Answer(
        question=(
            f"Which setting of {len(study.parameters)} searched parameters gives the "
            f"{'highest' if study.mode == 'max' else 'lowest'} {study.metric} after {_epochs(study.max_epochs)}?"
        ),
        headline=headline,
        rule=(
            f"Selection: the best last score among trials that ran all {_epochs(study.max_epochs)}, a mean where a "
            "configuration has several seeds. Stopped and failed trials cannot win; while no trial is complete, "
            "the best at the highest epoch with a score is shown."
        ),
        trust=trust,
        best=best,
        provisional=True,
        config=config,
        cost=_cost(study),
        scored_on=_scored_on(study, tables),
    )
    return found if study.second_objective is None else of_two(found, study)


def _no_score(study: Study) -> str:
    failed = sum(trial.state == "failed" for trial in study.trials)
    if failed and failed == len(study.trials):
        return f"No answer: {'the only trial' if failed == 1 else f'all {failed} trials'} failed."
    without = f"; {failed} of {len(study.trials)} trials failed" if failed else ""
    return f"No answer yet: no trial that did not fail has a score{without}."


def _trust(study: Study, tables: Tables, best: Trial, *, seeds: int, rivals: int) -> str:
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
    return (
        f"One seed per configuration: the winner is provisional. It is the best of {rivals} that ran to the end, so "
        f"its score is too high on average.{gap} {say_seeds(study, tables)} Train the leading configurations with "
        "several seeds before you believe an order among them."
    )


def say_seeds(study: Study, tables: Tables) -> str:
    """How far seeds differ: as this study measured it, else as others published it, else that it is not known."""
    found = measured_noise(study, tables)
    if found is not None:
        return (
            f"Seeds of one configuration differ by {found.value:.2f} in this study (standard deviation, 95 % interval "
            f"{found.low:.2f} to {found.high:.2f}, n = {found.runs} runs of {configurations(found.configs)})."
        )
    if "miou" not in study.metric:
        return f"By how much seeds differ in {study.metric} is not known."
    return (
        f"How far seeds differ here is not measured; elsewhere it was about {PUBLISHED_SPREAD} mIoU ({PUBLISHED_BY}), "
        "and with few labels or short training it may be several times that."
    )


def _spread(study: Study, best: Trial, seeds: int) -> str:
    """The seeds behind the score and its interval, which one seed does not give."""
    from analysis.stats.configuration_means import result_of

    standing = study.standing_of(best)
    if standing is None or seeds == 1:
        return "1 seed, so that it has no interval"
    found = result_of(study, standing)
    if found.low is None or found.high is None:
        return f"mean over {seeds} runs that share seeds of single sources of chance, so that it has no interval yet"
    return f"mean over {seeds} seeds, 95 % interval {found.low:.2f} to {found.high:.2f}"


def _percent(study: Study) -> str:
    return " %" if is_percent(study.metric) else ""


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def _cost(study: Study) -> str:
    epochs = sum(trial.epochs for trial in study.trials)
    counts = {state: sum(trial.state == state for trial in study.trials) for state in _STATES}
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    full = len(study.trials) * study.max_epochs
    return (
        f"{len(study.trials)} trials ({states}), {epochs} epochs of {full} without early stopping, "
        f"{duration(sum(trial.runtime_s for trial in study.trials))}."
    )


_STATES = ("complete", "stopped", "failed", "interrupted", "running", "crashed")


def _scored_on(study: Study, tables: Tables) -> str:
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
            " Their labels are in use for the choice of the configuration, so that the search knows more labels than "
            "the labelled split holds."
        )
    return text


def say_comparison(found: Comparison, *, first: str, second: str) -> str:
    """One sentence of reading, of a comparison with an interval."""
    one = found.difference
    assert one is not None
    counts = f"n = {len(found.first_scores)} and {len(found.second_scores)} trials, {found.seeds}"
    verdict = "The interval excludes 0." if one.decided else "The interval covers 0: undecided."
    text = (
        f"{first.upper()} minus {second.upper()} after {_epochs(found.epoch)}: {one.value:+.2f}, 95 % interval "
        f"{one.low:+.2f} to {one.high:+.2f} ({counts}). {verdict} "
    )
    if one.seeds:
        return text + (
            f"Every configuration ran with the same {one.seeds} seeds: the interval is Student's t over what the two "
            "differ by with each seed."
        )
    return text + (
        "The trials differ in everything else too, and a search tries more of what did well: this compares what tuning "
        "made of the two (Welch's interval), and is no experiment at equal settings."
    )


def say_rivals(found: Rivals, *, full: int) -> str:
    """Who leads in these trials, and what that does not say."""
    leader, others = found.ranked[0], found.ranked[1:]
    settled = [one.value for one in others if one.difference and not one.difference[1] <= 0 <= one.difference[2]]
    text = (
        f"After {_epochs(found.epoch)} {leader.value} has the best mean, {leader.mean:.2f} "
        f"(n = {len(leader.scores)} trials). "
    )
    if settled:
        text += (
            f"In these trials it is apart from {', '.join(settled)} ({len(settled)} of {len(others)}); the rest is "
            "undecided. "
        )
    else:
        text += f"It is apart from none of the other {len(others)}: undecided. "
    text += (
        "This is what tuning made of each, and no experiment at equal settings: each trial has settings of its own, "
        "and a search tries more of what did well, which sets equal choices apart more often than in the 5 % that the "
        "intervals (95 %, Bonferroni over all pairs) allow for. A confirmation compares them at equal seeds."
    )
    if found.epoch < full:
        text += f" It says nothing of the order after all {full} epochs."
    return text


def say_curves(study: Study) -> str:
    """One sentence of reading."""
    stopped = sum(trial.state == "stopped" for trial in study.trials)
    rungs = ", ".join(str(rung) for rung in study.rungs if rung < study.max_epochs)
    if not rungs:
        return "Every trial ran all its epochs: there was no scheduler."
    return (
        f"{stopped} of {len(study.trials)} trials were stopped at the rungs ({rungs} epochs); their scores are early "
        "ones and are not compared with final scores anywhere in this report."
    )


def say_rung_noise(found: RungNoise | None, study: Study) -> str:
    """How much of what the first rung ranks is luck, and what to set where it is most; empty without a rung."""
    if not any(rung < study.max_epochs for rung in study.rungs):
        return "" if found is None else say_noise(found)
    if found is None:
        return (
            "How much of what the first rung ranks is luck is not known: no configuration ran with several seeds, and "
            "no surrogate is good enough to say what is left."
        )
    return say_noise(found)


def say_noise(found: RungNoise) -> str:
    """The same of any rung."""
    measured = f"n = {found.runs} runs of {configurations(found.configs)}, and {found.count} trials"
    alike = (
        "; what a seed does to all configurations alike is left out, since these trials ran with one seed"
        if found.own
        else ""
    )
    if not found.runs:
        measured = (
            f"{found.count} trials; the seeds' is what the surrogate leaves unexplained, which counts what it cannot "
            "model too"
        )
    text = (
        f"After {_epochs(found.epoch)} seeds of one configuration differ by {found.seeds:.3g} and all trials by "
        f"{found.trials:.3g} (standard deviations, {measured}{alike}): {100 * found.share:.0f} % of the variance that "
        f"this rung ranks is luck (95 % interval {100 * found.low:.0f} to {100 * found.high:.0f} %)."
    )
    if not (found.mostly or found.open):
        return text
    better = found.better
    if better is None:
        none = "no later one is known to be better: run without a scheduler (scheduler.name: none), or lower the noise "
        none += "of a score (more held-out images, where it is measured on such)."
        return (
            f"{text} This rung is mostly noise, and {none}"
            if found.mostly
            else f"{text} Whether that is most of it is not known, and {none}"
        )
    there = f"{100 * better.share:.0f} % (95 % interval {100 * better.low:.0f} to {100 * better.high:.0f} %)"
    if found.mostly:
        still = "; that may still be most of it" if better.high > MOSTLY else ""
        return (
            f"{text} This rung is mostly noise: set scheduler.grace_epochs to {better.epoch}, where the share of luck "
            f"is {there}{still}."
        )
    return (
        f"{text} Whether that is most of it is not known. With scheduler.grace_epochs: {better.epoch} the share of "
        f"luck would be {there}."
    )


def say_fidelity(found: Fidelity | None, study: Study) -> str:
    """How far the rungs foretell the end, and whether the grace period is too short."""
    if found is None:
        return why_no_fidelity(study)
    text = " ".join(_say_rung(rung, found, first=rung is found.rungs[0]) for rung in found.rungs)
    if found.selected:
        text += (
            f" These {found.trials} trials are a selection: ASHA stopped others, so that winners that it stopped are "
            "not among them, and the correlation among all configurations may be another."
        )
    early = [rung for rung in found.rungs if rung.too_early]
    if early and early[0] is found.rungs[0]:
        text += (
            f" Warning: a grace period of {_epochs(early[0].epoch)} is too short: it would stop {early[0].lost} of "
            f"the {early[0].winners} winners (n = {found.trials} trials). {say_supported(found)}"
        )
    elif early:
        listed = ", ".join(str(rung.epoch) for rung in early)
        text += f" Warning: the rungs after epoch {listed} stop winners too. {say_supported(found)}"
    return text


def why_no_fidelity(study: Study) -> str:
    """Why the rungs cannot be compared with the end."""
    full = sum(trial.epochs == study.max_epochs for trial in study.complete)
    if full < LEAST_FULL:
        return f"There are too few full-length trials ({full}, {LEAST_FULL} needed)."
    return f"There is no rung before the last of {_epochs(study.max_epochs)}, or none of their epochs was scored."


def say_supported(found: Fidelity) -> str:
    """Which grace period the trials speak for."""
    if found.supported is None:
        return (
            f"No grace period is supported by these {found.trials} trials: every one would stop winners; run without "
            "a scheduler (scheduler.name: none)."
        )
    return (
        f"The shortest grace period that these {found.trials} trials support is {_epochs(found.supported)} "
        f"(scheduler.grace_epochs: {found.supported})."
    )


def _say_rung(rung: Rung, found: Fidelity, *, first: bool) -> str:
    told = f"After {_epochs(rung.epoch)}, Kendall's rank correlation with the final score is {rung.tau:.2f}"
    if first:
        told += f" (n = {found.trials} full-length trials, 95 % interval {rung.low:.2f} to {rung.high:.2f})"
        rule = f"a rung that lets 1 in {found.reduction} go on would stop {rung.lost} of the {rung.winners} winners"
        return f"{told}; {rule}, the best 1 in {max(3, found.reduction)} at full length."
    return f"{told} ({rung.low:.2f} to {rung.high:.2f}; {rung.lost} of {rung.winners} winners stopped)."


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
