"""Studies made directly, without logs, whose truth is known."""

import math

import numpy as np

from analysis.stats.study import StudyTrials, Trial


def dimension(kind, *, low=None, high=None, step=None, choices=None, only_if=None):
    return {"kind": kind, "low": low, "high": high, "step": step, "choices": choices, "only_if": only_if}


UNIT = dimension("uniform", low=0.0, high=1.0)
MIXED = {
    "lr": dimension("loguniform", low=1e-4, high=1e-1),
    "tau": UNIT,
    "teacher": dimension("choice", choices=["shared", "ema"]),
    "decay": dimension("uniform", low=0.9, high=1.0, only_if={"teacher": "ema"}),
}
RUNGS, END = (3, 9, 27), 27


def draw(space, rng):
    values = {}
    for name, one in space.items():
        wanted = one["only_if"] or {}
        if any(values.get(parent) != value for parent, value in wanted.items()):
            continue
        if one["choices"] is not None:
            values[name] = one["choices"][rng.integers(len(one["choices"]))]
        elif one["kind"] == "loguniform":
            values[name] = float(np.exp(rng.uniform(np.log(one["low"]), np.log(one["high"]))))
        elif one["kind"] == "int":
            values[name] = int(rng.integers(one["low"], one["high"] + 1))
        else:
            values[name] = float(rng.uniform(one["low"], one["high"]))
    return values


def make_study(space, configs, curves, *, seeds=None, mode="max", rungs=RUNGS, states=None):
    """``curves``: scores by epoch of each configuration."""
    trials = tuple(
        Trial(
            run_id=f"t{number:04d}",
            number=number,
            state=states[number] if states else ("complete" if END in curve else "stopped"),
            error=None,
            retries=0,
            seed=0 if seeds is None else seeds[number],
            epochs=max(curve),
            values=values,
            curve=curve,
            runtime_s=1.0,
            ended_at=float(number),
        )
        for number, (values, curve) in enumerate(zip(configs, curves, strict=True))
    )
    return StudyTrials(
        name="made",
        metric="val/miou",
        mode=mode,
        max_epochs=END,
        rungs=rungs,
        grace_epochs=3,
        reduction=3,
        space=space,
        trials=trials,
        split_hash=None,
        git_commit=None,
    )


def study_of_function(function, space, count, *, noise=0.1, seed=0, halving=True, gap=lambda values: 6.0):
    """Trials of ``function`` of the values at the end; a trial is stopped at a rung unless it is in the best third of
    those before it. On the way a score lies ``gap`` times log(end / epoch) / log(9) below its end."""
    rng = np.random.default_rng(seed)
    seen = {rung: [] for rung in RUNGS}
    configs, curves = [], []
    for _ in range(count):
        values = draw(space, rng)
        end, curve = function(values) + rng.normal(0, noise), {}
        for rung in RUNGS:
            way = gap(values) * math.log(END / rung) / math.log(9)
            curve[rung] = float(end - way + rng.normal(0, noise))
            before = seen[rung]
            stop = halving and rung < END and len(before) > 2 and curve[rung] < np.quantile(before, 2 / 3)
            before.append(curve[rung])
            if stop:
                break
        configs.append(values)
        curves.append(curve)
    return make_study(space, configs, curves)


def without_rungs(study):
    """The same trials without a scheduler: only their ends count."""
    configs, curves = [one.values for one in study.trials], [one.curve for one in study.trials]
    return make_study(study.space, configs, curves, rungs=())
