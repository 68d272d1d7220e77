"""The tables of `benchmarks.confirmation_collapses` as Markdown."""

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from analysis.stats.confirm.lost_runs import SPREADS
from benchmarks.helpers.collapse_scenarios import DEPTH, EFFECTS, EXTENSIONS, RATES, SCENARIOS, WINNERS

Cells = Mapping[str, dict[str, Any]]


def page(found: Cells) -> str:
    """All tables; cells that are missing are left out."""
    named = {name.replace("_", " ").replace("percent", "%"): one for name, one in found.items()}
    took = sum(one["took_s"] for one in found.values())
    repetitions = min(one["n"] for one in found.values() if "effect" in one)
    lines = [
        "# Verdicts when runs collapse: before and after",
        "",
        "Two arms or eleven, noise 0.45 of which pairs share 30 % of the variance, 3 to 10 seeds, delta 0.3,",
        f"error 5 %; {repetitions:,} races a cell unless said. Collapses: -5 to -10, uniform. Skewed: an exponential "
        "tail.",
        "Before: commit 76f6436. The truth is the mean difference of runs that did not collapse; with collapses in",
        "both arms or shared it is that of all runs too, with collapses in one arm the earlier rule estimates another.",
        "Figures in percent, standard error at most 1.1; before → after.",
        "",
        *_one(named),
        *_ten(named),
        *_extended(named),
        *_means(named),
        *_others(named),
        *_winners(named),
        *_spreads(named),
        *_enough(named),
        "Command: `python -m benchmarks.confirmation_collapses run`, then `render`; "
        f"{took:.0f} s in all on one of 2 cores that others used too, no GPU. {datetime.now(UTC):%Y-%m-%d}; Python "
        f"{platform.python_version()}, numpy {version('numpy')}, scipy {version('scipy')}.",
        "",
        "",
    ]
    return "\n".join(lines)


def _share(cells: Cells, name: str, key: str) -> str:
    return f"{100 * cells[name][key] / cells[name]['n']:.1f}" if name in cells else "–"


def _both(cells: Cells, rest: str, key: str) -> str:
    return f"{_share(cells, f'before-{rest}', key)} → {_share(cells, f'after-{rest}', key)}"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [*(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)), ""]


def _one(cells: Cells) -> list[str]:
    head = ["noise", "false at 0", "better at +0.6", "false equivalent at +0.4"]
    head += [f"interval holds the truth at {effect:g}" for effect in EFFECTS]
    rows = [
        [
            scenario, _both(cells, f"1-0.0-{scenario}", "false"), _both(cells, f"1-0.6-{scenario}", "better"),
            _both(cells, f"1-0.4-{scenario}", "equivalent"),
            *(_both(cells, f"1-{effect}-{scenario}", "covered") for effect in EFFECTS),
        ]
        for scenario in SCENARIOS
    ]  # fmt: skip
    return ["## One comparison", "", *_table(head, rows)]


def _ten(cells: Cells) -> list[str]:
    head = ["noise", "any false at 0", "any false equivalent at +0.4", "all intervals hold at 0", "at +0.4"]
    rows = [
        [
            scenario, _both(cells, f"10-0.0-{scenario}", "false"), _both(cells, f"10-0.4-{scenario}", "equivalent"),
            *(_both(cells, f"10-{effect}-{scenario}", "covered") for effect in (0.0, 0.4)),
        ]
        for scenario in SCENARIOS
    ]  # fmt: skip
    return ["## Ten comparisons: the first arm against each of ten that are equal", "", *_table(head, rows)]


def _others(cells: Cells) -> list[str]:
    head = ["noise", "estimate outside its interval at 0", "at +0.6"]
    head += [f"P(better in a new run): interval holds at {effect:g}" for effect in EFFECTS]
    head += ["runs of the first arm that were lost", "runs a race at +0.6"]
    rows = []
    for scenario in SCENARIOS:
        names = [f"after-1-{effect}-{scenario}" for effect in EFFECTS]
        if any(name not in cells for name in names):
            continue
        rows.append(
            [
                scenario, *(_both(cells, f"1-{effect}-{scenario}", "outside") for effect in (0.0, 0.6)),
                *(_share(cells, name, "new") for name in names), f"{100 * cells[names[0]]['lost']:.1f}",
                f"{cells[names[2]]['runs']:.1f}",
            ]
        )  # fmt: skip
    return ["## Coherence, new runs, lost runs", "", *_table(head, rows)]


