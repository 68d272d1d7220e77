"""What the surrogate says, in words, each statement with its n and its interval. No drawing, no HTML."""

from collections.abc import Sequence

import numpy as np

from analysis.stats.per_class import ClassChanges, LostClass, SeedBand
from analysis.stats.sensitivity.cross_validation import Check
from analysis.stats.sensitivity.effects import ChoiceEffect, PairMap
from analysis.stats.sensitivity.external_evidence import ExternalPair
from analysis.stats.sensitivity.local_effects import LocalStep, Move, Tuned
from analysis.stats.sensitivity.sobol import NEGLIGIBLE, Indices, Share
from analysis.stats.sensitivity.stopped_early import LIKELY, SeedNoise, Stopped
from analysis.stats.sensitivity.surrogate import Surrogate
from analysis.stats.study import Trial
from analysis.wording.phrases import configurations, listed, shown

Triple = tuple[float, float, float]


def say_check(surrogate: Surrogate, check: Check) -> str:
    """How good the surrogate is on trials that it has not seen."""
    value, low, high = check.skill
    scored = sum(bool(trial.curve) for trial in surrogate.study.trials)
    pool = surrogate.pool
    of = f"the first {pool} of {scored} to end" if pool < scored else str(scored)
    drawn = f", drawn at random from {of}" if len(surrogate.trials) < pool else ""
    text = (
        f"A surrogate of score over configuration and epochs, from {surrogate.rows} scores of "
        f"{len(surrogate.trials)} trials ({surrogate.complete} at full length{drawn}). On trials left out its error is "
        f"{check.error:.2f} (root mean square); always guessing the mean score has {check.mean_error:.2f}. So its "
        f"squared error is {100 * (1 - value):.0f} % of a guess's (95 % interval {100 * (1 - high):.0f} to "
        f"{100 * (1 - low):.0f} %, n = {check.scores} scores of {check.trials} trials): 0 % would be perfect, 100 % "
        "knows nothing."
    )
    if check.full is not None:
        count, ours, means = check.full
        text += f" On trials of full length alone its error is {ours:.2f}, a guess's {means:.2f} (n = {count})."
    return text + say_collapsed(surrogate)


def say_collapsed(surrogate: Surrogate) -> str:
    """Which trials did not count, in a sentence that can follow others; empty where all did."""
    lost = [f"trial {surrogate.trials[at].number}" for at in surrogate.collapsed]
    if not lost:
        return ""
    return (
        f" {len(lost)} of {len(surrogate.trials)} trials collapsed, far below all that the others let expect, and do "
        f"not count from then on ({listed(lost)}): look whether they share a setting."
    )


def say_importance(found: Indices, surrogate: Surrogate) -> str:
    """Which parameters matter, and which are dead."""
    name, leader = next(iter(found.shapley.items()))
    value, low, high = found.deviation
    text = (
        f"Over the whole space the score after {surrogate.study.max_epochs} epochs has a standard deviation of "
        f"{value:.2f} (95 % interval {low:.2f} to {high:.2f}). {name} has the largest share of it: Shapley effect "
        f"{_percent(leader)}, n = {len(surrogate.trials)} trials."
    )
    if others := [other for other, one in list(found.shapley.items())[1:] if one.high > leader.low]:
        text += f" The intervals of {listed(others)} overlap with it: who leads is not settled."
    dead = [one for one in found.total if found.verdict(one) == "dead"]
    unknown = [one for one in found.total if found.verdict(one) == "open"]
    if dead:
        chances = listed([f"{one} ({found.negligible[one]:.0%})" for one in dead])
        text += f" Dead, by the chance of at most {100 * NEGLIGIBLE:.0f} % with all interactions: {chances}."
    if unknown:
        text += f" Open, from nothing to more than that: {listed(unknown)}."
    if surrogate.fixed:
        text += f" Not considered, since no trial varies them: {listed(surrogate.fixed)}."
    return text + (
        " Effects of three and more parameters together are not modelled and count as noise: in simulations in which "
        "they made a fifth of the variance, the totals' intervals held the truth in 73 % of cases."
    )


