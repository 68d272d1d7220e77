"""What stands above and inside an exported config: how far to trust it, and where it came from."""

import datetime
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.columns import key_of
from analysis.wording.phrases import validation_called

if TYPE_CHECKING:
    from analysis.stats.confirm.results import ArmMean, ArmResult, Confirmed
    from ipix_tune.trainer.exported import Recipe

RunRow = dict[str, Any]
NOT_UNTOUCHED = "the arm was chosen on scores that go along with these, so this is not an untouched estimate"


@dataclass(frozen=True, kw_only=True)
class ExportChoice:
    """The exported run (a row of the table `runs`), how it was chosen, and out of how many configurations. With two
    objectives, ``front`` has the keys of the trials on the Pareto front, the best by the first objective first.
    ``confirmed`` is the arm that the confirmation chose, and all it found; None where the search alone decided.
    ``score`` and ``second_score`` are the objectives by which it was chosen, means over ``seeds`` after ``epoch``
    epochs.
    ``recipe``: the final recipe that is exported in the run's place, where it is."""

    row: RunRow
    rule: str
    caveats: tuple[str, ...]
    candidates: int
    seeds: int
    front: tuple[str, ...] = ()
    confirmed: "tuple[ArmResult, Confirmed] | None" = None
    score: float | None
    second_score: float | None = None
    epoch: int
    recipe: "Recipe | None" = None


def trial_key(row: RunRow) -> str:
    """The key under which the study's folder `trials` holds the run: the last part of the run's id."""
    return key_of(str(row["run_id"]))


def head(choice: ExportChoice, *, final: bool, has_val: bool) -> list[str]:
    """The comment lines above the config, how far to trust it first."""
    row = choice.row
    if choice.confirmed is not None:
        lines = _confirmed_head(choice, *choice.confirmed)
    else:
        trust = (
            f"PROVISIONAL: {choice.seeds} seed, not confirmed"
            if choice.seeds == 1
            else f"{choice.seeds} seeds; not confirmed"
        )
        lines = [
            f"# {trust}; {scored(choice)} after {choice.epoch} of {row['max_epochs']} epochs",
            f"# study {row['study']}, trial {trial_key(row)}; rule: {choice.rule} ({choice.candidates} configurations)",
        ]
    if choice.front:
        lines.append(f"# {front_told(choice.front)}")
    if row["state"] != "complete":
        lines.append(f"# THIS TRIAL DID NOT RUN ALL ITS EPOCHS ({row['state']}); the training below does")
    if not has_val:
        lines.append("# data.val is not given: name a list of images to report on and set evaluation.final: true")
    elif final:
        lines.append(f"# evaluation.final: the {_called(row)} is evaluated once, at the end")
    return lines


def _called(row: RunRow) -> str:
    data: dict[str, Any] = json.loads(row["config"]).get("data", {})
    return validation_called(data)


def front_told(front: tuple[str, ...]) -> str:
    """Which trials are on the Pareto front."""
    alone = len(front) == 1
    return f"{'alone' if alone else f'no single winner: {len(front)} trials'} on the Pareto front: {', '.join(front)}"


def scored(choice: ExportChoice) -> str:
    """The scores by which it was chosen, in words."""
    row = choice.row
    text = f"{row['metric']} {choice.score:.2f}"
    if choice.second_score is not None:
        text += f" at {row['against_metric']} {choice.second_score:.4g}"
    return text if choice.seeds == 1 else f"{text} (mean over {count_seeds(choice.seeds)})"


def _second(row: RunRow, choice: ExportChoice) -> dict[str, Any]:
    """The second objective, where there is one, and the front."""
    if not choice.front:
        return {}
    value = row["against"] if choice.second_score is None else choice.second_score
    second = {"metric": row["against_metric"], "mode": row["against_mode"], "value": value}
    return {"against": second, "front": list(choice.front)}


def _confirmed_head(choice: ExportChoice, arm: "ArmResult", found: "Confirmed") -> list[str]:
    assert found.choice is not None
    over = "" if found.judgement.over else "; the confirmation is not over"
    assert arm.mean is not None
    beside = [one for one in found.judgement.verdicts if arm.name in (one.arm, one.other)]
    return [
        f"# {found.choice.headline}: {arm.name}; {found.metric} {arm.mean.value:.2f}, mean over "
        f"{count_seeds(arm.mean.seeds)} of typical runs{over}",
        f"# {found.choice.words}",
        *([] if arm.lost.count else [f"# {arm.name}: {arm.lost.words}"]),  # else it stands in the first line
        *(f"# {one.words}" for one in beside),
        f"# study {found.study}; {arm.name}"
        + (f" is trial {arm.trial}" if arm.trial else "")
        + f"; {found.runs} runs of {found.max_epochs} epochs in all",
    ]