def _extended(cells: Cells) -> list[str]:
    head = ["noise", "false at 0", "better at +0.6", "interval holds the truth at 0", "at +0.6"]
    rows = [
        [
            scenario, _share(cells, f"extended-0.0-{scenario}", "false"),
            _share(cells, f"extended-0.6-{scenario}", "better"),
            *(_share(cells, f"extended-{effect}-{scenario}", "covered") for effect in (0.0, 0.6)),
        ]
        for scenario in SCENARIOS
    ]  # fmt: skip
    stops = " and then to ".join(map(str, EXTENSIONS))
    names = [f"extended-{effect}-{SCENARIOS[0]}" for effect in (0.0, 0.6)]
    races = ", ".join(f"{cells[name]['n']:,}" for name in names if name in cells)
    title = f"## One comparison, extended to {stops} seeds while undecided"
    return [title, "", f"Races a cell at 0 and at +0.6: {races}.", "", *_table(head, rows)]


def _means(cells: Cells) -> list[str]:
    head = ["collapses in one arm", "typical runs apart by", "one comparison: better", "ten: any better"]
    rows = []
    for rate in RATES:
        name = f"{100 * rate:g}"
        both = [
            f"{_share(cells, f'means-before-{comparisons}-{name}', 'better')} → "
            f"{_share(cells, f'means-after-{comparisons}-{name}', 'better')}"
            for comparisons in (1, 10)
        ]
        rows.append([f"{name} %", f"{rate * sum(DEPTH) / 2:.3g}", *both])
    return [
        "## Equal means of all runs",
        "",
        "The arm that collapses has better typical runs, by so much that the means over all its runs are equal. By the",
        'earlier estimand, the mean of all runs, every "better" before is false. By the present one "better" is right,',
        "and its lost runs stand beside it.",
        "",
        *_table(head, rows),
    ]


def _winners(cells: Cells) -> list[str]:
    head = ["noise", "5 equal arms", "10 equal arms"]
    rows = [
        [
            scenario,
            *(
                f"{_share(cells, f'winner-before-{arms}-{scenario}', 'covered')} → "
                f"{_share(cells, f'winner-after-{arms}-{scenario}', 'covered')}"
                for arms in (5, 10)
            ),
        ]
        for scenario in WINNERS
    ]
    return ["## The winner's own interval, nominal 95 %: how often it holds its true mean", "", *_table(head, rows)]


def _spreads(cells: Cells) -> list[str]:
    head = ["noise", *(f"{key}, {k:g} s" for key in ("false at 0", "better at +0.6") for k in (4, SPREADS, 6))]
    rows = []
    for scenario in SCENARIOS:
        row = [scenario]
        for effect, key in ((0.0, "false"), (0.6, "better")):
            names = [
                f"spreads-4.0-{effect}-{scenario}",
                f"after-1-{effect}-{scenario}",
                f"spreads-6.0-{effect}-{scenario}",
            ]
            row += [_share(cells, name, key) for name in names]
        rows.append(row)
    return ["## A collapse is more than 4, 5 or 6 standard deviations below the median", "", *_table(head, rows)]


def _enough(cells: Cells) -> list[str]:
    head = ["comparisons", "noise", "effect 0.3", "0.6", "1.0"]
    rows = []
    for comparisons in (1, 10):
        of_noise: dict[float, list[str]] = {}
        for row in cells.get(f"enough-{comparisons}", {}).get("rows", []):
            budget = f"{row['budget']} ({row['spent']:.1f})" if row["budget"] else "more than 30"
            of_noise.setdefault(row["noise"], []).append(budget)
        rows += [[str(comparisons), f"{noise:g}", *shown] for noise, shown in of_noise.items()]
    return [
        "## Seeds that are enough",
        "",
        "Smallest plan with which the difference is found in at least 80 % of 20,000 Gaussian races (tried: 3 to 10,",
        "12, 15, 20, 25, 30), and the mean seeds spent; t statistics against the boundaries of the plan.",
        "",
        *_table(head, rows),
    ]
