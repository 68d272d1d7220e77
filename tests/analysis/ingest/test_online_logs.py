"""The server's client is replaced by objects of the same shape; no W&B server takes part."""

from types import SimpleNamespace

import pytest

from analysis.errors import LogsError
from analysis.ingest.tables import build_tables
from analysis.ingest.wandb_files import read_folder
from analysis.ingest.wandb_server import read_project


class Server:
    """As much of `wandb.Api` as is read."""

    def __init__(self, runs):
        self._runs = runs

    def runs(self, project, filters):
        return [run for run in self._runs if run.group == filters["group"]]


def as_served(run):
    return SimpleNamespace(
        id=run.run_id, group=run.group, job_type=run.job_type, state="finished", created_at="2026-01-01T00:00:00",
        config=run.config, summary=dict(run.summary) | {"_runtime": run.runtime_s},
        scan_history=lambda: iter([dict(row) | {"absent": None} for row in run.history.values()]),
    )  # fmt: skip


def test_the_server_and_the_files_give_the_same_tables(study_dir):
    offline, _ = read_folder(study_dir / "wandb")
    online = read_project("me/project", study="synthetic", api=Server([as_served(run) for run in offline]))
    from_files, from_server = build_tables(offline), build_tables(online)
    assert from_server.history.equals(from_files.history)
    assert from_server.runs.drop_columns(["started"]).equals(from_files.runs.drop_columns(["started"]))
    assert set(from_server.runs["started"].to_pylist()) == {1767225600.0}


def test_runs_of_other_studies_on_the_server_are_not_read(study_dir):
    offline, _ = read_folder(study_dir / "wandb")
    with pytest.raises(LogsError, match="no run with group other"):
        read_project("me/project", study="other", api=Server([as_served(run) for run in offline]))


def test_a_server_that_refuses_is_named_with_what_to_do():
    class Refusing:
        def runs(self, project, filters):
            raise ConnectionError("401")

    with pytest.raises(LogsError, match=r"me/project: cannot be read: 401.*wandb login"):
        read_project("me/project", study="s", api=Refusing())
