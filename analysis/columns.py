"""The contract between whoever logs and whoever reads: keys of a W&B run, columns of the tables. Stdlib only.

A run's W&B config::

    schema_version  int
    study           str
    trial           {key, number}                  key is the run id's last part and stays the same across retries
    search          {dotted name: value}           the searched leaves that are active in this trial
    space           {dotted name: {kind, low, high, step, choices, only_if}}
    trainer         the whole training config, nested
    trains          {by, unpaired}                 by: the kind of trainer, such as command; unpaired: why no seeds can
                                                   pair its runs, none where they can
    objective       {metric, mode, unit, second_objective: none or {metric, mode, unit}}
    constraints     {metric: {min, max, at_end}}   none without hard constraints
    scheduler       {name, grace_epochs, reduction, max_epochs, rungs, trials}    trials: at most
    classes         [class names]
    origin          {split_hash, git_commit, versions, world_size, host}
    tracking        {project, entity}              of W&B

A run of the confirmation has the job type `confirm` (a run of the search: `search`), and besides::

    confirm         {arm, seed, plan, arms, order, prefer}

``arm`` and ``seed`` (0, 1, ...) say which run it is. The others are the same for all: ``plan`` is that of
`analysis.stats.confirm.race_plan.RacePlan`, ``arms`` {name: {roles, of, changes, trial}} in the order of their making
(`trial`: the key of the search's trial that it repeats), ``order`` the arms with the simplest first, ``prefer``
"winner" or "simplest".

A run's W&B summary: ``state`` (a `State`), ``error`` (text or none), ``retries``, ``epochs``, ``objective`` (its last
value), ``url`` (online only), ``score/<epoch>`` (the objective at every rung and at full length; for W&B's panels, no
table has them). History rows hold ``epoch`` and the trainer's metrics under their own names; an epoch
that is logged twice is the same row. Some rows have `pictures`, W&B's own images of held-out images with masks
`ground_truth` and `prediction`. Among a run's files is `held_out.npz` (`trainers.loop.held_out` has its format), that
of the latest epoch which left one.
"""

from pathlib import Path
from typing import Literal

SCHEMA_VERSION = 1

IDENTITY = "study.id"
"""File in a study's folder: the study's identity, with which its run ids begin and which is its runs' group."""

Phase = Literal["search", "confirm"]
CONFIRM: Phase = "confirm"

State = Literal["complete", "stopped", "infeasible", "failed", "interrupted", "running", "crashed"]
"""complete: ran all its epochs. stopped: by the scheduler. infeasible: it broke a constraint of the study, which
`error` names, and was stopped there. failed: retries used up. interrupted: the user stopped the study. running: no end
was logged, and something was within the last minutes. crashed: no end was logged. The last two
are what readers say, not what is logged."""

RUN_COLUMNS = {
    "run_id": "string",
    "study": "string",
    "phase": "string",
    "trial": "int64",
    "state": "string",
    "error": "string",
    "retries": "int64",
    "seed": "int64",
    "epochs": "int64",
    "max_epochs": "int64",
    "metric": "string",
    "mode": "string",
    "objective": "double",
    "against_metric": "string",
    "against_mode": "string",
    "against": "double",
    "split_hash": "string",
    "git_commit": "string",
    "started": "double",
    "runtime_s": "double",
    "config": "string",
    "arm": "string",
    "arm_seed": "int64",
    "wandb_path": "string",
    "url": "string",
}
"""Of the table `runs`: one row a run. Searched leaves follow as `param.<dotted name>`; `config` is the training config
as JSON; `started` is seconds since 1970; `against` is the last value of the second objective, where there is one. `arm`
and `arm_seed` are of runs of the confirmation, and null in others."""

HISTORY_COLUMNS = {"run_id": "string", "epoch": "int64", "time": "double"}
"""Of the table `history`: one row a run and epoch, `time` in seconds since 1970; metrics follow under their names."""

PARAM_PREFIX = "param."

PICTURES = "pictures/"
"""How the names begin under which W&B's client notes a row's images in the history."""


def identity_of(folder: Path) -> str | None:
    """The identity of the study in a folder; None where the folder does not say."""
    try:
        return (folder / IDENTITY).read_text().strip() or None
    except OSError:
        return None


def key_of(run_id: str) -> str:
    """The trial's key (``t0003``), which is the last part of its run's id."""
    return run_id.rpartition("-")[2]
