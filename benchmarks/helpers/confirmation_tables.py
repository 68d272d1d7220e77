"""The tables of `benchmarks.confirmation`, from the cells' rows. Shares are given with their Monte Carlo error."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Row = Mapping[str, Any]
KEYS = {"normal": "normal", "t4": "t with 4 degrees of freedom", "skewed": "skewed (bad seeds in one arm)"}


def tables(found: Mapping[str, Sequence[Row]]) -> list[str]:
    """Lines of Markdown; parts without cells are left out."""
    lines = ["# The confirmation's verdicts, by simulation", ""]
    sections = (
        ("calibration", _calibration),
        ("families", _families),
        ("robustness", _robustness),
        ("candidates", _candidates),
        ("enough", _enough),
        ("curse", _curse),
    )
    for part, section in sections:
        if found[part]:
            lines += [*section(found[part]), ""]
    return lines


def share(count: int, n: int) -> str:
    """In percent, with the standard error of a share of ``n`` repetitions."""
    rate = count / n
    return f"{100 * rate:.1f} ± {100 * math.sqrt(max(rate * (1 - rate), 1 / n / n) / n):.1f}"


def mean(values: Sequence[float] | NDArray[np.float64]) -> str:
    """With its standard error."""
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1) / math.sqrt(len(values)):.2f}"


def _calibration(rows: Sequence[Row]) -> list[str]:
    ordered = sorted(rows, key=lambda row: (row["noise"], row["seeds"], row["effect"]))
    null = [row for row in ordered if row["effect"] == 0]
    n = rows[0]["n"]
    worst = max(null, key=lambda row: row["better"])
    least = min(ordered, key=lambda row: row["covered"])
    missed = n * len(null) - sum(row["covered"] for row in null)
    lines = [
        "## One comparison",
        "",
        f"{n} races a row; percent ± Monte Carlo standard error. Seeds are normal with the given standard deviation,",
        "30 % of their variance shared by both arms, so that a paired difference has 1.18 times the noise; delta 0.3,",
        "error 0.05, first look after 3 seeds.",
        "",
        "### No difference",
        "",
        "| noise | most seeds | false better | false worse | called equivalent | undecided | mean seeds | covered |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in null:
        counts = (share(row[kind], n) for kind in ("better", "worse", "equivalent", "undecided", "covered"))
        better, worse, equivalent, undecided, covered = counts
        lines.append(
            f"| {row['noise']} | {row['seeds']} | {better} | {worse} | {equivalent} | {undecided} "
            f"| {row['mean_seeds']:.1f} | {covered} |"
        )
    lines += [
        "",
        f"- False better, goal at most 5 %: at most {share(worst['better'], n)} % (noise {worst['noise']}, "
        f"{worst['seeds']} seeds), {_goal(worst['better'] <= 0.05 * n)}.",
        f"- Coverage at every look at once, goal at least 95 %: over the {len(null)} rows above "
        f"{share(n * len(null) - missed, n * len(null))} %; over all {len(ordered)} rows of both tables "
        f"{100 * np.mean([row['covered'] for row in ordered]) / n:.1f} %, the least {share(least['covered'], n)} %, "
        f"{_goal_within(least['covered'], n, len(ordered))}.",
        "",
        "### A difference",
        "",
        "`fixed n`: scipy's `ttest_rel` once, at the most seeds, error 0.05.",
        "",
        "| noise | most seeds | true effect | better | fixed n: better | worse | equivalent | by at least delta "
        "| mean seeds | covered |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in ordered:
        if row["effect"] == 0:
            continue
        names = ("better", "fixed", "worse", "equivalent", "by_delta")
        cells = " | ".join(share(row[name], n) for name in names)
        lines.append(
            f"| {row['noise']} | {row['seeds']} | {row['effect']} | {cells} | {row['mean_seeds']:.1f} "
            f"| {share(row['covered'], n)} |"
        )
    return lines


def _families(rows: Sequence[Row]) -> list[str]:
    lines = [
        "## Ten comparisons",
        "",
        f"{rows[0]['n']} races a row, up to 10 seeds an arm, noise {rows[0]['noise']}. Truth `mixed`: every second arm",
        "is 0.6 better. `any false`: at least one of the ten verdicts is wrong (better or worse without or against a",
        "true difference, or equivalent at one of 0.6). `any missed`: at least one of the ten intervals misses its",
        "truth at some look. `best lost`: every truly best arm was dropped. `found`: true differences found, of those",
        "there are; what is open about an arm that was dropped counts as not found.",
        "",
        "| arms | truth | noise | any false | any missed | best lost | found | runs, of |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (row["layout"], row["truth"], list(KEYS).index(row["shape"]))):
        n = row["n"]
        lost = share(row["lost"], n) if row["truth"] == "mixed" else "–"
        found = f"{row['found']:.2f} of {row['to_find']}" if row["to_find"] else "–"
        lines.append(
            f"| {row['layout']} | {row['truth']} | {KEYS[row['shape']]} | {share(row['wrong'], n)} "
            f"| {share(row['uncovered'], n)} | {lost} | {found} | {row['runs']:.1f} of {row['runs_full']} |"
        )
    normal = [row for row in rows if row["shape"] == "normal"]
    worst = max(normal, key=lambda row: row["wrong"])
    return [
        *lines,
        "",
        f"- Family-wise error with normal seeds, goal at most 5 %: at most {share(worst['wrong'], worst['n'])} %, "
        f"{_goal(worst['wrong'] <= 0.05 * worst['n'])}.",
    ]


def _robustness(rows: Sequence[Row]) -> list[str]:
    n = rows[0]["n"]
    lines = [
        "## Noise that is not normal, one comparison",
        "",
        f"{n} races a row, noise 0.45.",
        "",
        "| noise | most seeds | true effect | better | worse | covered | mean seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (row["effect"], list(KEYS).index(row["shape"]), row["seeds"])):
        cells = [share(row[name], n) for name in ("better", "worse", "covered")]
        lines.append(
            f"| {KEYS[row['shape']]} | {row['seeds']} | {row['effect']} | {' | '.join(cells)} "
            f"| {row['mean_seeds']:.1f} |"
        )
    return lines


def _candidates(rows: Sequence[Row]) -> list[str]:
    rules = sorted((row for row in rows if "rules" in row), key=lambda row: (row["comparisons"], row["noise"]))
    lines = [
        "## Rules that were compared",
        "",
        f"On t statistics, {rules[0]['n']} draws; looks after 3, 4, ..., 10 pairs. In each cell: percent of the draws",
        "in which 0 is excluded / mean pairs spent. `error`: by numerical integration; the aim is 0.05 / comparisons.",
        "",
    ]
    for row in rules:
        title = "One comparison" if row["comparisons"] == 1 else f"One of {row['comparisons']} comparisons"
        lines += [
            f"{title}, noise {row['noise']}:",
            "",
            "| rule | error | effect 0.3 | 0.6 | 1.0 |",
            "|---|---|---|---|---|",
        ]
        for name, of_rule in row["rules"].items():
            cells = [f"{100 * power:.0f} / {pairs:.1f}" for power, pairs in (of_rule[e] for e in ("0.3", "0.6", "1.0"))]
            lines.append(f"| {name} | {100 * of_rule['error']:.2f} % | {' | '.join(cells)} |")
        lines.append("")
    lines += [
        "One spread for all arms instead of each pair's own; one look, all pairs of 5 arms (Bonferroni), power at 1.5",
        f"noise standard deviations; {rules[0]['n']} draws, nothing shared. Unequal: two arms have twice the noise.",
        "",
        "Errors in percent; `first two`: of the comparison of these two alone.",
        "",
        "| noise of the arms | seeds | paired: family-wise error | first two | power "
        "| pooled: family-wise error | first two | power |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted((row for row in rows if "rules" not in row), key=lambda row: (row["unequal"], row["seeds"])):
        names = [f"{rule}{what}" for rule in ("paired", "pooled") for what in ("", "_first", "_power")]
        cells = [f"{100 * row[name]:.1f}" for name in names]
        lines.append(f"| {'unequal' if row['unequal'] else 'equal'} | {row['seeds']} | {' | '.join(cells)} |")
    return lines


def _enough(rows: Sequence[Row]) -> list[str]:
    found = {(row["comparisons"], one["noise"], one["effect"]): one for row in rows for one in row["rows"]}
    lines = [
        "## Seeds that are enough",
        "",
        f"Smallest seed budget an arm with which the difference is found in at least 80 % of {rows[0]['n']} races",
        "(tried: 3 to 10, 12, 15, 20, 25, 30), and the mean seeds spent. Noise as above; on t statistics and the",
        "boundaries of `judge`.",
        "",
        "| comparisons | noise | effect 0.3 | 0.6 | 1.0 |",
        "|---|---|---|---|---|",
    ]
    for comparisons, noise in sorted({key[:2] for key in found}):
        cells = []
        for effect in (0.3, 0.6, 1.0):
            one = found[comparisons, noise, effect]
            cells.append(f"{one['budget']} ({one['spent']:.1f})" if one["budget"] else "more than 30")
        lines.append(f"| {comparisons} | {noise} | {' | '.join(cells)} |")
    return lines


def _curse(rows: Sequence[Row]) -> list[str]:
    lines = [
        "## Winner's curse",
        "",
        "Synthetic studies: `ipix-tune simulate`'s family `power` over the space of `voc.yaml`, scores divided by 10",
        "(so that the best configurations differ by tenths), ASHA and TPE, 64 trials, each trained with one seed. The",
        "naive best is the trial of full length with the highest score. Ours: the best four of them and the study's",
        "first configuration race over up to 10 fresh seeds, all pairs compared, and `choose` names the arm. Mean ±",
        "standard error over the studies.",
        "",
        "| noise | studies | naive: reported | true | optimism | ours: reported | true | optimism | gain in true score "
        "| lost to the best of the five: naive | ours | within delta of it: ours | confirmed | runs |",
        "|" + "---|" * 14,
    ]
    for noise in sorted({row["noise"] for row in rows}):
        of_noise = [one for row in rows if row["noise"] == noise for one in row["rows"]]
        column = {name: np.array([one[name] for one in of_noise], dtype=float) for name in of_noise[0]}
        n = len(of_noise)
        cells = [
            mean(column["naive_reported"]),
            mean(column["naive_true"]),
            mean(column["naive_reported"] - column["naive_true"]),
            mean(column["ours_reported"]),
            mean(column["ours_true"]),
            mean(column["ours_reported"] - column["ours_true"]),
            mean(column["ours_true"] - column["naive_true"]),
            mean(column["best_true"] - column["naive_true"]),
            mean(column["best_true"] - column["ours_true"]),
            f"{share(int(column['within_delta'].sum()), n)} %",
            f"{share(int(column['confirmed'].sum()), n)} %",
            f"{column['runs'].mean():.1f}",
        ]
        lines.append(f"| {noise} | {n} | {' | '.join(cells)} |")
    return lines


def _goal(met: bool) -> str:
    return "met" if met else "missed"


def _goal_within(covered: int, n: int, cells: int) -> str:
    """Whether the least of many coverages is lower than chance would have it, one time in twenty."""
    chance = 1 - (1 - float(stats.binom.cdf(covered, n, 0.95))) ** cells
    return f"which at exactly 95 % would be as low with chance {chance:.2f}: {_goal(chance > 0.05)}"
