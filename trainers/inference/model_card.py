"""A model card beside the weights: what trained the network, on what, how well it does, and how sure that is."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainers.common.atomic import replacing
from trainers.common.errors import ConfigError, OutputError
from trainers.common.yaml_file import load
from trainers.config import TrainConfig
from trainers.data.layout import RGB_BANDS
from trainers.inference.sources import CONFIG
from trainers.interface.epoch_record import METRICS, EpochRecord, read_records
from trainers.loop.run_identity import differences
from trainers.loop.run_summary import validation_called
from trainers.loop.seeds import FINAL, HELD_OUT, SeedRun, summary, with_next_seed

CARD = "README.md"
MARK = "<!-- Written by ipix-tune; a file without this line is never overwritten. -->"
PARTS = {
    "labelled": "labelled images trained it",
    "unlabelled": "images were used without their labels",
    "held_out": "images were held out of the training and scored after every epoch",
    "validation": "images of the validation list were scored once, at the end",
}


def write_card(folder: Path, *, beside: Sequence[SeedRun] = ()) -> Path | None:
    """Write `README.md` into a run's folder; None where somebody else's lies there.

    Args:
        folder: of a run that has ended.
        beside: the runs of the same config with other seeds, this one included.

    Raises:
        ConfigError: no run lies there.
        OutputError: the file cannot be written.
    """
    path = folder / CARD
    if path.is_file() and not path.read_text(errors="replace").startswith(MARK):
        return None
    text = model_card(folder, beside=beside)
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: the model card cannot be written: {error.strerror or error}") from error
    return path


def write_cards(runs: Sequence[SeedRun]) -> None:
    """The cards of all runs of a config that have ended, each with the scores of all."""
    for run in runs:
        if run.error is None:
            write_card(run.folder, beside=runs)


def seed_runs(folders: Sequence[Path]) -> tuple[SeedRun, ...]:
    """Runs of one config with different seeds, as their folders have them.

    Raises:
        ConfigError: a folder holds no run, or they differ in more than the seed.
    """
    runs = []
    for folder in folders:
        records = read_records(folder / METRICS)
        if not records or not (folder / CONFIG).is_file():
            raise ConfigError(
                f"{folder}: no run that has trained an epoch; give a run's folder, such as runs/best-seed1"
            )
        scores = {name: value for name, value in records[-1].metrics.items() if name in (FINAL, HELD_OUT)}
        runs.append(SeedRun(config=load(folder / CONFIG, TrainConfig), folder=folder, scores=scores))
    first = runs[0].config
    for run in runs[1:]:
        theirs = with_next_seed(first, run.seed - first.seed)
        if changed := differences(_plain(theirs), _plain(run.config)):
            raise ConfigError(f"{run.folder} is not another seed of {runs[0].folder}: {'; '.join(changed[:4])}")
    return tuple(runs)


def _plain(config: TrainConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", exclude={"provenance": True, "precision": {"device"}})


def model_card(folder: Path, *, beside: Sequence[SeedRun] = ()) -> str:
    """The card as Markdown, made from the run's `config.yaml`, `environment.json` and `metrics.jsonl`. Arguments and
    errors as :func:`write_card`."""
    records = read_records(folder / METRICS)
    if not records or not (folder / CONFIG).is_file():
        raise ConfigError(f"{folder}: no run that has trained an epoch; give a run's folder, such as runs/best-seed1")
    config, environment = load(folder / CONFIG, TrainConfig), _environment(folder)
    parts = [
        MARK,
        f"# {folder.name}: {config.method.name} on {config.data.name}",
        _what(config, environment),
        "## Scores\n\n" + _scores(config, environment, records[-1]),
        "## How sure this is\n\n" + _sure(config, beside),
        "## Trained on\n\n" + _data(config, environment, records[-1]),
        "## Trained by\n\n" + _training(config, environment, records[-1]),
        "## Use\n\n" + _use(folder),
    ]
    return "\n\n".join(parts) + "\n"


def _environment(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / "environment.json").read_text())
    except (OSError, ValueError):
        return {}
    return found


def _classes(config: TrainConfig, environment: dict[str, Any]) -> Sequence[str]:
    named: Sequence[str] | None = environment.get("classes") or getattr(config.data, "classes", None)
    return named or ()


def _what(config: TrainConfig, environment: dict[str, Any]) -> str:
    chosen = config.model.model_dump(exclude_defaults=True)
    model = ", ".join(f"{name}: {value}" for name, value in chosen.items())
    classes = _classes(config, environment)
    named = f" Classes: {', '.join(classes)}." if classes else ""
    how = "on the labelled images alone" if _alone(config) else f"with the semi-supervised method {config.method.name}"
    return f"A network for semantic segmentation ({model or 'the default network'}), trained {how}.{named}"


def _alone(config: TrainConfig) -> bool:
    return config.method.name == "supervised"


def _scores(config: TrainConfig, environment: dict[str, Any], last: EpochRecord) -> str:
    metrics, rows = last.metrics, []
    counts = environment.get("images", {})
    for name, called, part in (
        (FINAL, f"{validation_called(config)}, last weights", "validation"),
        ("final/best/miou", f"{validation_called(config)}, best weights", "validation"),
        (HELD_OUT, "held-out training images, last weights", "held_out"),
    ):
        if name in metrics:
            rows.append(f"| {called} | {counts.get(part, '?')} | {metrics[name]:.2f} |")
    if not rows:
        return "The run was not scored."
    prefix = "final/last" if FINAL in metrics else "val"
    table = "| images | number | mIoU in % |\n|---|---|---|\n" + "\n".join(rows)
    classes = [
        f"| {name} | {metrics[key]:.2f} |" if (key := f"{prefix}/iou/{index}") in metrics else f"| {name} | absent |"
        for index, name in enumerate(one.replace("|", "\\|") for one in _classes(config, environment))
    ]
    if not classes:
        return table
    where = validation_called(config) if prefix != "val" else "held-out training images"
    return f"{table}\n\nIoU by class, {where}, last weights:\n\n| class | IoU in % |\n|---|---|\n" + "\n".join(classes)


def _sure(config: TrainConfig, beside: Sequence[SeedRun]) -> str:
    """Seeds, and what the study that chose the config found."""
    lines = []
    if len(beside) > 1:
        lines += [f"{len(beside)} seeds of this config were trained:", *_fenced(summary(beside))]
    else:
        lines.append(
            f"These scores are of one seed ({config.seed}), so they are *provisional*: seeds of one config differ, in "
            "semi-supervised segmentation by about 0.5 mIoU and more with few labels."
        )
    origin = config.provenance or {}
    confirmation, final = origin.get("confirmation"), (origin.get("final") or {})
    if not origin:
        lines.append("The config does not say where it comes from.")
    elif not confirmation:
        lines.append(
            f"The config is the best of {origin.get('candidates', '?')} that the study {origin.get('study', '?')} "
            f"tried ({_objective(origin)}, seeds: {origin.get('seeds', '?')}). Nothing confirmed it: the best trial of "
            "a search is its luckiest."
        )
    else:
        lines.append(
            f"The study {origin.get('study', '?')} confirmed the config with paired seeds: {confirmation['words']}"
        )
        if mean := confirmation.get("mean"):
            low, high = mean["interval_95"]
            lines.append(f"Its mean there: {mean['value']} (95 % interval {low} to {high}, {mean['seeds']} seeds).")
        lines += [f"- {verdict['words']}" for verdict in confirmation.get("verdicts", ())]
        if (lost := confirmation.get("lost")) and lost["runs"]:
            lines.append(f"Of {lost['runs']} runs {lost['collapsed']} collapsed and {lost['failed']} failed.")
    for name, expected in (final.get("expected") or {}).items():
        low, high = expected["one_run"]
        lines.append(f"Expected {name} of a new run: {low} to {high} (95 % prediction interval).")
    return "\n\n".join(lines)


def _objective(origin: dict[str, Any]) -> str:
    objective = origin.get("objective") or {}
    value = objective.get("value")
    return f"{objective.get('metric', '?')} {value:.2f}" if isinstance(value, int | float) else "score not known"


def _data(config: TrainConfig, environment: dict[str, Any], last: EpochRecord) -> str:
    lines = [f"- data set: {config.data.name}"]
    if (bands := config.data.image_bands()) != RGB_BANDS:
        lines.append(f"- images of {bands} bands{_range(config)}")
    counts = environment.get("images", {})
    parts = {**PARTS, "unlabelled": "unlabelled images were not used"} if _alone(config) else PARTS
    lines += [f"- {counts[part]} {said}" for part, said in parts.items() if counts.get(part)]
    if config.data.draw is not None:
        lines.append(f"- the labelled images were drawn with seed {config.data.draw.seed}")
    lines.append(f"- split {last.split_hash} (a hash over the names of all training and held-out images)")
    return "\n".join(lines)


def _range(config: TrainConfig) -> str:
    given = config.data.value_range
    return "" if given is None else f" ({given[0]:g} becomes black, {given[1]:g} white)"


def _training(config: TrainConfig, environment: dict[str, Any], last: EpochRecord) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in environment.get("versions", {}).items())
    facts = {
        "length": f"{last.epoch} of {config.schedule.epochs} epochs, {last.step} steps of {config.data.batch_size} "
        f"labelled images, crops of {config.data.crop} pixels",
        "seed": str(config.seed),
        "optimiser": f"{config.optim.name}, learning rate {config.optim.lr:g}",
        "inter-pixel loss": f"weight {config.interpixel.alpha:g}" if config.interpixel.alpha > 0 else "off",
        "commit": environment.get("git_commit") or "not known",
        "device": f"{environment.get('device', 'not known')}, processes: {environment.get('processes', '?')}",
        "versions": f"Python {environment.get('python', '?')}, {versions}",
    }
    return "\n".join([*(f"- {name}: {value}" for name, value in facts.items()), f"- all else: `{CONFIG}`"])


def _use(folder: Path) -> str:
    return "\n".join(
        _fenced(
            [
                f"ipix-tune predict {folder.name} IMAGES --out masks --overlay",
                f"ipix-tune evaluate {folder.name} --list test.txt --out scores",
                f"ipix-tune export-model {folder.name} --out model.pt2",
            ]
        )
    )


def _fenced(lines: Sequence[str]) -> list[str]:
    return ["```\n" + "\n".join(lines) + "\n```"]
