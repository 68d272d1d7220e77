"""The final recipe of a study: the confirmed configuration with fresh seeds, with its held-out images given back where
that can be done, and the score to expect."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from analysis.columns import PARAM_PREFIX
from ipix_tune.trainer.exported import SEEDS, Recipe, RecipeError
from ipix_tune.trainer.own.own_config import has_val
from trainers.config import TrainConfig
from trainers.loop.run_summary import validation_called
from trainers.loop.seeds import FINAL, HELD_OUT, SeedRun, mean_of

if TYPE_CHECKING:
    from analysis.stats.confirm.results import ArmResult, Confirmed

KEY = "final"
"""Key of the recipe in an exported config's `provenance`."""


def recipe(
    config: TrainConfig,
    *,
    rows: Sequence[Mapping[str, Any]],
    confirmed: "tuple[ArmResult, Confirmed] | None",
    seeds: int = SEEDS,
    give_back: bool | None = None,
) -> Recipe:
    """The recipe of an exported config.

    Args:
        config: as the study ran it; the runs after the first follow it, see `trainers.loop.seeds.with_next_seed`.
        rows: all runs of the study, of the table `runs`: their seeds are not used again.
        confirmed: the exported arm and its confirmation; None: nothing is known of its spread.
        seeds: how many runs are to be trained.
        give_back: train on the held-out images too; None: where that can be done.

    Raises:
        RecipeError: ``give_back`` is asked for and cannot be done.
    """
    back, held_out = _held_out(config, give_back)
    searched = [name for name in ("init", "order") if any(f"{PARAM_PREFIX}seeds.{name}" in row for row in rows)]
    kinds = ["seed", *(f"{PARAM_PREFIX}seeds.{name}" for name in searched)]
    used_seeds = [int(row[kind]) for row in rows for kind in kinds if row.get(kind) is not None]
    first = 1 + max([config.seed, *used_seeds])
    update: dict[str, Any] = {"seed": first}
    data: dict[str, Any] = {"holdout": None} if back else {}
    if config.data.draw is not None:
        used = [(json.loads(row["config"])["data"].get("draw") or {}).get("seed", 0) for row in rows]
        data["draw"] = config.data.draw.model_copy(update={"seed": 1 + max([config.data.draw.seed, *used])})
    update["data"] = config.data.model_copy(update=data)
    update["seeds"] = config.seeds.model_copy(update=dict.fromkeys(searched))
    update["evaluation"] = config.evaluation.model_copy(update={"final": has_val(config)})
    final = config.model_copy(update=update)
    numbers = tuple(range(first, first + seeds))
    expected, facts = _expected(final, confirmed, seeds=seeds, back=back)
    return Recipe(
        config=final,
        seeds=numbers,
        held_out=held_out,
        expected=expected,
        facts={"seeds": list(numbers), "held_out_given_back": back, **facts},
    )


def _held_out(config: TrainConfig, give_back: bool | None) -> tuple[bool, str]:
    """Whether the held-out images are given back, and why."""
    holdout = config.data.holdout
    if holdout is None:
        why, can = "the study held no images out", False
    elif not has_val(config):
        why, can = "kept out of the training: without data.val the runs have nothing else to be scored on", False
    elif holdout.source == "unlabelled":
        why, can = (
            "kept out of the training: they were cut off the unlabelled list, so that the labelled list has no place "
            "for them",
            False,
        )
    elif getattr(config.method, "labeller", None) == "best":
        why, can = "kept out of the training: method.labeller = best chooses its labelling network by them", False
    else:
        why, can = (
            f"given back to the labelled list they were cut off ({holdout.images} images); the runs are scored on "
            f"the {validation_called(config)} alone",
            True,
        )
    if give_back and not can:
        raise RecipeError(f"--give-back: the held-out images cannot be given back; {why}")
    if can and give_back is False:
        return False, f"kept out of the training, as asked ({holdout.images if holdout else 0} images)"
    return can, why


def _range(ends: tuple[float, float]) -> str:
    """An interval of mIoU in words. One that stands on two or three runs may be wider than a percentage can be."""
    return f"{max(ends[0], 0.0):.2f} to {min(ends[1], 100.0):.2f}"


