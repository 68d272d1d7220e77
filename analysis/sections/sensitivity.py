"""Sections on what the parameters do at full budget, from a surrogate of all that the study has seen."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from analysis.figures import forest, interactions, marginals, style
from analysis.figures.render import Figures
from analysis.ingest.tables import Tables
from analysis.sections import unanswered
from analysis.sections.section import Part, ReportSection
from analysis.stats.sensitivity.cross_validation import Check
from analysis.stats.sensitivity.effects import ChoiceEffect, choices, marginal, pair_map
from analysis.stats.sensitivity.external_evidence import ExternalPair, first_configuration, published
from analysis.stats.sensitivity.local_effects import ablation, local, robustness, tunability
from analysis.stats.sensitivity.sobol import Indices, Share, indices
from analysis.stats.sensitivity.surrogate import Surrogate
from analysis.stats.study import StudyTrials, Trial
from analysis.units import is_percent
from analysis.wording import sensitivity
from analysis.wording.phrases import shown

INACTIVE = "inactive"
"""Shown instead of a parameter's value where a condition left it out."""
MAPS = 2
IMPORTANCE = "How much does every parameter explain at full budget?"


def sensitivity_sections(
    study: StudyTrials,
    tables: Tables,
    figures: Figures,
    surrogate: Surrogate | None,
    check: Check | None,
    confirmed: Sequence[ExternalPair] = (),
) -> list[Part]:
    """One section for each question; where there is no usable surrogate, why the first of them has no answer.

    Args:
        check: of the surrogate, by cross-validation.
        confirmed: pairs of choices that were run with several seeds each, to stand beside the surrogate's.
    """
    if not study.parameters or not any(trial.curve for trial in study.trials):
        return []
    if surrogate is None or check is None or not check.usable:
        if surrogate is None or check is None:
            return [unanswered.no_surrogate(IMPORTANCE, study)]
        return [unanswered.unusable_surrogate(IMPORTANCE, surrogate, check)]
    paper = published(study, tables)
    beside = [*confirmed, *(paper.pairs if paper else ())]
    found = indices(surrogate)
    sections: list[Part] = [
        _importance(surrogate, check, found, figures),
        _marginals(surrogate, found, [one for one in beside if one.published], figures),
    ]
    if len(surrogate.basis.names) > 1:
        sections.append(_pairs(surrogate, found, figures))
    start = first_configuration(study, paper)
    if start is not None and (tuned := _tunability(surrogate, *start, figures)):
        sections.append(tuned)
    best = study.best()
    if listed := choices(surrogate, None if best is None else best.values):
        sections.append(_choices(surrogate, listed, beside, figures))
    if best is not None and best.state == "complete":
        sections += _round(surrogate, best.number, best.values, start, figures)
    return sections


def _importance(surrogate: Surrogate, check: Check, found: Indices, figures: Figures) -> ReportSection:
    kinds = (
        ("Shapley effect", found.shapley, style.BLUE),
        ("alone (first order)", found.first, style.GREEN),
        ("with all interactions (total)", found.total, style.ORANGE),
    )
    lines = [
        _share_line(f"{name} ({found.verdict(name)})", shares[name], group, colour)
        for name in found.shapley
        for group, shares, colour in kinds
    ]
    title = f"Share of variance at epoch {surrogate.study.max_epochs} (n = {len(surrogate.trials)} trials)"
    return ReportSection(
        title=IMPORTANCE,
        reading=f"{sensitivity.say_importance(found, surrogate)} {sensitivity.say_check(surrogate, check)}",
        figure=figures.drawn(
            "sensitivity",
            partial(forest.draw, lines, title=title, unit="share of the variance (%), 95 % interval"),
        ),
        alt="Shapley effects and Sobol indices of every parameter, with intervals",
    )


def _share_line(label: str, share: Share, group: str, colour: str) -> forest.Line:
    interval = (100 * share.low, 100 * share.high)
    return forest.Line(label=label, value=100 * share.value, interval=interval, colour=colour, group=group)


def _marginals(surrogate: Surrogate, found: Indices, beside: Sequence[ExternalPair], figures: Figures) -> ReportSection:
    curves = [marginal(surrogate, name) for name in found.shapley]
    shown = [one for one in beside if one.name in found.shapley]
    return ReportSection(
        title="What does every parameter do at full budget?",
        reading=sensitivity.say_marginals(
            surrogate, len(shown), one_seed=all(one.source.endswith(", 1 seed") for one in shown)
        ),
        figure=figures.drawn("marginals", partial(marginals.draw, surrogate.alone, curves, beside)),
        alt="Mean score over each parameter as differences with intervals, the trials, and published differences",
    )


def _pairs(surrogate: Surrogate, found: Indices, figures: Figures) -> ReportSection:
    maps = [pair_map(surrogate, first, second) for first, second in list(found.pairs)[:MAPS]]
    return ReportSection(
        title="Which parameters act together?",
        reading=sensitivity.say_pairs(found, maps),
        figure=figures.drawn("pairs", partial(interactions.draw, surrogate.alone, maps)),
        alt="Maps of differences from the mean score, and of their uncertainty, for the strongest interactions",
    )


