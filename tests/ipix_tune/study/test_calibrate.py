from pathlib import Path

import pyarrow as pa
import pytest

from analysis.ingest import tables
from ipix_tune.cli.exit_codes import run
from ipix_tune.cli.sweep import app
from ipix_tune.config.load_study import load
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.study.calibrate import calibration, findings_of
from tests.ipix_tune.running import sweep, tiny
from tests.ipix_tune.studies import base, row, write


def study(folder, **changes):
    return StudyConfig.model_validate({**base(), "storage": str(folder), **changes})


def calibrated(asked, *, early):
    """Tables of a calibration whose trial k scores k in the end, and ``early[k]`` after one epoch and two."""
    found = calibration(asked, trials=len(early))
    rows, history = [], []
    for number, first in enumerate(early):
        rows.append(row(number, float(number)) | {"retries": 0})
        for epoch in range(1, 10):
            score = float(first if epoch < 3 else number)
            history.append({"run_id": rows[-1]["run_id"], "epoch": epoch, "time": None, "val/miou": score})
    facts = {"scheduler": {**found.scheduler.model_dump(), "max_epochs": 9, "rungs": []}}
    made = tables.Tables(runs=pa.Table.from_pylist(rows), history=pa.Table.from_pylist(history), facts=facts)
    place = Path(asked.storage) / found.name
    tables.save(made, place)
    return found


def said(asked, early):
    found = calibrated(asked, early=early)
    return findings_of(found, asked=asked, start=["ipix-tune", "sweep", "study.yaml"])


def test_a_calibration_is_a_study_of_its_own_of_random_full_length_trials(tmp_path):
    found = calibration(study(tmp_path, budget={"trials": 99, "hours": 1}), trials=7)
    assert found.name == "small-calibration"
    assert (found.sampler.name, found.scheduler.name, found.points) == ("random", "none", [])
    assert (found.budget.trials, found.budget.hours) == (7, None)


def test_it_keeps_reduction_and_grace_period_of_the_study(tmp_path):
    found = calibration(study(tmp_path, scheduler={"grace_epochs": 2, "reduction": 4}), trials=7)
    assert (found.scheduler.grace_epochs, found.scheduler.reduction) == (2, 4)


def test_the_command_sets_the_supported_grace_period_and_starts_warm(tmp_path):
    last = said(study(tmp_path), [5, 4, 3, 2, 1, 0])[-1]
    assert last == (
        "start the study with: ipix-tune sweep study.yaml --set=scheduler.grace_epochs=3 "
        f"'--set=warm_start=[{tmp_path}/small-calibration]'"
    )


def test_the_command_is_understood_by_the_study_file(tmp_path):
    last = said(study(tmp_path), range(6))[-1]
    overrides = [part.strip("'").removeprefix("--set=") for part in last.split(" --set=")[1].split(" '")]
    found = load(write(tmp_path, base()), overrides)
    assert found.scheduler.grace_epochs == 1
    assert found.warm_start == [f"{tmp_path}/small-calibration"]


def test_a_grace_period_that_is_good_is_said_to_be_supported(tmp_path):
    lines = said(study(tmp_path), range(6))
    assert any("support is 1 epoch (scheduler.grace_epochs: 1)" in line for line in lines)


def test_a_sampler_that_cannot_start_warm_is_not_told_to(tmp_path):
    assert "warm_start" not in said(study(tmp_path, sampler={"name": "random"}), range(6))[-1]


@pytest.mark.parametrize(("arguments", "message"), [(["--calibrate", "5"], "6"), (["--smoke"], "do not go together")])
def test_too_few_trials_and_a_smoke_test_are_refused(capsys, tmp_path, arguments, message):
    given = [str(write(tmp_path, base())), "--calibrate", "6", *arguments]
    with pytest.raises(SystemExit) as caught:
        run(app, args=given)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_real_calibration_ends_with_the_command_for_the_study(tmp_path):
    driver = sweep(tiny(tmp_path), "--calibrate", "6")
    out, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0, out
    assert "n = 6 full-length trials" in out
    assert f"warm_start=[{tmp_path}/studies/tiny-calibration]" in out
    assert not (tmp_path / "studies" / "tiny").exists()
