"""The simulations of `benchmarks.confirmation`: one function, one cell, one flat row of counts and means."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.stats.confirm.error_schedule import Schedule
from analysis.stats.confirm.group_sequential import crossing
from analysis.stats.confirm.race_plan import RacePlan
from analysis.stats.confirm.seed_race import Judgement, judge
from analysis.stats.confirm.winner import choose
from benchmarks.helpers.boundaries import critical_values
from benchmarks.helpers.search_problems import problem, search_of, study_of
from ipix_tune.study.simulation.curve import Curve, Curves
from ipix_tune.study.simulation.simulator import Simulation
from ipix_tune.trainer.resources import Value

Array = NDArray[np.float64]
SHARED = 0.3
"""Share of a seed's variance that all arms have in common, and pairing removes."""
FIRST, ERROR, DELTA = 3, 0.05, 0.3


def noise_of(rng: np.random.Generator, shape: str, *, sd: float, arms: int, size: tuple[int, ...]) -> Array:
    """What seeds do to scores, (*size, arms), standard deviation ``sd``: normal, Student's t with 4 degrees of freedom,
    or skewed: every second arm has a long tail of bad seeds (exponential), so that differences are skewed too."""
    if shape == "t4":
        own = rng.standard_t(4, (*size, arms)) / math.sqrt(2)
    else:
        own = rng.standard_normal((*size, arms))
    if shape == "skewed":
        own[..., ::2] = 1 - rng.standard_exponential((*size, (arms + 1) // 2))
    common = rng.standard_normal((*size, 1))
    return np.asarray(sd * (math.sqrt(SHARED) * common + math.sqrt(1 - SHARED) * own))


def race(plan: RacePlan, table: Mapping[str, Array]) -> tuple[Judgement, int]:
    """The race on ``table[arm][seed]``, and how many runs it took."""
    scores: dict[str, dict[int, float]] = {}
    verdict = judge(scores, plan)
    while not verdict.over:
        for arm, seed in verdict.wanted:
            scores.setdefault(arm, {})[seed] = float(table[arm][seed])
        verdict = judge(scores, plan)
    return verdict, sum(len(of_arm) for of_arm in scores.values())


def calibration(repetitions: int, *, noise: float, seeds: int, effect: float, shape: str = "normal") -> dict[str, Any]:
    """Two arms, the first better by ``effect``."""
    rng = np.random.default_rng([int(noise * 100), seeds, int(effect * 10), len(shape)])
    plan = RacePlan(delta=DELTA, error=ERROR, first_seeds=FIRST, max_seeds=seeds, comparisons=(("a", "b"),))
    tables = noise_of(rng, shape, sd=noise, arms=2, size=(repetitions, seeds)) + np.array([effect, 0.0])
    kinds: dict[str, int] = dict.fromkeys(("better", "worse", "equivalent", "undecided"), 0)
    pairs = covered = by_delta = 0
    for table in tables:
        verdict = race(plan, {"a": table[:, 0], "b": table[:, 1]})[0].verdicts[0]
        kinds[verdict.kind] += 1
        pairs += verdict.pairs
        covered += verdict.low <= effect <= verdict.high
        by_delta += verdict.low >= DELTA
    fixed = stats.ttest_rel(tables[..., 0], tables[..., 1], axis=1)
    return {
        "noise": noise, "seeds": seeds, "effect": effect, "shape": shape, "n": repetitions, **kinds,
        "mean_seeds": pairs / repetitions, "covered": covered, "by_delta": by_delta,
        "fixed": int(((fixed.pvalue < ERROR) & (fixed.statistic > 0)).sum()),
    }  # fmt: skip


LAYOUTS: dict[str, tuple[int, tuple[tuple[int, int], ...]]] = {
    "all pairs of 5": (5, tuple((i, j) for i in range(5) for j in range(i + 1, 5))),
    "1 against 10": (11, tuple((0, j) for j in range(1, 11))),
}


def family(repetitions: int, *, layout: str, truth: str, shape: str, noise: float = 0.45) -> dict[str, Any]:
    """Ten comparisons. Truth: equal, or mixed: arms in turn 0.6 and 0 better than the last."""
    arms, numbers = LAYOUTS[layout]
    means = np.array([0.6 * (truth == "mixed" and arm % 2 == 0) for arm in range(arms)])
    rng = np.random.default_rng([arms, len(truth), len(shape), 10])
    plan = RacePlan(
        delta=DELTA, error=ERROR, first_seeds=FIRST, max_seeds=10,
        comparisons=tuple((f"arm{i}", f"arm{j}") for i, j in numbers),
    )  # fmt: skip
    wrong = uncovered = runs = right = lost = 0
    for table in noise_of(rng, shape, sd=noise, arms=arms, size=(repetitions, 10)) + means:
        outcome, spent = race(plan, {f"arm{arm}": table[:, arm] for arm in range(arms)})
        effects = [means[i] - means[j] for i, j in numbers]
        pairs = list(zip(outcome.verdicts, effects, strict=True))
        wrong += any(_false(one.kind, effect) for one, effect in pairs)
        uncovered += any(not one.low <= effect <= one.high for one, effect in pairs)
        right += sum(one.kind in ("better", "worse") for one, effect in pairs if effect != 0)
        lost += all(f"arm{arm}" in outcome.dropped for arm in range(arms) if means[arm] == means.max())
        runs += spent
    return {
        "layout": layout, "truth": truth, "shape": shape, "noise": noise, "n": repetitions, "wrong": wrong,
        "uncovered": uncovered, "lost": lost, "runs": runs / repetitions, "runs_full": arms * 10,
        "found": right / repetitions, "to_find": int(sum(means[i] != means[j] for i, j in numbers)),
    }  # fmt: skip


def _false(kind: str, effect: float) -> bool:
    return (
        (kind == "better" and effect <= 0)
        or (kind == "worse" and effect >= 0)
        or (kind == "equivalent" and abs(effect) >= DELTA)
    )


def candidate(*, comparisons: int, noise: float, repetitions: int = 40_000, seeds: int = 10) -> dict[str, Any]:
    """Stopping rules side by side, on t statistics: power and mean seeds by effect, and the exact error of each."""
    error = ERROR / comparisons
    looks = np.arange(FIRST, seeds + 1)
    rules = {
        "fixed n, one look": np.where(looks == seeds, stats.t.isf(error / 2, seeds - 1), np.inf),
        "O'Brien-Fleming (ours)": np.array(critical_values(FIRST, seeds, error)),
        "Wang-Tsiatis 0.25": np.array(critical_values(FIRST, seeds, error, 0.25)),
        "Pocock": np.array(critical_values(FIRST, seeds, error, 0.5)),
        "always-valid t mixture, g = 1": mixture_boundary(error, looks, 1.0),
        "always-valid t mixture, g = 4": mixture_boundary(error, looks, 4.0),
        "every look at fixed n's level": stats.t.isf(error / 2, looks - 1),
    }
    rng = np.random.default_rng([comparisons, int(noise * 100)])
    draws = noise_of(rng, "normal", sd=noise, arms=2, size=(repetitions, seeds))
    rows: dict[str, Any] = {}
    for effect in (0.3, 0.6, 1.0):
        t = t_statistics(draws[..., 0] - draws[..., 1] + effect)[:, FIRST - 1 :]
        for name, limits in rules.items():
            out = np.abs(t) > limits
            spent = np.where(out.any(axis=1), out.argmax(axis=1) + FIRST, seeds)
            rows.setdefault(name, {"error": crossing(np.minimum(limits, 1e9), FIRST)})[str(effect)] = [
                float(out.any(axis=1).mean()),
                float(spent.mean()),
            ]
    return {"comparisons": comparisons, "noise": noise, "n": repetitions, "rules": rows}


def enough(*, comparisons: int, repetitions: int = 20_000) -> dict[str, Any]:
    """By noise and effect: the smallest of `BUDGETS` with which the difference is found in 80 % of the races, and the
    mean pairs spent; 0 where none is enough. On t statistics and the boundaries of `judge`."""
    limits = {
        seeds: Schedule(first=FIRST, stops=(seeds,), error=ERROR, comparisons=comparisons).limits(seeds)
        for seeds in BUDGETS
    }
    rng = np.random.default_rng(comparisons)
    draws = noise_of(rng, "normal", sd=1, arms=2, size=(repetitions, BUDGETS[-1]))
    rows = []
    for noise in (0.3, 0.45, 0.6):
        for effect in (0.3, 0.6, 1.0):
            t = t_statistics(noise * (draws[..., 0] - draws[..., 1]) + effect)[:, FIRST - 1 :]
            row = {"noise": noise, "effect": effect, "budget": 0, "spent": 0.0}
            for seeds in BUDGETS:
                out = t[:, : seeds - FIRST + 1] > limits[seeds]
                if out.any(axis=1).mean() >= 0.8:
                    spent = np.where(out.any(axis=1), out.argmax(axis=1) + FIRST, seeds)
                    row |= {"budget": seeds, "spent": float(spent.mean())}
                    break
            rows.append(row)
    return {"comparisons": comparisons, "n": repetitions, "rows": rows}


BUDGETS = (*range(3, 11), 12, 15, 20, 25, 30)


def mixture_boundary(error: float, looks: NDArray[np.integer], g: float) -> Array:
    """Where the Bayes factor of a t test, effect in standard deviations ~ N(0, g), reaches 1 / error: under the null a
    non-negative martingale that starts at 1, so valid at every look without end (Ville; Lai 1976)."""
    widths = 1 + g * looks
    ratio = (np.sqrt(widths) / error) ** (2 / looks)
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = np.where(ratio < widths, (ratio - 1) / (1 - ratio / widths), np.inf) * (looks - 1)
    return np.asarray(np.sqrt(squares))


def t_statistics(differences: Array) -> Array:
    """(repetitions, n) differences to the t statistics of the first 1, 2, ..., n; 0 at one."""
    n = np.arange(1, differences.shape[1] + 1)
    means = differences.cumsum(axis=1) / n
    squares = np.maximum((differences**2).cumsum(axis=1) - n * means**2, 1e-12)
    return np.asarray(np.where(n > 1, means / np.sqrt(squares / np.maximum(n - 1, 1) / n), 0.0))


def pooled(*, unequal: bool, seeds: int, repetitions: int = 40_000) -> dict[str, Any]:
    """One look, all pairs of 5 arms, Bonferroni: each pair's own spread (the paired t-test) against one spread of all
    arms (two-way analysis of variance). Unequal: two of the arms have twice the noise of the others."""
    rng = np.random.default_rng([seeds, unequal])
    own = rng.standard_normal((repetitions, seeds, 5)) * (np.array([2, 2, 1, 1, 1]) if unequal else 1)
    level = ERROR / 10 / 2
    residuals = own - own.mean(axis=1, keepdims=True) - own.mean(axis=2, keepdims=True)
    residuals += own.mean(axis=(1, 2), keepdims=True)
    freedom = 4 * (seeds - 1)
    both = np.sqrt(2 * (residuals**2).sum(axis=(1, 2)) / freedom / seeds)
    found: dict[str, list[Array]] = {"paired": [], "pooled": [], "paired_power": [], "pooled_power": []}
    for i, j in LAYOUTS["all pairs of 5"][1]:
        differences = own[..., i] - own[..., j]
        mean, each = differences.mean(axis=1), differences.std(axis=1, ddof=1) / math.sqrt(seeds)
        limits = {"paired": stats.t.isf(level, seeds - 1) * each, "pooled": stats.t.isf(level, freedom) * both}
        for name, limit in limits.items():
            found[name].append(np.abs(mean) > limit)
            found[f"{name}_power"].append(mean + 1.5 > limit)
    first = {f"{name}_first": float(found[name][0].mean()) for name in ("paired", "pooled")}
    return (
        {"unequal": unequal, "seeds": seeds, "n": repetitions}
        | first
        | {
            name: float(np.mean(hits) if name.endswith("power") else np.any(hits, axis=0).mean())
            for name, hits in found.items()
        }
    )


@dataclass(frozen=True, kw_only=True)
class NoisyCurves:
    """Curves compressed by ``scale``, plus what a training's seed does to all its epochs. The study's scores."""

    source: Curves
    scale: float
    draw: Callable[[], float]
    search: None = None

    def true(self, values: Mapping[str, Value]) -> float:
        score = self.source.curve(values).scores[-1]
        assert score is not None
        return self.scale * score

    def curve(self, values: Mapping[str, Value]) -> Curve:
        curve, moved = self.source.curve(values), self.draw()
        scores = tuple(None if one is None else self.scale * one + moved for one in curve.scores)
        return Curve(scores=scores, seconds=curve.seconds)


EPOCHS, TRIALS, TOP, SCALE = 27, 64, 4, 0.1


def curse(*, noise: float, studies: Iterable[int]) -> dict[str, Any]:
    """Searches with ASHA and TPE, each trial trained with one seed; the best four against each other and against the
    study's first configuration over up to 10 fresh seeds."""
    rows = []
    for number in studies:
        rng = np.random.default_rng([number, int(noise * 100)])
        curves = NoisyCurves(source=problem("power", number), scale=SCALE, draw=partial(rng.normal, 0.0, noise))
        study = study_of(search_of(curves.source), sampler="tpe", scheduler="asha", trials=TRIALS, seed=number)
        entries = Simulation(study, curves, max_epochs=EPOCHS, concurrent=4).run().entries
        full = sorted((one for one in entries if EPOCHS in one.scores), key=lambda one: -one.scores[EPOCHS])
        arms = list({one.key: one for one in [*full[:TOP], entries[0]]}.values())
        true = {one.key: curves.true(one.values) for one in arms}
        keys = list(true)
        plan = RacePlan(
            delta=DELTA, error=ERROR, first_seeds=FIRST, max_seeds=10,
            comparisons=tuple((a, b) for i, a in enumerate(keys) for b in keys[i + 1 :]),
        )  # fmt: skip
        drawn = noise_of(rng, "normal", sd=noise, arms=len(keys), size=(10,)) + np.array(list(true.values()))
        table = {key: drawn[:, i] for i, key in enumerate(keys)}
        outcome, runs = race(plan, table)
        choice = choose(outcome, order=keys)
        seeds = max(one.pairs for one in outcome.verdicts if choice.arm in (one.arm, one.other))
        rows.append(
            {
                "naive_reported": full[0].scores[EPOCHS], "naive_true": true[full[0].key],
                "ours_reported": float(table[choice.arm][:seeds].mean()), "ours_true": true[choice.arm],
                "best_true": max(true.values()), "runs": runs, "confirmed": choice.confirmed,
                "within_delta": max(true.values()) - true[choice.arm] <= DELTA,
            }
        )  # fmt: skip
    return {"noise": noise, "rows": rows}
