import io
import math
import re

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from analysis.ingest.tables import Tables, save
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.config.validate_space import check_study
from ipix_tune.execution.resources import ResourceError
from ipix_tune.study.dry_run import dry_run
from ipix_tune.study.earlier_noise import describe_rung_noise
from ipix_tune.trainer.own.preflight import check_run
from tests.ipix_tune.studies import base, row
from trainers.common.errors import DataError

pytestmark = pytest.mark.usefixtures("estimated_once")


def study_of(**data):
    study = base()
    study["trainer"]["data"] |= data
    return check_study(StudyConfig.model_validate(study), source="study", lines={})


def test_a_dry_run_opens_the_data_and_times_real_steps(monkeypatch):
    monkeypatch.setattr("trainers.loop.memory_plan.measured_peak", lambda config: config.data.batch_size * 2**20)
    console = Console(file=io.StringIO(), width=200)
    console.print(dry_run(study_of(), cluster={"CPU": 2}, measured=True))
    text = console.file.getvalue()
    assert "8 holdout" in text
    assert "steps an epoch, 4 labelled images each" in text
    assert "s a step" in text
    assert "expected: " in text
    assert "measured: 0.0 GiB of" in text


def test_a_dry_run_names_a_data_root_that_is_missing(tmp_path):
    missing = {"name": "voc", "root": str(tmp_path / "VOC2012"), "labelled": "l.txt", "unlabelled": "u.txt"}
    with pytest.raises(DataError, match="VOC2012"):
        dry_run(study_of(**missing), cluster={"CPU": 2})


def test_a_dry_run_refuses_fewer_labelled_images_than_the_batch():
    with pytest.raises(DataError, match="more than the 12 labelled images"):
        dry_run(study_of(batch_size=64), cluster={"CPU": 2})


def test_a_dry_run_refuses_a_cluster_that_is_too_small():
    with pytest.raises(ResourceError):
        dry_run(study_of(), cluster={"CPU": 0.5})


def test_a_dry_run_names_the_steps_of_every_stage_where_they_differ():
    study = base()
    study["trainer"]["method"] = {"name": "st", "stage_length": "passes"}
    study["trainer"]["schedule"] = {"epochs": 6}
    study |= {"search": {"optim.lr": {"loguniform": [0.01, 0.1]}}, "points": []}
    checked = check_study(StudyConfig.model_validate(study), source="study", lines={})
    lines, mean = check_run(SearchSpace(checked).to_config({"optim.lr": 0.05}), workers=1)
    labelled, unlabelled = (int(re.search(rf"(\d+) {kind}", lines[0])[1]) for kind in ("labelled", "unlabelled"))
    first = 2 * labelled // 8
    later = (labelled * math.ceil(unlabelled / labelled) + unlabelled) // 8
    assert first < later
    assert lines[1].startswith(f"3 epochs of {first} steps, then 3 epochs of {later} steps")
    assert mean == (first + later) / 2


def seeded(place, *, noise):
    """Tables of a study of 10 configurations with 3 seeds each, whose scores after one epoch differ by ``noise``
    between seeds and by 5 between configurations."""
    rng = np.random.default_rng(0)
    rows, history = [], []
    for level in rng.normal(40, 5, 40):
        for seed in range(3):
            rows.append(row(len(rows), float(level), seed=seed, lr=float(level)) | {"retries": 0})
            for epoch in range(1, 10):
                score = float(level + rng.normal(0, noise if epoch < 3 else 0.5))
                history.append({"run_id": rows[-1]["run_id"], "epoch": epoch, "time": None, "val/miou": score})
    facts = {"scheduler": {"name": "none", "max_epochs": 9, "rungs": [], "grace_epochs": 1, "reduction": 3}}
    made = Tables(runs=pa.Table.from_pylist(rows), history=pa.Table.from_pylist(history), facts=facts)
    save(made, place)
    return str(place)


@pytest.mark.parametrize(("noise", "mostly"), [(15.0, True), (1.0, False)])
def test_a_dry_run_says_where_an_earlier_study_knows_that_the_first_rung_is_mostly_noise(tmp_path, noise, mostly):
    folder = seeded(tmp_path / "old", noise=noise)
    study = StudyConfig.model_validate({**base(), "warm_start": [folder], "scheduler": {"grace_epochs": 1}})
    (said,) = describe_rung_noise(study, max_epochs=9)
    assert said.startswith(f"{folder}: After 1 epoch seeds of one configuration differ by")
    assert ("mostly noise: set scheduler.grace_epochs to 3" in said) == mostly


def test_a_study_of_another_length_or_without_rungs_is_told_nothing(tmp_path):
    folder = seeded(tmp_path / "old", noise=15.0)
    study = StudyConfig.model_validate({**base(), "warm_start": [folder], "scheduler": {"grace_epochs": 1}})
    assert describe_rung_noise(study, max_epochs=27) == []
    without = study.model_copy(update={"scheduler": study.scheduler.model_copy(update={"name": "none"})})
    assert describe_rung_noise(without, max_epochs=9) == []


def printed_plan(study):
    console = Console(file=io.StringIO(), width=300)
    console.print(dry_run(study, cluster={"CPU": 2, "GPU": 1}))
    return console.file.getvalue()


def test_a_dry_run_prints_the_memory_of_a_trial_on_a_cpu():
    assert re.search(
        r"memory +about \d+\.\d GiB of a worker \(estimated\): .* for Python and PyTorch", printed_plan(study_of())
    )


def gpu_study(gpus):
    study = base() | {"resources": {"gpus_per_worker": gpus}}
    return check_study(StudyConfig.model_validate(study), source="study", lines={})


@pytest.mark.parametrize(
    ("gib", "gpus", "warned"),
    [
        (80, 1, False),
        (2, 0.5, True),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in ((1, 1, True), (4, 0.5, False))),
    ],
)
def test_a_dry_run_warns_where_the_gpu_has_less_memory_than_a_worker_takes(monkeypatch, gib, gpus, warned):
    monkeypatch.setattr("ipix_tune.trainer.own.memory_forecast.gpu_bytes_here", lambda: gib * 1024**3)
    text = printed_plan(gpu_study(gpus))
    assert re.search(r"about 1\.\d GiB of a worker's GPU \(estimated\)", text)
    assert ("a worker is estimated to take" in text) == warned