def say_marginals(surrogate: Surrogate, published: int, *, one_seed: bool) -> str:
    """How to read the curves.

    Args:
        published: differences that are drawn beside them.
        one_seed: they stand on one seed each; else their source does not say on how many.
    """
    stopped = len(surrogate.trials) - surrogate.complete
    text = (
        "Each curve is the mean over all other parameters, not the best that can be reached, as its difference from "
        f"the mean over the space. Filled dots ran to the end (n = {surrogate.complete}); hollow ones were stopped and "
        f"stand at their expected end (n = {stopped}). A step is rounded off: in simulations the 95 % intervals of "
        "curves with one held the truth at 87 % of places where all trials ran in full, and at 62 % where most were "
        "stopped."
    )
    if surrogate.collapsed:
        text += f" The {len(surrogate.collapsed)} trials that collapsed have no dot."
    if stopped:
        text += (
            f" The mean itself, here {np.median(surrogate.level):.1f}, is less sure than the curves: it leans on the "
            "trials that ran to the end, which were chosen by their early scores, and may be better than the true one."
        )
    if published:
        seeds = "one seed each" if one_seed else "of seeds not stated"
        text += (
            f" Diamonds are {published} published differences, {seeds}, laid on our curve at the paper's other "
            "value: compare the step, not the level."
        )
    return text


def say_pairs(found: Indices, maps: Sequence[PairMap]) -> str:
    """The strongest interactions."""
    parts = [f"{one.first} with {one.second} {_percent(found.pairs[one.first, one.second])}" for one in maps]
    text = f"Strongest shares of the variance that belong to two parameters together: {'; '.join(parts)}."
    if all(found.pairs[one.first, one.second].low == 0 for one in maps):
        text += " All intervals reach 0: no interaction is established."
    return text


def say_local(found: dict[str, Share], number: int, count: int) -> str:
    """What matters round the leading configuration."""
    name, one = next(iter(found.items()))
    return (
        f"With all else as in trial {number}, moving {name} over its range changes the score most: {_percent(one)} of "
        f"what single parameters change there (n = {count} trials)."
    )


def say_tunability(found: Sequence[Tuned], start: str, unit: str, sign: int) -> str:
    """Which parameters are worth tuning when one starts at ``start``, each by itself."""
    gains = [one for one in found if sign * one.gain[1] > 0 and sign * one.gain[2] > 0]
    others = [one.name for one in found if one not in gains]
    text = f"From {start}, with one parameter changed and all others left: "
    if gains:
        text += "; ".join(f"{one.name} = {shown(one.after)} gains {_points(one.gain, unit)}" for one in gains) + ". "
        text += f"Not shown to gain anything by itself: {listed(others)}." if others else ""
    else:
        text += f"no parameter is shown to gain anything by itself ({listed(others)})."
    return (
        f"{text.rstrip()} The values are those of the surrogate's highest expected score; every interval holds by "
        "itself. It is a forecast at single values, not a comparison of runs."
    )


def say_ablation(path: Sequence[LocalStep], start: str, number: int, unit: str) -> str:
    """The way from the start to the leading configuration."""
    if not path:
        return f"Trial {number} is {start}: there is no way to go."
    total = path[-1].gain
    text = f"From {start} to trial {number} the surrogate expects {_points(total, unit)}"
    text += "." if total[1] > 0 or total[2] < 0 else ", an interval that holds 0."
    firm = next((i for i, one in enumerate(path) if one.gain[1] > 0 or one.gain[2] < 0), None)
    if firm is not None:
        names = listed([one.name for one in path[: firm + 1]])
        text += f" {names} alone: {_points(path[firm].gain, unit)}."
    return text + " The leading trial was chosen on the same scores, so the gain is rather too large."


def say_robustness(found: Sequence[Move], number: int, unit: str, sign: int) -> str:
    """Where care is needed."""
    if not found:
        return f"Trial {number} has no parameter with a range."
    worst = min(found, key=lambda one: sign * one.change[0])
    text = (
        "Off by a factor of two on log ranges, by a tenth of the range on others. Most is lost with "
        f"{worst.name} = {worst.value:.4g}: {_points(worst.change, unit)}"
    )
    sure = sum(sign * one.change[1] < 0 and sign * one.change[2] < 0 for one in found)
    return f"{text}. {sure} of {len(found)} steps lose for sure (95 %); the others' intervals hold 0 or gain."


def say_choices(found: Sequence[ChoiceEffect], unit: str) -> str:
    """Every categorical choice at equal others."""
    parts = []
    for one in found:
        verdict = "undecided" if one.average[1] <= 0 <= one.average[2] else "the interval excludes 0"
        parts.append(
            f"{one.name}: {one.first} minus {one.second} {_points(one.average, unit)} averaged over the space "
            f"(n = {one.trials[0]} and {one.trials[1]} trials; {verdict})"
        )
    return f"{'; '.join(parts)}. At equal others by the surrogate, not by paired runs."


