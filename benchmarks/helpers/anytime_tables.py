"""The tables and curves of `benchmarks.anytime`."""

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.helpers.search_problems import CONCURRENT, EPOCHS


@dataclass(frozen=True, kw_only=True)
class Target:
    """What the best of so many ``random`` configurations is worth: the one with the best last score, or, of the
    ``confirmed`` leading ones, the one that is worth most."""

    random: int
    confirmed: int = 1

    def __str__(self) -> str:
        return f"{self.random}" if self.confirmed == 1 else f"{self.random}, {self.confirmed} of them confirmed"


TARGETS = {
    "power": Target(random=512),
    "exponential": Target(random=512),
    "mlp": Target(random=128, confirmed=10),
    "kernel": Target(random=512),
    "digits": Target(random=16),
}
"""So chosen that ASHA + TPE needs at least five times `FLOOR` at the median of the tuning problems (seeds 1000 and up)
and most of its searches get there."""
FAMILIES = tuple(TARGETS)
MEDIAN_OF = 128
"""Random configurations whose median is where regret begins."""
BUDGET = 2160
"""Epochs of all trials together, 80 trainings in full, after which a search ends without the target."""
REFERENCE = "reference"
BASE, BASE_AGAIN = "ASHA + TPE", "ASHA + TPE, another seed"
Key = tuple[str, int, str]
Raw = dict[Key, dict[str, Any]]
"""Rows by family, seed and search."""

AT = (135, 270, 540, 1080, BUDGET)
"""Epochs of all trials at which the regret is told."""
FLOOR = (CONCURRENT * EPOCHS) - CONCURRENT + 1
"""Epochs when the first of `CONCURRENT` trials that began together has its last one behind it."""


