"""A report can be written beside the study's folder, which may be read-only."""

import shutil

import pytest

from analysis.errors import LogsError
from analysis.ingest.read_study import read_study
from analysis.ingest.tables import load
from analysis.page.build import build
from tests.analysis.conftest import log_trials


def files(folder):
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def small(tmp_path, trials):
    folder = tmp_path / "synthetic"
    log_trials(folder, trials[:4])
    return folder


def test_a_report_elsewhere_is_the_same_and_leaves_the_studys_folder_as_it_was(small, tmp_path):
    before = sorted(small.rglob("*"))
    page = build(small, out=tmp_path / "elsewhere")
    assert sorted(small.rglob("*")) == before
    there = shutil.copytree(small, tmp_path / "copy" / "synthetic")
    build(there)
    assert page == tmp_path / "elsewhere" / "report.html"
    ours, theirs = load(page.parent), load(there)
    assert (ours.runs.equals(theirs.runs), ours.history.equals(theirs.history)) == (True, True)
    made = files(page.parent)
    assert made == {path for path in files(there) if path.parts[0] != "wandb"}


def test_a_folder_that_cannot_be_written_is_named_with_the_way_out(small, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LogsError, match=r"file/there: no report can be written there: .*--out DIR"):
        build(small, out=tmp_path / "file" / "there")


def test_a_study_that_was_copied_without_its_links_has_the_same_tables(small, tmp_path):
    copied = shutil.copytree(small, tmp_path / "copy" / "synthetic", symlinks=False)
    assert (copied / "wandb" / "latest-run").is_dir()
    one, other = read_study(small, out=tmp_path / "one").tables, read_study(copied, out=tmp_path / "other").tables
    assert (one.runs.equals(other.runs), one.history.equals(other.history)) == (True, True)
