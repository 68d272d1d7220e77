"""Is it better? The section on a study's confirmation, and what the report's first screen says of it."""

import json
import math
from functools import partial
from typing import Any

from analysis.columns import key_of
from analysis.figures import confirmation as figure
from analysis.figures.render import Figures
from analysis.sections.section import ReportSection
from analysis.stats.confirm.paired_verdict import ESTIMAND, Verdict, p_shown
from analysis.stats.confirm.results import LEVEL, UNKNOWN_SPLIT, ArmMean, ArmResult, Confirmed
from analysis.stats.confirm.winner import Winner
from analysis.units import amount
from analysis.wording.answer_type import Headline
from analysis.wording.outcome import also_shown, outcome, question_of
from analysis.wording.phrases import as_reported, duration, validation_called


def confirmation_sections(found: Confirmed | None, figures: Figures) -> list[ReportSection]:
    """The section, or none where nothing was confirmed."""
    if found is None:
        return []
    return [
        ReportSection(
            title="Is it better?",
            reading=say(found),
            n=_cost(found).rstrip(". "),
            notes=notes_on(found),
            figure=figures.drawn("confirmation", partial(figure.draw, found)),
            alt="Scores of every confirmed configuration by seed, and the compared differences with their intervals",
            table=(_columns(found), *(_row(one) for one in found.judgement.verdicts)),
        )
    ]


def _columns(found: Confirmed) -> tuple[str, ...]:
    delta = amount(f"{found.plan.delta:g}", found.metric)
    by = f"better by more than {delta} / within that / worse"
    return ("verdict", "difference", "interval", "seeds", "adjusted p", "better in new runs", by)


def _row(one: Verdict) -> tuple[str, ...]:
    """All that is known of a comparison; it stands nowhere else in the section."""
    chances = one.chances
    return (
        one.finding,
        _signed(one.effect),
        f"{_signed(one.low)} to {_signed(one.high)}",
        str(one.pairs),
        p_shown(one.p),
        "–" if one.new_run is None else one.new_run.words.removeprefix("better in ").replace(" of new runs", ""),
        "–"
        if chances is None
        else " / ".join(f"{100 * one:.0f} %" for one in (chances.better, chances.equivalent, chances.worse)),
    )


def confirmed_headline(found: Confirmed | None) -> Headline | None:
    """What the first screen says of a study that was confirmed: the answer to its question, and the arm that the
    confirmation chose. None where there is no confirmation, or no arm leads yet."""
    if found is None or found.choice is None:
        return None
    arm = found.arm(found.choice.arm)
    state = "confirmed" if found.choice.confirmed else "not confirmed"
    if found.choice.confirmed and found.choice.loses_runs:
        state += " for runs that do not collapse or fail"
    return Headline(
        question=question_of(found),
        headline=outcome(found),
        trust=" ".join(part for part in (_level(arm, found), _qualified(found.choice), also_shown(found)) if part),
        shown=f"{arm.name}, {state}",
        rule=f"Selection: the configuration that the confirmation chose. {_caution(found)}",
        cost=f"Confirmation: {_cost(found).rstrip('. ')}, {_spent(found)}",
        confirmed=found.choice.confirmed,
        key=arm.trial or key_of(str(arm.runs[0]["run_id"])),
    )


def _level(arm: ArmResult, found: Confirmed) -> str:
    leader = found.judgement.leader
    stands = "leads" if arm.name == leader else f"is the simplest that is equivalent to {leader}, which leads"
    if arm.mean is None:
        return f"{arm.name} {stands}; {arm.lost.words}."
    mean = arm.mean
    interval = f" ({LEVEL:.0%} interval {mean.low:.2f} to {mean.high:.2f})" if math.isfinite(mean.low) else ""
    over = f"over {mean.seeds} seed{'s' * (mean.seeds != 1)}{', lost runs left out' if arm.lost.count else ''}"
    return f"{arm.name} {stands}: mean {found.metric} {mean.value:.2f}{interval} {over}; {arm.lost.words}."


def _qualified(choice: Winner) -> str:
    """What the choice is qualified by beside lost runs, which are told anyway."""
    parts = [one for one in choice.qualification.split("; ") if one.startswith("shown to be worse")]
    return f"It is {' and '.join(parts)}." if parts else ""