def regrets(row: Mapping[str, Any], reference: Mapping[str, Any], at: Sequence[int]) -> list[float]:
    """The regret of a search's best after so many epochs; 1 before a trial of full length has ended, not a number after
    a search was cut off."""
    target, median = reference["target"], reference["median"]
    found, best, regret = [], -math.inf, 1.0
    ended = list(row["ended"])
    for epochs in at:
        while ended and ended[0][0] <= epochs:
            _, score, worth = ended.pop(0)
            if score > best:
                best, regret = score, max((target - worth) / (target - median), 0.0)
        found.append(math.nan if row.get("cut") and epochs > row["epochs"] else regret)
    return found


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile; infinite ones are the largest."""
    low, middle, high = np.quantile([min(value, 1e12) for value in values], (0.25, 0.5, 0.75))
    low, middle, high = (math.inf if one > 1e6 else float(one) for one in (low, middle, high))
    return low, middle, high


def searches_of(found: Raw, family: str) -> dict[str, list[int]]:
    """The seeds by search, in the order of the file."""
    searches: dict[str, list[int]] = {}
    for key_family, seed, search in found:
        if key_family == family and search != REFERENCE:
            searches.setdefault(search, []).append(seed)
    return searches


def reached(found: Raw, family: str, seed: int, search: str) -> float:
    """Epochs until the target; infinite if never."""
    epochs = found[family, seed, search]["reached"]
    return math.inf if epochs is None else float(epochs)


def render(found: Raw, *, command: str) -> str:
    """The tables as Markdown."""
    lines = [
        "# Searches, side by side: epochs to a hard target, and the way there",
        "",
        f"Target: what the best of so many random configurations ({EPOCHS} epochs each) is worth: "
        + "; ".join(f"`{family}` {target}" for family, target in TARGETS.items())
        + ". A search's best is",
        f"the configuration with the best last score; {CONCURRENT} trials at once; the least that can be measured is",
        f"{FLOOR} epochs. Median [quartiles] over problems; `never`: not within {BUDGET} epochs (they count as the",
        "largest). `/ ASHA + TPE`: ratio of the medians, on the problems that both ran; ASHA + TPE's is over its two",
        "seeds together, since chance alone moves the median of ten searches by a factor of two. `regret at` so many",
        "epochs: median of the way from the best so far to the target, as a share of that from the median random one.",
        "`CPU s`: median of a whole run, trainings of mlp and kernel included. `cut off`: by the limit of CPU time; of",
        "such a search nothing is told after the first of its cuts.",
        "",
    ]
    for family in FAMILIES:
        searches = searches_of(found, family)
        if not searches:
            continue
        lines += [
            f"## {family}",
            "",
            "| search | problems | epochs | never | / ASHA + TPE | "
            + " | ".join(f"regret at {epochs}" for epochs in AT)
            + " | CPU s |",
            "|---|---|---|---|---|" + "---|" * (len(AT) + 1),
        ]
        lines += [_row(found, family, search, seeds, searches.get(BASE, [])) for search, seeds in searches.items()]
        lines.append("")
    versions = ", ".join(f"{name} {version(name)}" for name in ("optuna", "ray", "numpy", "scikit-learn"))
    lines += [
        f"Command: `{command}`; 2 cores, no GPU.",
        f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, {versions}.",
        "",
    ]
    return "\n".join(lines)


def _row(found: Raw, family: str, search: str, seeds: list[int], base: list[int]) -> str:
    took = [reached(found, family, seed, search) for seed in seeds]
    rows = [found[family, seed, search] for seed in seeds]
    least = min([row["epochs"] for row in rows if row.get("cut")], default=BUDGET)
    low, middle, high = (_shown(one, least) for one in quartiles(took))
    curves = [regrets(row, found[family, row["seed"], REFERENCE], AT) for row in rows]
    medians = np.median(np.array(curves), axis=0)
    cpu = float(np.median([row["seconds"] for row in rows]))
    never = str(sum(math.isinf(one) for one in took))
    if cut := sum(bool(row.get("cut")) for row in rows):
        never += f", {cut} of them cut off"
    shown = " | ".join("–" if math.isnan(one) else f"{one:.3f}" for one in medians)
    ratio = _ratio(found, family, search, [seed for seed in seeds if seed in base])
    return f"| {search} | {len(seeds)} | {middle} [{low}, {high}] | {never} | {ratio} | {shown} | {cpu:.1f} |"


def _ratio(found: Raw, family: str, search: str, seeds: list[int]) -> str:
    if not seeds:
        return "–"
    its = quartiles([reached(found, family, seed, search) for seed in seeds])[1]
    both = [(seed, one) for seed in seeds for one in (BASE, BASE_AGAIN) if (family, seed, one) in found]
    base = quartiles([reached(found, family, seed, one) for seed, one in both])[1]
    if math.isinf(base):
        return "–"
    return "∞" if math.isinf(its) else f"{its / base:.2f}"


def _shown(epochs: float, least: int) -> str:
    """``least``: epochs after which the target had not been reached for sure."""
    return f"> {least}" if math.isinf(epochs) else f"{epochs:.0f}"


def plot(found: Raw, out: Path) -> None:
    """Median regret over epochs with its quartiles, a panel a family."""
    from matplotlib.figure import Figure

    families = [family for family in FAMILIES if searches_of(found, family)]
    figure = Figure(figsize=(13, 4.4 * math.ceil(len(families) / 2)), layout="constrained")
    grid = figure.subplots(math.ceil(len(families) / 2), 2, squeeze=False)
    at = [int(one) for one in np.geomspace(FLOOR - 10, BUDGET, 120)]
    names = list(dict.fromkeys(search for family in families for search in searches_of(found, family)))
    for axes, family in zip(grid.flat, families, strict=False):
        for search, seeds in searches_of(found, family).items():
            curves = [regrets(found[family, seed, search], found[family, seed, REFERENCE], at) for seed in seeds]
            low, middle, high = np.quantile(np.array(curves), (0.25, 0.5, 0.75), axis=0)
            number = names.index(search)
            style = {"color": f"C{number % 10}", "linestyle": ("-", "--", ":")[number // 10 % 3]}
            axes.step(at, middle, where="post", label=search, linewidth=1.6, **style)
            axes.fill_between(at, low, high, step="post", color=style["color"], alpha=0.06, linewidth=0)
        axes.set(title=family, xscale="log", xlabel="epochs of all trials", ylabel="regret", ylim=(-0.02, 0.6))
        axes.set_xticks(list(AT), [str(one) for one in AT], minor=False)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    for axes in list(grid.flat)[len(families) :]:
        axes.axis("off")
    handles = {
        text: handle for axes in grid.flat for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    last = grid.flat[-1]
    if len(families) % 2:
        last.legend(handles.values(), handles.keys(), loc="center", ncols=2, fontsize=9)
    else:
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize=9)
    figure.savefig(out, dpi=110)
