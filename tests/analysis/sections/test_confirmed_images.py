"""Image by image in a confirmation: the winner is held against its rival over the seeds that both have, whatever the
search's best trial is."""

import numpy as np
import pytest

from analysis.ingest.held_out import FILE
from analysis.ingest.tables import build_tables
from analysis.sections.images import image_sections
from analysis.sections.section import ReportSection, Unanswered
from analysis.stats.confirm.results import confirmed
from analysis.stats.study import from_tables
from tests.analysis.confirmations import BARE, DEFAULTS, TOP, confirmed_runs, scores_of, searched
from tests.analysis.stats.test_per_image import left_by

EPOCHS, SEEDS = 4, 3


@pytest.fixture
def study(tmp_path):
    """Tables of a search with three confirmed seeds, and its folder: the winner misses row `seed` of every image, its
    rival of the first four images all of the upper half, and of the others nothing."""
    masks = np.random.default_rng(0).integers(0, 3, (6, 8, 10))
    runs = [*searched(), *confirmed_runs(scores_of({TOP: 3.0, DEFAULTS: 0.2, BARE: 0.0}, seeds=SEEDS))]
    for run in runs:
        told = run.config.get("confirm")
        found = masks.copy()
        if told is None:
            found[:] = (found + 1) % 3  # nothing of the search's runs is right, and nothing of them is asked
        elif told["arm"] == TOP:
            found[:, told["seed"]] = (found[:, told["seed"]] + 1) % 3
        else:
            found[:4, :4] = (found[:4, :4] + 1) % 3
        files = tmp_path / "study/wandb" / f"offline-run-2026-{run.run_id}" / "files"
        files.mkdir(parents=True)
        (tmp_path / run.run_id).mkdir()
        (files / FILE).write_bytes(left_by(tmp_path / run.run_id, found, masks, epoch=EPOCHS))
    return build_tables(runs), tmp_path / "study"


def images_of(tables, folder, figures):
    return image_sections(from_tables(tables), tables, figures, folder, confirmed(tables))[0]


def test_a_confirmations_winner_is_held_against_its_rival_on_each_image_over_all_seeds(study, figures):
    tables, folder = study
    choice = confirmed(tables).choice
    assert choice.arm == TOP
    part = images_of(tables, folder, figures)
    assert isinstance(part, ReportSection)
    assert part.n == "6 held-out images, 3 paired seeds"
    assert "better than" in part.reading
    assert "on 4 of 6 held-out images, worse on 2" in part.reading
    assert part.figure.exists()
    changes = {name: float(change) for name, _, _, change in part.table[1:]}
    assert {name for name, change in changes.items() if change < 0} <= {"4.png", "5.png"}
    assert max(changes, key=changes.get) in {"0.png", "1.png", "2.png", "3.png"}


def test_a_seed_whose_file_is_of_an_earlier_epoch_counts_for_no_image(study, undrawn, tmp_path):
    tables, folder = study
    first = next(folder.glob("wandb/offline-run-*-s-c0000/files"))
    (first / FILE).write_bytes(left_by(tmp_path, np.zeros((6, 8, 10), int), np.zeros((6, 8, 10), int), epoch=2))
    assert images_of(tables, folder, undrawn).n == "6 held-out images, 2 paired seeds"


def test_a_confirmation_without_files_says_what_would_answer_it(study, undrawn, tmp_path):
    tables, _ = study
    part = images_of(tables, tmp_path / "elsewhere", undrawn)
    assert isinstance(part, Unanswered)
    assert "evaluation.pictures" in part.what_would
