"""What a report says that would answer a question, by the trainer that the study has."""

import pytest

from analysis.ingest.tables import build_tables
from analysis.sections import unanswered
from ipix_tune.trainer.own.trainer import OwnTrainer
from tests.analysis.stats.test_stats import runs_of, trial

PARTS = [unanswered.no_seed_noise("seeds"), unanswered.no_images("images")]


def told(**trains):
    tables = build_tables(runs_of([trial(0, {1: 40.0})]))
    if trains:
        tables.facts["trains"] = trains
    return {one.title: one.what_would for one in unanswered.for_this_trainer(PARTS, tables)}


@pytest.mark.parametrize("trains", [{}, {"by": OwnTrainer.kind, "unpaired": None}])
def test_of_our_own_trainer_and_of_old_logs_every_question_stays(trains):
    assert told(**trains) == {one.title: one.what_would for one in PARTS}


def test_another_trainer_is_not_asked_for_what_only_ours_leaves():
    assert list(told(by="command", unpaired=None)) == ["seeds"]


def test_a_trainer_without_seeds_is_not_told_to_confirm():
    found = told(by="command", unpaired="the command takes no seed")
    assert found == {"seeds": "Runs that are paired by seeds, which this study cannot have: the command takes no seed."}
