"""The best training config of a study, whole, and where it came from.

Reads the tables that the analysis made from W&B's files and nothing else; Ray's folder may be gone.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis.columns import CONFIRM, SCHEMA_VERSION, Phase, key_of
from analysis.ingest.tables import FOLDER, RUNS, Tables, load
from analysis.stats.study import StudyTrials, Trial, from_tables
from ipix_tune.study.provenance import ExportChoice, RunRow, front_told, head, provenance, trial_key
from ipix_tune.trainer.choose import trainer_of
from ipix_tune.trainer.exported import SEEDS
from ipix_tune.trainer.interface import Config
from ipix_tune.trainer.own.final_recipe import KEY
from trainers.common.atomic import replacing
from trainers.common.config_keys import set_dotted
from trainers.common.errors import UserError, did_you_mean
from trainers.common.yaml_file import dump


class ExportError(UserError):
    """There is nothing to export, or nowhere to write it."""


def export_best(
    study: Path,
    out: Path,
    *,
    trial: str | None = None,
    final: bool | None = None,
    seeds: int = SEEDS,
    give_back: bool | None = None,
    force: bool = False,
) -> ExportChoice:
    """Choose a run of the study in folder ``study`` and write its training config to ``out``.

    Args:
        trial: key or number of a trial to take instead of the best.
        final: write the final recipe, see `ipix_tune.trainer.own.final_recipe`; None: where a confirmation chose.
            False: the run as the study made it, not evaluated on `data.val`.
        seeds: of the final recipe.
        give_back: of the final recipe.

    Raises:
        ExportError: no such study, trial or score; ``out`` exists and ``force`` is false; an option of the final recipe
            without it.
        RecipeError: the held-out images cannot be given back.
    """
    if out.exists() and not force:
        raise ExportError(f"{out} exists; give --force to overwrite it, or another --out")
    found = read_tables(study)
    choice = choose(found, trial=trial)
    if trial is None:
        choice = _with_confirmation(choice, found)
    config = _config(choice, study)
    trainer, asked = trainer_of(config.model_dump(mode="json")), give_back is not None or seeds != SEEDS
    if (final or asked) and not trainer.has_recipe:
        raise ExportError(
            "--final, --seeds, --give-back and --keep-held-out belong to our own trainer's configs; leave them out: "
            "the exported file has the command and config of the winner"
        )
    if trainer.has_recipe and (final or (final is None and choice.confirmed is not None)):
        rows = found.runs.to_pylist()
        last = trainer.recipe(config, rows=rows, confirmed=choice.confirmed, seeds=seeds, give_back=give_back)
        choice = replace(choice, recipe=last)
    elif asked:
        raise ExportError("--seeds, --give-back and --keep-held-out belong to the final recipe: give --final as well")
    return _written(choice, to_yaml(choice, config, study=study, final=final, file=str(out)), out)


def _written(choice: ExportChoice, text: str, out: Path) -> ExportChoice:
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as temporary:
        temporary.write_text(text)
    return choice


def chosen_config(found: Tables, study: Path) -> Config:
    """The config of the best run, or of the one that a confirmation chose, as the study made it.

    Args:
        found: the study's tables.
        study: its folder.

    Raises:
        ExportError: no trial has a score.
    """
    return _config(_with_confirmation(choose(found), found), study)


def _with_confirmation(choice: ExportChoice, tables: Tables) -> ExportChoice:
    """The arm that a confirmation chose takes the place of the search's best trial; where no arm leads yet, the caveats
    say so."""
    runs = tables.runs.to_pylist()
    if not any(row["phase"] == CONFIRM for row in runs):
        return choice
    from analysis.stats.confirm.results import confirmed

    found = confirmed(tables)
    if found is not None and found.choice is None and any(arm.breaks for arm in found.arms):
        broke = "; ".join(f"{arm.name}: {arm.breaks}" for arm in found.arms if arm.breaks)
        return replace(choice, caveats=(*choice.caveats, f"no confirmed configuration leads; constraints: {broke}"))
    if found is None or found.choice is None:
        return replace(choice, caveats=(*choice.caveats, "its confirmation has not come to a first look"))
    arm = found.arm(found.choice.arm)
    same = [row for row in runs if row["phase"] != CONFIRM and arm.trial is not None and trial_key(row) == arm.trial]
    caveats = [f"the confirmation is not over: {found.judgement.reason}"] if not found.judgement.over else []
    if not found.choice.confirmed:
        caveats.append(found.choice.words)
    return ExportChoice(
        row=(same or list(arm.runs))[0],
        rule=f"confirmation: {found.choice.words}",
        caveats=tuple(caveats),
        candidates=len(found.arms),
        seeds=len(arm.scores),
        front=choice.front,
        confirmed=(arm, found),
        score=None if arm.mean is None else arm.mean.value,
        epoch=found.max_epochs,
    )


def read_tables(study: Path) -> Tables:
    """The study's tables; they and the report are made first where they are missing or older than the study's W&B
    files.

    Raises:
        ExportError: no such folder, or it holds neither logs nor tables.
    """
    if not study.is_dir():
        there = [str(folder) for folder in study.parent.glob("*/") if (folder / "study.yaml").exists()]
        raise ExportError(f"there is no study folder {study}{did_you_mean(str(study), there)}")
    if _outdated(study / FOLDER / RUNS, logs=study / "wandb"):
        from analysis.page.build import build

        build(study)
    return load(study)


def _outdated(table: Path, *, logs: Path) -> bool:
    if not table.exists() or _version(table) != SCHEMA_VERSION:
        return True
    made = table.stat().st_mtime
    return any(file.stat().st_mtime > made for file in logs.rglob("*.wandb"))


def _version(table: Path) -> int:
    import pyarrow.parquet as pq

    metadata = pq.read_schema(table).metadata or {}
    return int(metadata.get(b"schema_version", 0))


def choose(found: Tables, *, trial: str | None = None) -> ExportChoice:
    """The run to export: the earliest run of the best configuration, by the rule of `analysis.stats.best`. With two
    objectives that is one end of the Pareto front. Where no trial ran all its epochs, the caveats say so.

    Raises:
        ExportError: no trial has a score and did not fail, or ``trial`` names none with a score.
    """
    rows = found.runs.to_pylist()
    if not rows:
        raise ExportError("the study has logged no run yet")
    phase: Phase = CONFIRM if all(row["phase"] == CONFIRM for row in rows) else "search"
    study = from_tables(found, phase=phase)
    runs = {row["run_id"]: row for row in rows}
    if trial is not None:
        row = _named([runs[one.run_id] for one in study.trials], trial)
        named = next(one for one in study.trials if one.run_id == row["run_id"])
        if named.state == "infeasible":
            raise ExportError(f"trial {trial} breaks a constraint of the study: {named.error}")
        if named.score is None:
            raise ExportError(f"trial {trial} has no score: its state is {named.state}")
        return _choice(study, named, row, rule=f"named: --trial {trial}", candidates=1)
    best = study.best()
    if best is None:
        raise ExportError(_nothing(study))
    standing = study.ranked[0]
    if not standing.full:
        rule = f"NO TRIAL RAN ALL ITS EPOCHS: best objective after epoch {standing.epoch}, the highest with a score"
    else:
        rule = (
            "best last objective among the trials that ran all their epochs (mean over seeds where there are several)"
        )
        if study.second_objective is not None:
            rule = f"of the Pareto front the end with the {rule}; --trial takes another"
    return _choice(study, best, runs[best.run_id], rule=rule, candidates=len(study.ranked))


def _nothing(study: StudyTrials) -> str:
    states = ", ".join(sorted({trial.state for trial in study.trials}))
    if scored := [_key(study, trial) for trial in study.trials if trial.score is not None]:
        return (
            f"of the {len(study.trials)} runs only {', '.join(scored)} have a score, and they failed, break a "
            "constraint or lack the second objective, so that none of them is the best; one that keeps the constraints "
            "can be exported by name with --trial"
        )
    return f"none of the {len(study.trials)} runs has a score (states: {states}); there is nothing to export"


def _named(runs: list[RunRow], trial: str) -> RunRow:
    for row in runs:
        if trial in (row["run_id"], trial_key(row), str(row["trial"])):
            return row
    keys = [trial_key(row) for row in runs]
    raise ExportError(f"there is no trial {trial}{did_you_mean(trial, keys)}; the study has {', '.join(keys)}")


def _choice(study: StudyTrials, trial: Trial, row: RunRow, *, rule: str, candidates: int) -> ExportChoice:
    standing = study.standing_of(trial)
    if standing is None or trial.number not in {run.number for run in standing.trials}:
        seeds, score, second_score = 1, trial.score, trial.second_score
    else:
        seeds, score = standing.seeds, standing.score
        second_score = None if study.second_objective is None else standing.second_score
    caveats = []
    if row["state"] != "complete":
        caveats.append(f"it ran {row['epochs']} of {row['max_epochs']} epochs ({row['state']})")
        if rule.startswith("NO TRIAL"):
            caveats.append("no trial of the study ran all its epochs")
    if seeds == 1:
        caveats.append(f"PROVISIONAL: 1 seed, the best of {candidates}: seed noise alone makes the best look too good")
    front = _front(study)
    if front:
        caveats.append(front_told(front))
    return ExportChoice(
        row=row,
        rule=rule,
        caveats=tuple(caveats),
        candidates=candidates,
        seeds=seeds,
        front=front,
        score=score,
        second_score=second_score,
        epoch=max(trial.curve),
    )


def _front(study: StudyTrials) -> tuple[str, ...]:
    """Keys of the configurations on the Pareto front, of each its earliest trial; none where there is one objective or
    no trial ran all its epochs."""
    if study.second_objective is None:
        return ()
    return tuple(_key(study, study.by_number[one.number]) for one in study.standings.front() if one.full)


def _key(study: StudyTrials, trial: Trial) -> str:
    return key_of(trial.run_id)


def _config(choice: ExportChoice, study: Path) -> Config:
    """As the run was trained, but for what the study's machine granted it: the device and the loader's workers are what
    the study's file says, else `auto`, since the final training may run elsewhere."""
    source = f"{study}: trial {trial_key(choice.row)}"
    data = json.loads(choice.row["config"])
    trainer = trainer_of(data)
    for name in trainer.granted_keys:
        set_dotted(data, name, _asked(study, name))
    return trainer.validated(data, source=source, lines={})


def _asked(study: Path, name: str) -> Any:
    """A key of the trainer as the study's file has it; `auto` where it does not."""
    from ruamel.yaml import YAML

    from ipix_tune.storage.study_folder import STUDY

    try:
        found: Any = YAML(typ="safe").load((study / STUDY).read_text())["trainer"]
        for part in name.split("."):
            found = found[part]
    except (OSError, KeyError, TypeError):
        return "auto"
    return found


def to_yaml(
    choice: ExportChoice,
    config: Config,
    *,
    study: Path,
    final: bool | None = None,
    file: str = "best.yaml",
) -> str:
    """The config with its `provenance`, below comment lines that say how far to trust it and how to run it.

    Args:
        config: of the run; the choice's recipe, where it has one, takes its place.
        final: False: `data.val` is not evaluated.
        file: what the text is for, as the command that trains it names it.
    """
    origin, found = provenance(choice, study=study), choice.recipe
    told = trainer_of(config.model_dump(mode="json")).exported(config, final=final, recipe=found, file=file)
    facts = {} if found is None else {KEY: found.facts}
    lines = [*head(choice, final=told.final, has_val=told.has_val), *told.lines]
    return "\n".join([*lines, dump(told.config.model_copy(update={"provenance": {**origin, **facts}}))])
