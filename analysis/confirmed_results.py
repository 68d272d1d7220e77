"""What a confirmation found, as a paper takes it: its configurations and its verdicts, as CSV and LaTeX."""

import csv
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from analysis.latex import cell, escaped, table
from analysis.stats.confirmed import Confirmed, Mean
from analysis.stats.verdict import Verdict, p_shown
from analysis.tables import FOLDER


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
        temporary = folder / f".{name}.{os.getpid()}"
        _write(temporary, content(found))
        temporary.replace(folder / name)


def _write(path: Path, content: str | Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        if isinstance(content, str):
            file.write(content)
        else:
            csv.writer(file, lineterminator="\n").writerows(content)


def _names(found: Confirmed) -> list[str]:
    """Parameters that an arm has a value for."""
    return list(dict.fromkeys(name for arm in found.arms for name in arm.values if name != "seed"))


def _arms(found: Confirmed) -> list[list[object]]:
    """A configuration a row, with its mean over seeds and that mean's own 95 % t interval."""
    names = _names(found)
    held = [f"mean {found.metric}", "low95", "high95"]
    official = ["official seeds", "official mean", "official low95", "official high95"]
    rows: list[list[object]] = [["configuration", "seeds", *held, *official, "epochs", "split_hashes", *names]]
    for arm in found.arms:
        own, final = arm.mean, arm.official_mean
        rows.append(
            [
                arm.name, len(arm.scores), *_figures(own), 0 if final is None else final.seeds, *_figures(final),
                found.max_epochs, " ".join(arm.splits), *(arm.values.get(name) for name in names),
            ]
        )  # fmt: skip
    return rows


def _figures(mean: Mean | None) -> list[float | None]:
    return [None, None, None] if mean is None else [mean.value, _finite(mean.low), _finite(mean.high)]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _verdicts(found: Confirmed) -> list[list[object]]:
    """A comparison a row; its interval holds together with those of all others."""
    figures = ["mean difference", "low", "high", "paired seeds", "adjusted p", "more seeds needed"]
    rows: list[list[object]] = [["first", "second", "verdict", *figures, "words"]]
    rows += [
        [
            one.arm, one.other, one.kind, _finite(one.effect), _finite(one.low), _finite(one.high), one.pairs, one.p,
            one.seeds_needed, one.words,
        ]
        for one in found.judgement.verdicts
    ]  # fmt: skip
    return rows


def _tex(found: Confirmed) -> str:
    names, metric = _names(found), escaped(found.metric)
    budget = f"{found.max_epochs} epochs, seeds and splits paired, study {escaped(found.study)}"
    arms = table(
        ["configuration", *names, "seeds", found.metric],
        [
            [arm.name, *(cell(arm.values.get(name)) for name in names), str(len(arm.scores)), _scored(arm.mean)]
            for arm in found.arms
        ],
        columns=f"l{'l' * len(names)}rr",
        caption=f"Confirmed configurations: mean {metric} over seeds with its own 95~\\% interval; {budget}.",
        label=f"{found.study}-confirmed",
    )
    verdicts = table(
        ["compared", "verdict", "difference", "interval", "seeds", "adjusted p"],
        [_compared(one) for one in found.judgement.verdicts],
        columns="llrrrr",
        caption=(
            f"Paired differences in {metric}; {budget}. The {len(found.judgement.verdicts)} intervals hold "
            f"together with probability {100 * (1 - found.plan.error):g}~\\% (group-sequential paired $t$-test); "
            f"equivalent means within {found.plan.delta:g}."
        ),
        label=f"{found.study}-verdicts",
    )
    return f"{arms}\n{verdicts}"


def _compared(one: Verdict) -> list[str]:
    interval = "--" if math.isinf(one.low) else f"{one.low:+.2f} to {one.high:+.2f}"
    effect = "--" if math.isnan(one.effect) else f"{one.effect:+.2f}"
    return [f"{one.arm} − {one.other}", one.kind, effect, interval, str(one.pairs), p_shown(one.p)]


def _scored(mean: Mean | None) -> str:
    if mean is None:
        return "--"
    return f"{mean.value:.2f}" if math.isinf(mean.low) else f"{mean.value:.2f} [{mean.low:.2f}, {mean.high:.2f}]"