def _spent(found: Confirmed) -> str:
    """Time of all runs, and the splits of those that are scored."""
    splits = list(dict.fromkeys(split for arm in found.arms for split in arm.splits))
    drawn = f"splits {', '.join(splits)}, drawn by seed" if len(splits) > 1 else f"split {splits[0]}"
    drawn += " (equal numbers, equal images)"
    if splits == [UNKNOWN_SPLIT]:
        drawn = "the trainer told no split"
    return f"{duration(sum(arm.runtime_s for arm in found.arms))}; {drawn}."


def say(found: Confirmed) -> str:
    """How far the race has come, and what its differences are."""
    return f"The confirmation is {'over' if found.judgement.over else 'not over'}: {found.judgement.reason}. {ESTIMAND}"


def notes_on(found: Confirmed) -> tuple[str, ...]:
    """What intervals, seeds and scores are, lost runs, the images of `data.val`. The verdicts are in the table."""
    plan = found.plan
    several = len(plan.comparisons)
    held = "the interval holds" if several == 1 else f"all {several} confidence intervals hold simultaneously"
    fixes = (
        "A seed fixes initialisation, order, views and, where the labelled images are drawn, their draw, the same for "
        "all configurations"
        if _data(found)
        else "All configurations ran with the same seeds; what a seed fixes, the trainer's author knows"
    )
    notes = [
        f"With probability {1 - plan.error:.0%} {held}, at every look. {fixes}; the search used none of these seeds. "
        + _caution(found),
    ]
    notes.append(f"Lost runs: {'; '.join(f'{arm.name}: {arm.lost.words}' for arm in found.arms)}.")
    if breaking := [f"{arm.name}: {arm.breaks}" for arm in found.arms if arm.breaks]:
        notes.append(f"BREAKS A CONSTRAINT, and is compared but not chosen: {'; '.join(breaking)}.")
    if official := [_official(arm) for arm in found.arms if arm.official]:
        notes.append(
            f"On the {_validation(found)}, evaluated once at each run's end, typical runs, with "
            f"simultaneous 95 % confidence intervals of the means: {'; '.join(official)}. The winner was chosen "
            f"by {found.metric}. Configurations that do well there tend to do well here, so the winner's mean may be "
            "slightly too good."
        )
    return tuple(notes)


def _validation(found: Confirmed) -> str:
    data = _data(found)
    return validation_called(data) if data else "validation list"


def _data(found: Confirmed) -> dict[str, Any]:
    """The `data` section of the first run; empty without a run."""
    runs = [row for arm in found.arms for row in arm.runs]
    data: dict[str, Any] = json.loads(runs[0]["config"]).get("data", {}) if runs else {}
    return data


def _caution(found: Confirmed) -> str:
    """What the scores are measured on, and that the leading configurations were chosen there."""
    data = _data(found)
    if not data:
        return f"{as_reported(found.metric)} The leading configurations were chosen by it too, with other seeds."
    if not found.metric.startswith("val/"):
        return f"Scores are {found.metric}, by which the leading configurations were chosen too, with other seeds."
    if (holdout := data.get("holdout")) and holdout["source"] == "labelled" and data.get("draw"):
        return (
            f"Scores are {found.metric} on images that are held out of each seed's own labelled draw, the same for all "
            "configurations; the leading ones were chosen on those of other draws."
        )
    images = "held-out images of the search" if holdout else _validation(found)
    return (
        f"Scores are {found.metric} on the {images}, on which the leading configurations were chosen: other seeds, "
        "the same images."
    )


def _cost(found: Confirmed) -> str:
    seeds = [len(arm.scores) for arm in found.arms]
    spread = f"{min(seeds)}" if min(seeds) == max(seeds) else f"{min(seeds)} to {max(seeds)}"
    open_ = sum(arm.unfinished for arm in found.arms)
    rest = f" ({open_} more were cut off)" if open_ else ""
    return f"{found.runs} runs{rest} of {found.max_epochs} epochs, {spread} seeds a configuration. "


def _official(arm: ArmResult) -> str:
    return "" if arm.official_mean is None else f"{arm.name} {_mean(arm.official_mean)}"


def _mean(mean: ArmMean) -> str:
    interval = f" ({mean.low:.2f} to {mean.high:.2f})" if math.isfinite(mean.low) else ""
    return f"{mean.value:.2f}{interval}, {mean.seeds} seed{'s' * (mean.seeds != 1)}"


def _signed(value: float) -> str:
    return f"{value:+.2f}" if math.isfinite(value) else "–"
