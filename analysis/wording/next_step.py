"""The one thing to do next, and what it costs by this study's own times. No drawing, no HTML."""

from dataclasses import dataclass
from pathlib import Path

from analysis.ingest.tables import Tables
from analysis.stats.confirm.error_schedule import MOST_EXTENDED
from analysis.stats.confirm.paired_verdict import Verdict
from analysis.stats.confirm.results import Confirmed
from analysis.stats.study import StudyTrials
from analysis.wording.outcome import defaults_of
from analysis.wording.phrases import duration

SEEDS = 3
"""Seeds of a final training, and the fewest of a confirmation."""
ARMS = 3
"""Configurations of the smallest confirmation: two leading ones and the defaults."""
MOST_WORTH = 30
"""More seeds for one comparison than this are not recommended."""


@dataclass(frozen=True, kw_only=True)
class NextStep:
    """What to do, the command that does it, and its price; the last two are empty where there is none."""

    what: str
    command: str = ""
    price: str = ""


def next_step(study: StudyTrials, tables: Tables, place: Path, found: Confirmed | None) -> NextStep:
    """For a study as it stands.

    Args:
        study: its search.
        tables: what an epoch took.
        place: the study's folder, for commands.
        found: its confirmation, where one has begun.
    """
    if found is not None:
        return _after_confirmation(found, tables, place)
    if any(trial.state == "running" for trial in study.trials):
        return NextStep(what="Wait: the search is still running.", command=f"ipix-tune report {place} --live")
    if study.best() is None:
        return _without_score(study, place)
    if not study.complete:
        return NextStep(
            what=f"Go on with the search until a trial has run all {study.max_epochs} epochs.",
            command=f"ipix-tune sweep {place}/study.yaml --resume",
        )
    if tables.unpaired is not None:
        return NextStep(what=f"Nothing can be confirmed as it is: {tables.unpaired}. That makes it another study.")
    runs = ARMS * SEEDS
    return NextStep(
        what="Confirm the leading configurations against the defaults with paired seeds, before you believe an order "
        "among them.",
        command=f"ipix-tune confirm {place}",
        price=f"at least {_price(runs, study.max_epochs, tables)} with two leading configurations and the defaults; "
        "with --dry-run the command says what this study's own plan takes",
    )


def _without_score(study: StudyTrials, place: Path) -> NextStep:
    broke = next((trial for trial in study.trials if trial.state == "infeasible"), None)
    if broke is not None:
        return NextStep(
            what=f"Search where the constraints hold, or loosen them under another name: trial {broke.number}: "
            f"{broke.error}",
            command=f"ipix-tune sweep {place}/study.yaml --name {study.name}-2",
        )
    failed = next((trial for trial in study.trials if trial.state == "failed" and trial.error), None)
    if failed is None:
        return NextStep(what="Go on with the search.", command=f"ipix-tune sweep {place}/study.yaml --resume")
    return NextStep(
        what=f"Mend what made trial {failed.number} fail: {failed.error}",
        command=f"ipix-tune sweep {place}/study.yaml --dry-run",
        price="no training",
    )


def _after_confirmation(found: Confirmed, tables: Tables, place: Path) -> NextStep:
    judgement = found.judgement
    if not judgement.over:
        return NextStep(
            what="Go on with the confirmation: its plan is not spent.",
            command=f"ipix-tune confirm {place} --resume",
            price=f"the next round is {_price(len(judgement.wanted), found.max_epochs, tables)}",
        )
    more = _more_seeds(found)
    if more is not None:
        seeds, arms, words = more
        return NextStep(
            what=words,
            command=f"ipix-tune confirm {place} --more-seeds {seeds}",
            price=f"at most {_price(seeds * arms, found.max_epochs, tables)}",
        )
    if found.choice is None and (breaking := [arm.name for arm in found.arms if arm.breaks]):
        return NextStep(what=f"Search on: of the configurations {', '.join(breaking)} break a constraint.")
    if found.choice is None:
        return NextStep(what="Look at the runs that failed: no configuration has enough runs to lead.")
    unsettled = (
        ""
        if found.choice.confirmed
        else ", although it is not confirmed: more seeds than are worth it would be needed to settle that"
    )
    return NextStep(
        what=f"Train {found.choice.arm} with fresh seeds{unsettled}.",
        command=f"ipix-tune export {place} --out best.yaml && ipix-tune train best.yaml --seeds {SEEDS}",
        price=_price(SEEDS, found.max_epochs, tables),
    )


def _more_seeds(found: Confirmed) -> tuple[int, int, str] | None:
    """How many, for how many configurations, and why; None where the choice is confirmed, or nothing is open that so
    many may settle. What the answer stands on goes before other comparisons."""
    if found.choice is not None and found.choice.confirmed:
        return None
    defaults = defaults_of(found)
    asked = {None if found.choice is None else found.choice.arm, None if defaults is None else defaults.name} - {None}
    room = min(MOST_WORTH, MOST_EXTENDED - found.plan.seeds)
    open_ = [
        one
        for one in found.judgement.verdicts
        if not one.decided and one.seeds_needed is not None and one.seeds_needed[0] <= room
    ]
    if not open_:
        return None
    one = max(open_, key=lambda verdict: (len(asked & {verdict.arm, verdict.other}), -_least(verdict)))
    most = one.seeds_needed[1] if one.seeds_needed else None
    seeds = room if most is None else min(room, most)
    enough = "" if most is not None and most <= seeds else ", which may not be enough"
    upper = "more, or never" if most is None else f"to {most} more"
    arms = {arm for verdict in found.judgement.verdicts if not verdict.decided for arm in (verdict.arm, verdict.other)}
    words = (
        f"Run up to {seeds} more seeds{enough}: {one.arm} against {one.other} is likely decided after {_least(one)} "
        f"{upper}."
    )
    return seeds, len(arms), words


def _least(verdict: Verdict) -> int:
    return 0 if verdict.seeds_needed is None else verdict.seeds_needed[0]


def _price(runs: int, epochs: int, tables: Tables) -> str:
    """The price as words, such as: 9 runs of 12 epochs, about 1.5 trial hours."""
    text = f"{runs} run{'s' * (runs != 1)} of {epochs} epoch{'s' * (epochs != 1)}"
    seconds = epoch_seconds(tables)
    return text if seconds is None else f"{text}, about {duration(runs * epochs * seconds)}"


def epoch_seconds(tables: Tables) -> float | None:
    """Mean seconds of an epoch with its evaluation over all runs; None where none was logged."""
    names = [name for name in ("time/epoch_s", "time/eval_s") if name in tables.history.column_names]
    columns = [tables.history[name].to_pylist() for name in names]
    rows = [sum(one or 0.0 for one in row) for row in zip(*columns, strict=True)] if columns else []
    timed = [one for one in rows if one > 0]
    return sum(timed) / len(timed) if timed else None
