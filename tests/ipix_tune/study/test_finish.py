"""The end of a study: nothing is deleted by tables that lack a trial, and what could not be made is said and told."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from ipix_tune.cli.sweep import _run
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.execution.phase import Outcome
from ipix_tune.study.run_search import finish
from tests.ipix_tune.studies import base

BEST, OTHER = "t0000", "t0001"


@pytest.fixture
def ended(tmp_path, monkeypatch):
    """A study of two trials with checkpoints, of which the tables name one; W&B's files, report and export are made
    up."""
    place = tmp_path / "small"
    for key in (BEST, OTHER):
        (place / "trials" / key / "checkpoints").mkdir(parents=True)
    choice = SimpleNamespace(
        row={"run_id": f"small-1-{BEST}"}, front=(), confirmed=None, seeds=1, rule="the best", caveats=()
    )
    monkeypatch.setattr("analysis.page.build.build", lambda folder: folder / "report.html")
    monkeypatch.setattr("ipix_tune.study.export.export_best", lambda folder, out, force: choice)
    monkeypatch.setattr("ipix_tune.study.run_search.unended", lambda folder, copy: set())

    def finished(*lacking):
        outcome = Outcome(
            folder=place,
            headline="2/2 trials ended",
            by_user=False,
            cut_short=None,
            converged=None,
            scored=2,
            needed=frozenset({BEST}),
            lacking=lacking,
        )
        study = StudyConfig.model_validate({**base(), "storage": str(tmp_path)})
        said = io.StringIO()
        made = finish(study, outcome, console=Console(file=said, width=500))
        kept = {path.parent.name for path in place.glob("trials/*/checkpoints")}
        return made, kept, said.getvalue()

    return finished


def test_whole_logs_leave_the_checkpoints_of_the_best_trial(ended):
    made, kept, said = ended()
    assert (made, kept) == (True, {BEST})
    assert "INCOMPLETE" not in said


def test_where_the_tables_lack_a_trial_that_the_record_knows_no_checkpoint_is_deleted(ended):
    made, kept, said = ended(f"{OTHER} (2 epochs)")
    assert (made, kept) == (False, {BEST, OTHER})
    assert f"INCOMPLETE: W&B's files lack 1 trials that the record knows: {OTHER} (2 epochs)" in said
    assert "ipix-tune repair" in said


def broken(*_, **__):
    raise OSError("no space left on device")


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("analysis.page.build.build", "the report failed: no space left on device"),
        ("ipix_tune.study.export.export_best", "the export failed: no space left on device"),
    ],
)
def test_a_report_or_export_that_fails_deletes_nothing_and_is_said(ended, monkeypatch, part, says):
    monkeypatch.setattr(part, broken)
    made, kept, said = ended()
    assert (made, kept) == (False, {BEST, OTHER})
    assert f"the trials are safe, {says}" in said


@pytest.mark.parametrize(("made", "code"), [(True, None), (False, 1)])
def test_a_study_whose_report_or_export_failed_ends_with_code_1(monkeypatch, tmp_path, made, code):
    ended = SimpleNamespace(cut_short=None, scored=3, headline="3/3 trials ended", by_user=False, lacking=())
    monkeypatch.setattr("ipix_tune.study.run_search.run", lambda *_, **__: ended)
    monkeypatch.setattr("ipix_tune.study.run_search.finish", lambda *_, **__: made)
    study = StudyConfig.model_validate({**base(), "storage": str(tmp_path)})
    keys = {"again": "", "resume": False, "retry_failed": False, "smoke": False, "address": None}
    try:
        _run(study, **keys, console=Console(file=io.StringIO()))
        left = None
    except SystemExit as end:
        left = end.code
    assert left == code
