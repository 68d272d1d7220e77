"""`python -m ipix_tune.export studies/voc --out best.yaml`: the best config of a study, whole, and where it came from.

Reads the tables that the analysis made from W&B's files and nothing else; Ray's folder may be gone.
"""

import json
import math
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from analysis.columns import CONFIRM, PARAM_PREFIX, SCHEMA_VERSION
from analysis.stats.dominance import non_dominated
from ipix_tune.console import run
from ipix_tune.provenance import Choice, Row, count_seeds, front_told, head, provenance, scored, trial_key
from trainers.errors import UserError, did_you_mean

Params = tuple[tuple[str, str], ...]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class ExportError(UserError):
    """There is nothing to export, or nowhere to write it."""


@app.command()
def export(
    study: Annotated[Path, typer.Argument(help="Folder of the study, such as studies/voc.")],
    out: Annotated[Path, typer.Option(help="The YAML file to write.")],
    trial: Annotated[str | None, typer.Option(help="Key or number of a trial, instead of the best one.")] = None,
    final: Annotated[
        bool | None,
        typer.Option(
            "--final/--no-final",
            help="Also evaluate the official validation set at the end of the training; default: if there is one.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write the best training config of a study."""
    choice = export_best(study, out, trial=trial, final=final, force=force)
    typer.echo(f"{out}: {_score(choice)}")
    for caveat in choice.caveats:
        typer.echo(f"note: {caveat}", err=True)
    typer.echo(f"train it: python -m trainers.train {out}")


def export_best(
    study: Path, out: Path, *, trial: str | None = None, final: bool | None = None, force: bool = False
) -> Choice:
    """Choose a run of the study in folder ``study`` and write its training config to ``out``.

    Raises:
        ExportError: no such study, trial or score; ``out`` exists and ``force`` is false.
    """
    if out.exists() and not force:
        raise ExportError(f"{out} exists; give --force to overwrite it, or another --out")
    runs = read_runs(study)
    choice = choose([row for row in runs if row["phase"] != CONFIRM] or runs, trial=trial)
    if trial is None:
        choice = _with_confirmation(choice, study, runs)
    text = to_yaml(choice, study=study, final=final)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.partial")
    temporary.write_text(text)
    temporary.replace(out)
    return choice


def _with_confirmation(choice: Choice, study: Path, runs: list[Row]) -> Choice:
    """The arm that a confirmation chose takes the place of the search's best trial; where no arm leads yet, the caveats
    say so."""
    if not any(row["phase"] == CONFIRM for row in runs):
        return choice
    from analysis import tables
    from analysis.stats.confirmed import confirmed

    found = confirmed(tables.load(study))
    if found is None or found.choice is None:
        return replace(choice, caveats=(*choice.caveats, "its confirmation has not come to a first look"))
    arm = found.arm(found.choice.arm)
    same = [row for row in runs if row["phase"] != CONFIRM and arm.trial is not None and trial_key(row) == arm.trial]
    caveats = [f"the confirmation is not over: {found.judgement.reason}"] if not found.judgement.over else []
    if not found.choice.confirmed:
        caveats.append(found.choice.words)
    return Choice(
        row=(same or list(arm.runs))[0],
        rule=f"confirmation: {found.choice.words}",
        caveats=tuple(caveats),
        candidates=len(found.arms),
        seeds=len(arm.scores),
        front=choice.front,
        confirmed=(arm, found),
    )


def _score(choice: Choice) -> str:
    row = choice.row
    if choice.confirmed is None:
        return f"trial {trial_key(row)}, {scored(row)} after {row['epochs']} epochs"
    arm, found = choice.confirmed
    assert arm.mean is not None
    return f"{arm.name}, {found.metric} {arm.mean.value:.2f}, mean over {count_seeds(arm.mean.seeds)}; {choice.rule}"


def read_runs(study: Path) -> list[Row]:
    """Rows of `tables/runs.parquet`; the tables and the report are made first where they are missing or older than
    the study's W&B files.

    Raises:
        ExportError: no such folder, or it holds neither logs nor tables.
    """
    if not study.is_dir():
        there = [str(folder) for folder in study.parent.glob("*/") if (folder / "study.yaml").exists()]
        raise ExportError(f"there is no study folder {study}{did_you_mean(str(study), there)}")
    table = study / "tables" / "runs.parquet"
    if _outdated(table, logs=study / "wandb"):
        from analysis.report import build

        build(study)
    import pyarrow.parquet as pq

    rows: list[Row] = pq.read_table(table).to_pylist()
    return rows


def _outdated(table: Path, *, logs: Path) -> bool:
    if not table.exists() or _version(table) != SCHEMA_VERSION:
        return True
    made = table.stat().st_mtime
    return any(file.stat().st_mtime > made for file in logs.rglob("*.wandb"))


def _version(table: Path) -> int:
    import pyarrow.parquet as pq

    metadata = pq.read_schema(table).metadata or {}
    return int(metadata.get(b"schema_version", 0))


def choose(runs: list[Row], *, trial: str | None = None) -> Choice:
    """The run to export: the best last objective among the runs that ran all their epochs. With two objectives that is
    one end of the Pareto front: of equal scores the one with the better second objective.

    Where none did, the best among those that ran longest; the caveats say so. Scores at different numbers of
    epochs are never compared.

    Raises:
        ExportError: no run has a finite objective, or ``trial`` names none.
    """
    if not runs:
        raise ExportError("the study has logged no run yet")
    with_score = [row for row in runs if row["objective"] is not None and math.isfinite(row["objective"])]
    if trial is not None:
        row = _named(runs, trial)
        if row not in with_score:
            raise ExportError(f"trial {trial} has no score: its state is {row['state']}")
        return _choice(runs, row, rule=f"named: --trial {trial}", candidates=1)
    if not with_score:
        states = ", ".join(sorted({str(row["state"]) for row in runs}))
        raise ExportError(f"none of the {len(runs)} runs has a score (states: {states}); there is nothing to export")
    complete = [row for row in with_score if row["state"] == "complete"]
    if complete:
        rule = (
            "best last objective among the trials that ran all their epochs (mean over seeds where there are several)"
        )
        if complete[0].get("against_metric"):
            rule = f"of the Pareto front the end with the {rule}; --trial takes another"
        return _choice(runs, _best(complete), rule=rule, candidates=len({_params(row) for row in complete}))
    going = [row for row in with_score if row["state"] != "failed"] or with_score
    longest = max(row["epochs"] for row in going)
    pool = [row for row in going if row["epochs"] == longest]
    rule = f"NO TRIAL RAN ALL ITS EPOCHS: best last objective among the trials that ran longest ({longest} epochs)"
    return _choice(runs, _best(pool), rule=rule, candidates=len({_params(row) for row in pool}))


def _best(rows: list[Row]) -> Row:
    """The best configuration by its mean over seeds, so that the luckiest seed does not win; its earliest trial."""
    means = _means(rows)
    return max(rows, key=lambda row: (*means[_params(row)], -row["trial"]))


def _means(rows: list[Row]) -> dict[Params, tuple[float, float]]:
    """Means over seeds of both objectives, signed so that more is better; of one objective, the second is 0."""
    groups: dict[Params, list[Row]] = {}
    for row in rows:
        groups.setdefault(_params(row), []).append(row)
    first = 1 if rows[0]["mode"] == "max" else -1
    second = {"max": 1, "min": -1}.get(str(rows[0].get("against_mode")), 0)
    return {
        params: (
            statistics.fmean(first * row["objective"] for row in group),
            statistics.fmean(second * (row.get("against") or 0.0) for row in group),
        )
        for params, group in groups.items()
    }


def _front(runs: list[Row]) -> tuple[str, ...]:
    """Keys of the configurations on the Pareto front, of each its earliest trial; none where there is one objective."""
    complete = [row for row in runs if row["state"] == "complete" and row.get("against") is not None]
    if not complete:
        return ()
    means = _means(complete)
    on_front = dict(zip(means, non_dominated(list(means.values())), strict=True))
    earliest = {_params(row): row for row in sorted(complete, key=lambda row: -row["trial"])}
    found = sorted((params for params in means if on_front[params]), key=lambda params: means[params], reverse=True)
    return tuple(trial_key(earliest[params]) for params in found)


def _named(runs: list[Row], trial: str) -> Row:
    for row in runs:
        if trial in (row["run_id"], trial_key(row), str(row["trial"])):
            return row
    keys = [trial_key(row) for row in runs]
    raise ExportError(f"there is no trial {trial}{did_you_mean(trial, keys)}; the study has {', '.join(keys)}")


def _choice(runs: list[Row], row: Row, *, rule: str, candidates: int) -> Choice:
    seeds = len({other["seed"] for other in runs if other["state"] == "complete" and _params(other) == _params(row)})
    seeds = max(seeds, 1)
    caveats = []
    if row["state"] != "complete":
        caveats.append(f"it ran {row['epochs']} of {row['max_epochs']} epochs ({row['state']})")
        if rule.startswith("NO TRIAL"):
            caveats.append("no trial of the study ran all its epochs")
    if seeds == 1:
        caveats.append(f"PROVISIONAL: 1 seed, the best of {candidates}: seed noise alone makes the best look too good")
    front = _front(runs)
    if front:
        caveats.append(front_told(front))
    return Choice(row=row, rule=rule, caveats=tuple(caveats), candidates=candidates, seeds=seeds, front=front)


def _params(row: Row) -> Params:
    """The configuration without its seed."""
    return tuple(
        (name, repr(value))
        for name, value in sorted(row.items())
        if name.startswith(PARAM_PREFIX) and name != f"{PARAM_PREFIX}seed"
    )


def to_yaml(choice: Choice, *, study: Path, final: bool | None = None) -> str:
    """The training config with its `provenance`, below a first line that says how far to trust it.

    Raises:
        ExportError: ``final`` is asked for and the data has no validation set.
    """
    from ipix_tune.leaves import has_val as names_val
    from trainers.config import TrainConfig
    from trainers.yamlfile import dump, validate

    row = choice.row
    source = f"{study}: trial {trial_key(row)}"
    config = validate(TrainConfig, json.loads(row["config"]), source=source, lines={})
    has_val = names_val(config)
    if final and not has_val:
        raise ExportError(
            f"{source}: the data names no validation set (data.val), so there is nothing to evaluate finally; "
            "run the study with --set trainer.data.val=..., or give --no-final"
        )
    use_final = has_val if final is None else final
    config = config.model_copy(
        update={
            "evaluation": config.evaluation.model_copy(update={"final": use_final}),
            "provenance": provenance(choice, study=study),
        }
    )
    return "\n".join([*head(choice, final=use_final, has_val=has_val), dump(config)])


if __name__ == "__main__":
    run(app)
