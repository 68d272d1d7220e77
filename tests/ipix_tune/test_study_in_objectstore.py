"""A real study whose durable copy lies in a real S3 server."""

import shutil

import pytest

from ipix_tune.objectstore import Store
from tests.ipix_tune.test_study import entries, run, tiny


@pytest.mark.slow
def test_a_study_goes_on_from_the_object_storage_after_its_machine_is_lost(bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    storage = f"{bucket}/lab"
    file = tiny(tmp_path, storage=storage, budget={"trials": 2}, resources={"cpus_per_worker": 1, "concurrent": 1})
    first = run(file, report=False).folder
    before = entries(first)
    assert first == tmp_path / "studies" / "tiny"
    assert not (first / "trials").exists()
    shutil.rmtree(tmp_path / "studies")

    outcome = run(file, resume=True, overrides=["budget.trials=3"])
    after = entries(outcome.folder)
    assert sorted(after) == ["t0000", "t0001", "t0002"]
    assert {key: after[key] for key in before} == before
    assert (outcome.folder / "report.html").is_file()

    keys = set(Store(storage).keys("tiny"))
    assert {"study.yaml", "journal.log", "sampler.pkl", "report.html", "best.yaml", "tables/runs.parquet"} <= keys
    assert {f"trials/{key}/metrics.jsonl" for key in after} <= keys
    assert len([key for key in keys if key.endswith("last.pt")]) == 1, "only the best trial keeps its checkpoints"
    assert not [key for key in keys if key.startswith("ray/")]