def provenance(choice: ExportChoice, *, study: Path) -> dict[str, Any]:
    """The config's `provenance`."""
    row, value = choice.row, choice.score
    confirmation = {} if choice.confirmed is None else {"confirmation": _confirmation(*choice.confirmed)}
    return {
        "study": row["study"],
        "trial": trial_key(row),
        "number": row["trial"],
        "phase": row["phase"],
        "objective": {"metric": row["metric"], "mode": row["mode"], "value": value} | _second(row, choice),
        "selection": choice.rule,
        "candidates": choice.candidates,
        "seeds": choice.seeds,
        "state": row["state"],
        "epochs": row["epochs"],
        "max_epochs": row["max_epochs"],
        "split_hash": row["split_hash"],
        "git_commit": row["git_commit"],
        "versions": _versions(study),
        "wandb_run": row["run_id"],
        **{name: row[name] for name in ("wandb_path", "url") if row.get(name)},
        **confirmation,
        "exported": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def _confirmation(arm: "ArmResult", found: "Confirmed") -> dict[str, Any]:
    """What stands behind the arm: every verdict about it, its means, and its runs."""
    assert found.choice is not None
    plan = found.plan
    verdicts = [
        {
            "arm": one.arm,
            "other": one.other,
            "verdict": one.kind,
            "effect": _rounded(one.effect),
            "interval": [_rounded(one.low), _rounded(one.high)],
            "seeds": one.pairs,
            "p": _rounded(one.p),
            "better_in_new_runs": None
            if one.new_run is None
            else {
                "value": _rounded(one.new_run.value),
                "interval_95": [_rounded(one.new_run.low), _rounded(one.new_run.high)],
            },
            "words": one.words,
        }
        for one in found.judgement.verdicts
        if arm.name in (one.arm, one.other)
    ]
    official = arm.official_mean
    return {
        "arm": arm.name,
        "confirmed": found.choice.confirmed,
        "qualification": found.choice.qualification,
        "words": found.choice.words,
        "over": found.judgement.over,
        "reason": found.judgement.reason,
        "plan": {
            "delta": plan.delta,
            "error": plan.error,
            "first_seeds": plan.first_seeds,
            "max_seeds": plan.max_seeds,
            "extensions": list(plan.extensions),
            "comparisons": len(plan.comparisons),
        },
        "verdicts": verdicts,
        "mean": None if arm.mean is None else _mean(arm.mean),
        "lost": {
            "collapsed": len(arm.lost.collapsed),
            "failed": len(arm.lost.failed),
            "runs": arm.lost.runs,
            "interval_95": [_rounded(one) for one in arm.lost.interval],
        },
        "data_val": None if official is None else _mean(official) | {"note": NOT_UNTOUCHED},
        "budget": {"runs": found.runs, "epochs_each": found.max_epochs},
        "runs": [
            {
                "wandb_run": row["run_id"],
                **{name: row[name] for name in ("wandb_path", "url") if row.get(name)},
                "seed": row["seed"],
                "score": _rounded(row["objective"]),
                "split_hash": row["split_hash"],
                "git_commit": row["git_commit"],
            }
            for row in arm.runs
        ],
    }


def _mean(mean: "ArmMean") -> dict[str, Any]:
    interval = [_rounded(mean.low), _rounded(mean.high)]
    return {"value": _rounded(mean.value), "interval_95": interval, "seeds": mean.seeds}


def _rounded(value: float) -> float | None:
    """None for what YAML should not hold: an infinite end of an interval, an effect that is not known."""
    return round(value, 4) if math.isfinite(value) else None


def _versions(study: Path) -> dict[str, Any] | None:
    """Versions in the study's environment file; None where there is none."""
    try:
        environment = json.loads((study / "environment.json").read_text())
    except (OSError, ValueError):
        return None
    versions = environment.get("versions") if isinstance(environment, dict) else None
    return versions if isinstance(versions, dict) else None


def count_seeds(count: int) -> str:
    """1 seed, 2 seeds."""
    return "1 seed" if count == 1 else f"{count} seeds"