def _expected(
    config: TrainConfig, confirmed: "tuple[ArmResult, Confirmed] | None", *, seeds: int, back: bool
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """What the confirmation's typical runs say of new ones, in words and for the provenance."""
    if confirmed is None:
        return ("expected score: not known; the search chose this one as its best, and nothing confirmed it",), {}
    from analysis.stats.confirm.lost_runs import collapse_bound
    from analysis.stats.confirm.prediction import predict

    arm, found = confirmed
    lines, facts = [], {}
    for name, metric, scores in _scores(arm, found, back=back):
        called = "held-out images" if name == HELD_OUT and config.data.holdout else validation_called(config)
        typical = [score for seed, score in scores[arm.name].items() if seed not in arm.lost.collapsed]
        told = predict(typical, runs=seeds, arms=len(found.arms))
        if told is None:
            lines.append(f"expected {metric} on the {called}: {len(typical)} typical runs have no spread to go by")
            continue
        lines.append(
            f"expected {metric} on the {called}: a new run {_range(told.one)}, the mean of {seeds} "
            f"{_range(told.mean)} (95 % prediction intervals for runs that are not lost, from "
            f"{told.scores} runs, with allowance for the choice among {len(found.arms)} configurations)"
        )
        facts[name] = {
            "mean": round(told.value, 4),
            "one_run": [round(end, 4) for end in told.one],
            "mean_of_runs": [round(end, 4) for end in told.mean],
            "from_runs": told.scores,
            "collapsed_below": _rounded(collapse_bound(scores, arm.name, delta=found.plan.delta)),
        }
    if back and lines:
        lines.append("these were measured without the held-out images in the training; more labels rather help")
    lines.append(f"in the confirmation {arm.lost.words}")
    return tuple(lines), {"expected": facts}


def _scores(arm: "ArmResult", found: "Confirmed", *, back: bool) -> list[tuple[str, str, dict[str, dict[int, float]]]]:
    """Name among a run's metrics, what it is called, and scores by arm and seed: of what the new runs will have."""
    kinds = []
    if arm.official:
        kinds.append((FINAL, "mIoU", {one.name: one.official for one in found.arms}))
    if not back and found.metric == HELD_OUT:
        kinds.append((HELD_OUT, "mIoU", {one.name: one.scores for one in found.arms}))
    return kinds


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def head_lines(found: Recipe, *, drawn: bool, file: str) -> list[str]:
    """Comment lines of the exported file. ``drawn``: its labelled images are drawn by seed."""
    numbers = ", ".join(map(str, found.seeds))
    anew = "; the labelled images are drawn anew for each" if drawn else ""
    return [
        f"# FINAL RECIPE: seeds {numbers}, used neither in the search nor in its confirmation{anew}",
        f"# held-out images: {found.held_out}",
        *(f"# {line}" for line in found.expected),
        f"# train it: ipix-tune train {file} --seeds {len(found.seeds)}",
    ]


def compared(provenance: dict[str, Any] | None, runs: Sequence[SeedRun]) -> list[str]:
    """How the runs of a recipe came out beside what was expected: which collapsed, by the bound that the confirmation's
    runs gave, and where the mean of the others lies. None for a config that is no recipe."""
    known = (provenance or {}).get(KEY) or {}
    lines = []
    for name in (FINAL, HELD_OUT):
        expected, scored = known.get("expected", {}).get(name), [run for run in runs if name in run.scores]
        if expected is not None and scored:
            lines += _beside(name, scored, expected, planned=len(known["seeds"]))
    return lines


def _beside(name: str, scored: Sequence[SeedRun], expected: dict[str, Any], *, planned: int) -> list[str]:
    bound = expected["collapsed_below"]
    lost = [run for run in scored if bound is not None and run.scores[name] < bound]
    typical = [run.scores[name] for run in scored if run not in lost]
    lines = [
        f"seed {run.seed} collapsed: {name} {run.scores[name]:.2f} is below {bound:.2f}, the bound by which the "
        "confirmation calls a run lost"
        for run in lost
    ]
    if lost and typical:
        lines.append(f"without collapsed runs: {name} {_told(typical)}")
    ends = {1: expected["one_run"], planned: expected["mean_of_runs"]}
    if len(typical) in ends:
        (low, high), value = ends[len(typical)], mean_of(typical).value
        where = "within" if low <= value <= high else "outside"
        lines.append(f"expected by the study: {name} {low:.2f} to {high:.2f}; {value:.2f} is {where}")
    return lines


def _told(scores: Sequence[float]) -> str:
    mean = mean_of(scores)
    if mean.runs == 1:
        return f"{mean.value:.2f} (1 run, so that it has no interval)"
    return f"mean {mean.value:.2f} (95 % t interval {mean.low:.2f} to {mean.high:.2f}, n = {mean.runs} runs)"
