"""Sections on single images, and on how the winner trained."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from analysis.columns import CONFIRM
from analysis.figures import pictures, training
from analysis.figures.render import Figures
from analysis.ingest.held_out import held_out_of
from analysis.ingest.tables import Tables
from analysis.sections import unanswered
from analysis.sections.classes import chosen
from analysis.sections.section import Part, ReportSection
from analysis.stats.confirm.results import Confirmed
from analysis.stats.per_image import ImageChange, ImageChanges, baseline, image_changes
from analysis.stats.study import StudyTrials, Trial, from_tables
from analysis.wording.images import say_images, say_shown, say_training

EACH = 3
"""Images with gains, and with losses, that are shown."""
LISTED = 10
"""Rows of the table of images, of gains and of losses."""
LOSS, OMEGA = "train/loss/", "train/interpixel/omega"


def image_sections(
    study: StudyTrials, tables: Tables, figures: Figures, study_dir: Path, confirmation: Confirmed | None
) -> list[Part]:
    """None before a run has come to the end.

    Args:
        study: of the search.
        study_dir: whose W&B files have the held-out images of each run.
        confirmation: says which two configurations to compare, where there is one.
    """
    if confirmation is not None and confirmation.choice is not None:
        study = from_tables(tables, phase=CONFIRM)
        best, other = chosen(study, confirmation)
    else:
        best = study.best()
        other = None if best is None else baseline(study, best)
    if best is None or best.state != "complete":
        return []
    found = (
        None if other is None else image_changes(study, best, other, lambda trial: held_out_of(study_dir, trial.run_id))
    )
    return [_images(found, tables, figures), *_training(best, tables, figures)]


def _images(found: ImageChanges | None, tables: Tables, figures: Figures) -> Part:
    title = "On which images does the winner gain, and on which does it lose?"
    if found is None:
        return unanswered.no_images(title)
    ours, theirs = found.runs
    shown = {ours.names[place] for place in ours.shown} & {theirs.names[place] for place in theirs.shown}
    seen = [one for one in found.images if one.name in shown]
    gains = [one for one in seen if one.change > 0][:EACH]
    losses = [one for one in seen if one.change < 0][-EACH:]
    rows = [row for one in (*gains, *losses) if (row := _row(found, one)) is not None]
    first, second = found.first.called, found.second.called
    figure = None
    if rows:
        classes = tuple(tables.facts.get("classes") or ())
        figure = figures.drawn("images", partial(pictures.draw, rows, first=first, second=second, classes=classes))
    cells = [
        (one.name, f"{one.first:.1f}", f"{one.second:.1f}", f"{one.change:+.1f}") for one in ends(found.images, LISTED)
    ]
    return ReportSection(
        title=title,
        reading=say_images(found),
        figure=figure,
        alt=f"Images with the largest gains and losses: image, truth, {second}, {first}, and where they differ",
        n=f"{len(found.images)} held-out images, {found.seeds} paired seed{'s' * (found.seeds != 1)}",
        notes=(say_shown(found, gains=len(gains), losses=len(losses), with_pictures=len(seen)),) if rows else (),
        table=(("image", first, second, "change"), *cells),
    )


def ends(images: Sequence[ImageChange], most: int) -> Sequence[ImageChange]:
    """The first and the last ``most`` of them, each once."""
    return images if len(images) <= 2 * most else (*images[:most], *images[-most:])


def _row(found: ImageChanges, one: ImageChange) -> pictures.Row | None:
    ours, theirs = (run.picture(one.name) for run in found.runs)
    if ours is None or theirs is None or ours.prediction.shape != theirs.prediction.shape:
        return None
    return pictures.Row(
        label=f"{one.change:+.1f}",
        image=ours.image,
        truth=ours.truth,
        second=theirs.prediction,
        first=ours.prediction,
    )


def _training(best: Trial, tables: Tables, figures: Figures) -> list[Part]:
    """Loss terms, Omega and classes of the winner's run; none where no loss term was logged."""
    history = tables.history.filter([run_id == best.run_id for run_id in tables.history["run_id"].to_pylist()])
    epochs = history["epoch"].to_pylist()

    def curve(column: str) -> dict[int, float]:
        if column not in history.column_names:
            return {}
        pairs = zip(epochs, history[column].to_pylist(), strict=True)
        return {epoch: value for epoch, value in sorted(pairs) if value is not None}

    terms = {name.removeprefix(LOSS): curve(name) for name in history.column_names if name.startswith(LOSS)}
    terms = {name: found for name, found in terms.items() if found}
    if not terms:
        return []
    names, omega = tables.facts.get("classes") or [], curve(OMEGA)
    classes = {name: found for index, name in enumerate(names) if (found := curve(f"val/iou/{index}"))}
    ends = {name: found[max(found)] for name, found in classes.items()}
    return [
        ReportSection(
            title="How did the winner train?",
            reading=say_training(best.called, list(terms), omega[max(omega)] if omega else None, ends),
            figure=figures.drawn("training", partial(training.draw, terms, omega, called=best.called)),
            alt="Loss terms and the share of Omega by epoch",
            n=f"run {best.run_id}, {max(epochs)} epochs",
            table=(
                ("class", "IoU at its last evaluation", "best of its evaluations"),
                *((name, f"{value:.1f}", f"{max(classes[name].values()):.1f}") for name, value in ends.items()),
            )
            if ends
            else (),
        )
    ]
