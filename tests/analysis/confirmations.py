"""Logged runs of a study that was searched and confirmed, without W&B's client."""

import numpy as np

from analysis.ingest.logged_run import LoggedRun
from analysis.stats.confirm.race_plan import RacePlan

SPACE = {"interpixel.alpha": {"kind": "loguniform", "low": 0.01, "high": 10.0, "step": None, "choices": None,
                              "only_if": None}}  # fmt: skip
TOP, DEFAULTS, BARE = "top 1", "defaults", "interpixel.alpha=0"
ARMS = {
    TOP: {"roles": ["top"], "of": [], "changes": {}, "trial": "t0001"},
    DEFAULTS: {"roles": ["defaults"], "of": [], "changes": {}, "trial": None},
    BARE: {"roles": ["ablated"], "of": [TOP, DEFAULTS], "changes": {"interpixel.alpha": 0}, "trial": None},
}
ALPHAS = {TOP: 2.0, DEFAULTS: 0.5, BARE: 0.0}
PLAN = {
    "delta": 0.3, "error": 0.05, "first_seeds": 3, "max_seeds": 8,
    "comparisons": [[TOP, DEFAULTS], [TOP, BARE], [DEFAULTS, BARE]], "kept": [DEFAULTS, BARE],
}  # fmt: skip


def race_plan():
    pairs = tuple((arm, other) for arm, other in PLAN["comparisons"])
    return RacePlan(**{**PLAN, "comparisons": pairs, "kept": frozenset(PLAN["kept"])})


def run(key, number, *, phase, score, state="complete", alpha=1.0, seed=0, epochs=4, mode="max", **more):
    logged = LoggedRun(run_id=f"s-{key}", job_type=phase, started=float(number), ended=True, summary={"state": state})
    logged.config = {
        "schema_version": 1,
        "study": "s",
        "trial": {"key": key, "number": number},
        "search": {"interpixel.alpha": alpha},
        "space": SPACE,
        "trainer": {"seed": seed, "data": {"holdout": {"images": 60, "source": "unlabelled"}}},
        "objective": {"metric": "val/miou", "mode": mode},
        "scheduler": {
            "name": "asha" if phase == "search" else "none",
            "max_epochs": 4,
            "rungs": [1, 2, 4][: 3 * (phase == "search")],
        },
        "tracking": {"project": "p", "entity": "e"},
        **more,
    }
    for epoch in range(1, epochs + 1):
        logged.add_row({"epoch": epoch, "val/miou": score - (epochs - epoch), "_timestamp": float(number * 10 + epoch)})
    return logged


def confirm_run(
    number, arm, seed, score, *, state="complete", official=None, prefer="winner", mode="max", arms=ARMS, plan=PLAN
):
    order = [BARE, DEFAULTS, TOP]
    confirm = {"arm": arm, "seed": seed, "plan": plan, "arms": arms, "order": order, "prefer": prefer}
    done = run(
        f"c{number:04d}",
        number,
        phase="confirm",
        score=score,
        state=state,
        alpha=ALPHAS[arm],
        seed=seed + 1,
        mode=mode,
        epochs=4 if state == "complete" else 2,
        confirm=confirm,
    )
    if official is not None:
        done.history[4]["final/last/miou"] = official
    return done


def scores_of(effects, *, seeds, noise=0.2, seed=0):
    """{arm: {seed: score}} around 70 plus the arm's effect, with a shared effect of each seed."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(70, 1, seeds)
    return {
        arm: {i: float(shared[i] + effect + rng.normal(0, noise)) for i in range(seeds)}
        for arm, effect in effects.items()
    }


def searched():
    return [
        run("t0000", 0, phase="search", score=70.0, alpha=0.5),
        run("t0001", 1, phase="search", score=73.0, alpha=2.0),
        run("t0002", 2, phase="search", score=60.0, state="stopped", epochs=2, alpha=0.1),
    ]


def confirmed_runs(scores, **more):
    runs, number = [], 0
    for seed in range(max(len(of_arm) for of_arm in scores.values())):
        for arm, of_arm in scores.items():
            if seed in of_arm:
                runs.append(confirm_run(number, arm, seed, of_arm[seed], official=of_arm[seed] - 2, **more))
                number += 1
    return runs
