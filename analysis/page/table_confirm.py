"""What a confirmation found, as a paper takes it: its configurations and its verdicts, as CSV and LaTeX."""

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from analysis.compute.atomic import replacing
from analysis.ingest.tables import FOLDER
from analysis.page.latex import cell, escaped, table
from analysis.stats.best import SEEDS
from analysis.stats.confirm.paired_verdict import Verdict, p_shown
from analysis.stats.confirm.results import ArmMean, Confirmed
from analysis.units import amount


def write_confirmed(found: Confirmed, study_dir: Path) -> None:
    """`tables/confirmation.csv`, `verdicts.csv`, and both as `confirmation.tex`; each whole or not at all."""
    folder = study_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    writers: dict[str, Callable[[Confirmed], str | Sequence[Sequence[object]]]] = {
        "confirmation.csv": _arms,
        "verdicts.csv": _verdicts,
        "confirmation.tex": _tex,
    }
    for name, content in writers.items():
        with replacing(folder / name) as temporary:
            _write(temporary, content(found))


def _write(path: Path, content: str | Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        if isinstance(content, str):
            file.write(content)
        else:
            csv.writer(file, lineterminator="\n").writerows(content)


def _names(found: Confirmed) -> list[str]:
    """Parameters that an arm has a value for."""
    return list(dict.fromkeys(name for arm in found.arms for name in arm.values if name not in SEEDS))


def _arms(found: Confirmed) -> list[list[object]]:
    """A configuration a row: what the confirmation says of it, its mean over typical runs with an interval that holds
    together with those of all others at 95 %, and its lost runs."""
    names = _names(found)
    held = [f"mean {found.metric}", "low95", "high95"]
    lost = ["runs", "collapsed", "failed", "lost low95", "lost high95"]
    final = ["data.val seeds", "data.val mean", "data.val low95", "data.val high95"]
    rows: list[list[object]] = [
        ["configuration", "said", "seeds", *held, *lost, *final, "epochs", "split_hashes", "breaks", *names],
    ]
    for arm in found.arms:
        own, other = arm.mean, arm.official_mean
        rows.append(
            [
                arm.name, said_of(found, arm.name), len(arm.scores), *_figures(own), arm.lost.runs,
                len(arm.lost.collapsed), len(arm.lost.failed), *arm.lost.interval, 0 if other is None else other.seeds,
                *_figures(other), found.max_epochs, " ".join(arm.splits),
                arm.breaks, *(arm.values.get(name) for name in names),
            ]
        )  # fmt: skip
    return rows


def said_of(found: Confirmed, name: str) -> str:
    """Whether the chosen arm is confirmed, and with which qualification; empty for every other arm."""
    return found.choice.headline if found.choice is not None and found.choice.arm == name else ""


def _figures(mean: ArmMean | None) -> list[float | None]:
    return [None, None, None] if mean is None else [mean.value, _finite(mean.low), _finite(mean.high)]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _verdicts(found: Confirmed) -> list[list[object]]:
    """A comparison a row; its interval holds together with those of all others."""
    figures = ["mean difference", "low", "high", "paired seeds", "adjusted p"]
    chances = ["P(better by more than delta)", "P(within delta)", "P(worse by more than delta)"]
    more = ["withdrawn", "P(plan decides)", "seeds needed from", "seeds needed to"]
    again = ["P(better in a new run)", "new run low95", "new run high95"]
    rows: list[list[object]] = [["first", "second", "verdict", *figures, "delta", *chances, *again, *more, "words"]]
    for one in found.judgement.verdicts:
        likely, new = one.chances, one.new_run
        rows.append(
            [
                one.arm, one.other, one.kind, *map(_finite, (one.effect, one.low, one.high)), one.pairs, one.p,
                found.plan.delta,
                *([None] * 3 if likely is None else [likely.better, likely.equivalent, likely.worse]),
                *([None] * 3 if new is None else [new.value, new.low, new.high]),
                one.withdrawn, one.plan_settles, *(one.seeds_needed or (None, None)), one.words,
            ]
        )  # fmt: skip
    return rows


def _tex(found: Confirmed) -> str:
    names, metric = _names(found), escaped(found.metric)
    budget = f"{found.max_epochs} epochs, seeds and splits paired, study {escaped(found.study)}"
    said = _said(found)
    arms = table(
        ["configuration", *names, "seeds", "lost", found.metric],
        [
            [
                f"{arm.name}{' (breaks a constraint)' * bool(arm.breaks)}",
                *(cell(arm.values.get(name)) for name in names), str(len(arm.scores)),
                f"{arm.lost.count} of {arm.lost.runs}", _scored(arm.mean),
            ]
            for arm in found.arms
        ],
        columns=f"l{'l' * len(names)}rrr",
        caption=(
            f"{escaped(said)} Mean {metric} over typical runs, which did not collapse or fail, with simultaneous "
            "95~\\% confidence "
            f"intervals; lost: runs that collapsed or failed, of those that ended; {budget}."
        ),
        label=f"{found.study}-confirmed",
    )  # fmt: skip
    verdicts = table(
        ["compared", "verdict", "difference", "interval", "seeds", "adjusted p", "better in new runs"],
        [_compared(one) for one in found.judgement.verdicts],
        columns="llrrrrr",
        caption=(
            f"{escaped(said)} Paired differences in {metric} between typical runs; {budget}. The "
            f"{len(found.judgement.verdicts)} confidence intervals hold simultaneously with probability "
            f"{100 * (1 - found.plan.error):g}"
            f"~\\% (group-sequential paired $t$-test); equivalent means "
            f"within {escaped(amount(f'{found.plan.delta:g}', found.metric))}. Better in "
            "new runs: share of the seeds with which the first was better, a lost run losing, with its own "
            "exact 95~\\% interval."
        ),
        label=f"{found.study}-verdicts",
    )
    return f"% {said}\n{arms}\n{verdicts}"


def _said(found: Confirmed) -> str:
    """The outcome, for captions and the file's head."""
    if found.choice is None:
        return "NOT CONFIRMED: no configuration leads yet."
    over = "" if found.judgement.over else " The confirmation is not over."
    return f"{found.choice.headline}: {found.choice.arm}.{over}"


def _compared(one: Verdict) -> list[str]:
    interval = "--" if math.isinf(one.low) else f"{one.low:+.2f} to {one.high:+.2f}"
    effect = "--" if math.isnan(one.effect) else f"{one.effect:+.2f}"
    new = one.new_run
    again = "--" if new is None else f"{100 * new.value:.0f} % ({100 * new.low:.0f} to {100 * new.high:.0f})"
    return [f"{one.arm} − {one.other}", one.kind, effect, interval, str(one.pairs), p_shown(one.p), again]


def _scored(mean: ArmMean | None) -> str:
    if mean is None:
        return "--"
    return f"{mean.value:.2f}" if math.isinf(mean.low) else f"{mean.value:.2f} [{mean.low:.2f}, {mean.high:.2f}]"