def say_pair(one: ExternalPair) -> str:
    """Where to find a choice that was confirmed with several seeds: its verdict stands in one place."""
    return (
        f"The confirmation compared {one.name} {one.first} with {one.second} at equal others ({one.source}); its "
        'verdict, in the table of "Is it better?", goes before anything that the search can say of it.'
    )


def say_stopped(found: Sequence[Stopped], surrogate: Surrogate) -> str:
    """What the scheduler stopped too early."""
    if not found:
        return "No trial was stopped, or none ran to the end to compare with."
    early = [one for one in found if one.chance > LIKELY]
    expected = sum(one.chance for one in found)
    text = (
        f"Of {len(found)} stopped trials {len(early)} would more likely than not have ended above the incumbent's "
        f"score; expected are {expected:.1f}."
    )
    if early:
        text += f" Too early: {listed([f'trial {one.number} ({one.chance:.0%})' for one in early[:5]])}."
    else:
        text += f" The likeliest is trial {found[0].number} with {found[0].chance:.0%}."
    return text + f" By a surrogate of {surrogate.rows} scores; the incumbent's score is itself a lucky one."


def say_seed_noise(found: Sequence[SeedNoise], surrogate: Surrogate | None, own: SeedNoise | None = None) -> str:
    """How far seeds differ, and how much of that is ``own``: each run's, and not the same in all configurations."""
    if found:
        last = found[-1]
        split = "" if own is None else _say_own(own, last)
        return (
            f"After {last.epoch} epochs seeds of one configuration differ with a standard deviation of "
            f"{last.value:.2f} (95 % interval {last.low:.2f} to {last.high:.2f}, n = {last.runs} runs of "
            f"{configurations(last.configs)}).{split}"
        )
    text = "No configuration was run with several seeds, so that seed noise cannot be measured."
    if surrogate is not None:
        from analysis.stats.sensitivity.effects import summary

        value, low, high = summary(surrogate.seeds)
        text += (
            f" What the surrogate leaves unexplained between trials is {value:.2f} at full length (95 % interval "
            f"{low:.2f} to {high:.2f}, n = {len(surrogate.trials)} trials): seeds, and what it cannot model."
        )
    return text


def _say_own(own: SeedNoise, whole: SeedNoise) -> str:
    shared = max(0.0, 1 - (own.value / whole.value) ** 2) if whole.value else 0.0
    return (
        f" {100 * shared:.0f} % of this variance is what a seed does to all configurations alike, which paired seeds "
        f"take out of a difference; each run's own standard deviation is {own.value:.2f} (95 % interval {own.low:.2f} "
        f"to {own.high:.2f})."
    )


def say_lost(found: Sequence[LostClass], best: Trial) -> str:
    """Classes at 0 in the leading configuration, and whether another one found them."""
    text = (
        f"In {best.called} the IoU of {listed([one.name for one in found])} stayed at 0: not one pixel was found, "
        "at any evaluation."
    )
    known = [(one.name, *one.elsewhere) for one in found if one.elsewhere is not None]
    if known:
        text += " Elsewhere in this study: " + "; ".join(
            f"{name} reached {value:.2f} % in {trial.called}" for name, value, trial in known
        )
        text += "."
    if len(known) < len(found):
        text += " No other run found " + ("them" if not known else "the rest") + " either."
    return text + (
        " What may help: labelled images that show them, class weights (loss.class_weights), or a loss that counts "
        "classes and not pixels (loss.labelled)."
    )


def say_classes(found: ClassChanges) -> str:
    """Which classes gain and lose."""
    gain = [one.name for one in found.classes if one.low > 0]
    lose = [one.name for one in found.classes if one.high < 0]
    text = (
        f"IoU of {found.first.called} minus {found.second.called}, paired over {found.seeds} seeds; the intervals hold "
        f"simultaneously for all {len(found.classes)} classes. "
        f"Gains: {listed(gain) or 'none for sure'}. Losses: {listed(lose) or 'none for sure'}."
    )
    if found.left_out:
        text += f" Not scored in every run: {listed(found.left_out)}."
    return text


def say_bands(found: Sequence[SeedBand]) -> str:
    """Learning curves over seeds."""
    counts = ", ".join(f"{one.trial.called}: {one.seeds} seeds" for one in found)
    return f"Bands hold the mean over seeds (95 %, at each epoch by itself), not single runs. {counts}."


def _percent(one: Share) -> str:
    return f"{100 * one.value:.0f} % (95 % interval {100 * one.low:.0f} to {100 * one.high:.0f} %)"


def _points(values: Triple, unit: str) -> str:
    return f"{values[0]:+.2f}{unit} (95 % interval {values[1]:+.2f} to {values[2]:+.2f})"