def _tunability(surrogate: Surrogate, trial: Trial, called: str, figures: Figures) -> ReportSection | None:
    found = tunability(surrogate, trial.values)
    if not found:
        return None
    lines = [
        _line(f"{one.name}\n{shown(one.before)} → {shown(one.after)}", one.gain, "gain", style.BLUE) for one in found
    ]
    title = f"One parameter changed, epoch {surrogate.study.max_epochs} (n = {len(surrogate.trials)} trials)"
    unit = f"expected change in {style.unit(surrogate.study.metric)}"
    return ReportSection(
        title=f"Which parameter is worth tuning, from {called}?",
        reading=sensitivity.say_tunability(found, called, _unit(surrogate), surrogate.study.sign),
        figure=figures.drawn("tunability", partial(forest.draw, lines, title=title, unit=unit)),
        alt="Expected gain of the best value of every parameter alone, with intervals",
    )


def _choices(
    surrogate: Surrogate, found: Sequence[ChoiceEffect], beside: Sequence[ExternalPair], figures: Figures
) -> ReportSection:
    lines = []
    for one in found:
        label = f"{one.name}:\n{one.first} − {one.second}"
        for group, triple, colour in (
            ("surrogate, mean over the space", one.average, style.BLUE),
            ("surrogate, at the leading configuration", one.at_best, style.ORANGE),
        ):
            if triple is not None:
                lines.append(_line(label, triple, group, colour))
        for other in beside:
            if other.name == one.name and {other.first, other.second} == {one.first, one.second}:
                sign = 1 if other.first == one.first else -1
                lines.append(_beside_line(label, other, sign))
    unit = f"difference in {style.unit(surrogate.study.metric)}"
    title = f"At equal others, epoch {surrogate.study.max_epochs} (n = {len(surrogate.trials)} trials)"
    return ReportSection(
        title="Which choices are better at equal others?",
        reading=sensitivity.say_choices(found, _unit(surrogate)),
        figure=figures.drawn("choices", partial(forest.draw, lines, title=title, unit=unit)),
        alt="Differences between choices with intervals, beside published and confirmed ones",
    )


def _beside_line(label: str, other: ExternalPair, sign: int) -> forest.Line:
    interval = None
    if other.interval is not None:
        low, high = sorted((sign * other.interval[0], sign * other.interval[1]))
        interval = (low, high)
    seeds = "1 seed each" if other.source.endswith(", 1 seed") else "seeds not stated"
    group = f"published, {seeds}" if other.published else f"confirmed interactions, {other.source}"
    colour = style.RED if other.published else style.GREEN
    return forest.Line(label=label, value=sign * other.difference, interval=interval, colour=colour, group=group)


def _round(
    surrogate: Surrogate, number: int, best: dict[str, Any], start: tuple[Any, str] | None, figures: Figures
) -> list[ReportSection]:
    """Local importance, ablation path, robustness."""
    unit, metric = _unit(surrogate), style.unit(surrogate.study.metric)
    count = len(surrogate.trials)
    shares = local(surrogate, best)
    bars = [_share_line(name, one, "share", style.BLUE) for name, one in shares.items()]
    sections = [
        ReportSection(
            title="What matters round the leading configuration?",
            reading=sensitivity.say_local(shares, number, count),
            figure=figures.drawn(
                "local",
                partial(
                    forest.draw,
                    bars,
                    title=f"Local importance at trial {number} (n = {count} trials)",
                    unit="share (%)",
                ),
            ),
            alt="Local importance of every parameter at the leading configuration, with intervals",
        )
    ]
    if start is not None:
        path = ablation(surrogate, start[0].values, best)
        steps = [
            _line(
                f"{i}. {one.name}\n{shown(one.before, none=INACTIVE)} → {shown(one.after, none=INACTIVE)}",
                one.gain,
                "gain",
                style.BLUE,
            )
            for i, one in enumerate(path, 1)
        ]
        sections.append(
            ReportSection(
                title=f"Which changes lead from {start[1]} to the leading one?",
                reading=sensitivity.say_ablation(path, start[1], number, unit),
                figure=figures.drawn(
                    "ablation",
                    partial(
                        forest.draw,
                        steps,
                        title=f"Gain after each change (n = {count} trials)",
                        unit=f"gain in {metric}",
                    ),
                )
                if path
                else None,
                alt="Expected gain after each change, with intervals",
            )
        )
    moves = robustness(surrogate, best)
    rows = [
        _line(
            f"{one.name} = {shown(one.value, none=INACTIVE)}{' (end of range)' if one.cut else ''}",
            one.change,
            "loss",
            style.BLUE,
        )
        for one in moves
    ]
    sections.append(
        ReportSection(
            title="How much is lost when a parameter is off?",
            reading=sensitivity.say_robustness(moves, number, unit, surrogate.study.sign),
            figure=figures.drawn("robustness",
                partial(forest.draw,
                    rows, title=f"Steps aside from trial {number} (n = {count} trials)",
                    unit=f"change in {metric}",
                ),
            )
            if moves
            else None,
            alt="Change of the score when one parameter of the leading configuration is off, with intervals",
        )
    )  # fmt: skip
    return sections


def _line(label: str, triple: tuple[float, float, float], group: str, colour: str) -> forest.Line:
    return forest.Line(label=label, value=triple[0], interval=triple[1:], colour=colour, group=group)


def _unit(surrogate: Surrogate) -> str:
    return " points" if is_percent(surrogate.study.metric) else ""
