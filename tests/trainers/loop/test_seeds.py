"""One config trained with several seeds, and the summary of the runs."""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from tests.trainers.runs import rows, tiny
from trainers.cli.train import app
from trainers.common.errors import ConfigError, OutOfMemory, TrainingError
from trainers.common.yaml_file import dump
from trainers.interface.epoch_record import EpochRecord
from trainers.loop.seeds import SeedRun, mean_of, planned, summary, train_in_turn, with_next_seed

ROOT = Path(__file__).parents[3]


def runs_of(*scores, name="final/last/miou"):
    """Runs of seeds 5, 6, ...; None: failed."""
    return [
        SeedRun(
            config=tiny(seed=5 + number),
            folder=Path(),
            scores={} if score is None else {name: score},
            error="loss is NaN" if score is None else None,
        )
        for number, score in enumerate(scores)
    ]


@pytest.mark.parametrize("scores", [[70.0, 71.5], [70.0, 69.0, 74.0], list(range(10))])
def test_the_interval_of_the_mean_is_scipys_t_interval(scores):
    found = mean_of(scores)
    low, high = stats.t.interval(0.95, len(scores) - 1, loc=np.mean(scores), scale=stats.sem(scores))
    assert math.isclose(found.low, low)
    assert math.isclose(found.high, high)


def test_one_run_has_no_interval():
    assert "1 run, so that it has no interval" in "\n".join(summary(runs_of(70.0)))


def test_the_summary_shows_every_run_their_mean_and_n():
    text = "\n".join(summary(runs_of(70.0, 71.5, 50.0)))
    assert text.startswith(
        "validation list, mIoU in %, last epoch:\n  seed 5: 70.00\n  seed 6: 71.50\n  seed 7: 50.00\n"
    )
    low, high = stats.t.interval(0.95, 2, loc=np.mean([70, 71.5, 50]), scale=stats.sem([70, 71.5, 50]))
    assert text.endswith(f"mean 63.83 (95 % t interval {low:.2f} to {high:.2f}, n = 3 runs)")


def test_a_failed_run_is_listed_and_is_in_no_mean():
    text = "\n".join(summary(runs_of(70.0, None, 72.0)))
    assert "  seed 6: failed\n  seed 7: 72.00\n  mean 71.00" in text
    assert text.endswith("1 of 3 runs failed and are in no mean (seed 6: loss is NaN)")


def test_seeds_follow_the_files_own_and_the_drawn_split_with_them():
    drawn = tiny(seed=4, data={"draw": {"labelled": 12, "seed": 9}})
    assert [with_next_seed(drawn, number).seed for number in range(3)] == [4, 5, 6]
    assert [with_next_seed(drawn, number).data.draw.seed for number in range(3)] == [9, 10, 11]
    assert with_next_seed(drawn, 0) == drawn
    assert with_next_seed(tiny(), 2).data == tiny().data


def test_a_folder_that_holds_a_run_is_refused_before_any_run_starts(tmp_path):
    (tmp_path / "seed1" / "checkpoints").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"seed1: holds a run; go on with --resume"):
        planned(tiny(), seeds=2, folder=lambda seed: tmp_path / f"seed{seed}", resume=False)
    assert len(planned(tiny(), seeds=2, folder=lambda seed: tmp_path / f"seed{seed}", resume=True)) == 2


def record(score):
    return EpochRecord(epoch=1, step=1, metrics={"val/miou": score}, checkpoint=None, split_hash="abc")


def test_after_a_loss_that_is_not_finite_the_next_seed_is_trained(tmp_path):
    def train(config, folder):
        if config.seed == 1:
            raise TrainingError("loss is NaN at step 3")
        return [record(60.0 + config.seed)]

    said = []
    done = train_in_turn(planned(tiny(), seeds=3, folder=lambda seed: tmp_path, resume=True), train, say=said.append)
    assert [run.scores for run in done] == [{"val/miou": 60.0}, {}, {"val/miou": 62.0}]
    assert "seed 1 failed: loss is NaN at step 3" in said


def test_out_of_memory_ends_all_since_the_next_seed_needs_as_much(tmp_path):
    def train(config, folder):
        raise OutOfMemory("out of memory at step 1")

    with pytest.raises(OutOfMemory):
        train_in_turn(planned(tiny(), seeds=3, folder=lambda seed: tmp_path, resume=True), train, say=lambda text: None)


SHORT = {"epochs": 1, "steps_per_epoch": 1}


def test_the_command_trains_each_seed_in_its_own_folder_and_gives_their_mean(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("best.yaml").write_text(dump(tiny(schedule=SHORT, seed=3)))
    done = CliRunner().invoke(app, ["best.yaml", "--seeds", "2"])
    assert done.exit_code == 0, done.output
    first, second = (rows(tmp_path / "runs" / f"best-seed{seed}")[-1]["val/miou"] for seed in (3, 4))
    assert f"  seed 3: {first:.2f}\n  seed 4: {second:.2f}\n  mean {(first + second) / 2:.2f} (95 % t" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("module", ["trainers.train", "ipix_tune.cli.train"])
def test_the_command_trains_each_seed_in_its_own_folder_goes_on_where_it_stopped_and_gives_the_mean(tmp_path, module):
    (tmp_path / "best.yaml").write_text(dump(tiny(schedule=SHORT, seed=3)))
    command = [sys.executable, "-m", module, "best.yaml", "--seeds", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def call(*options):
        return subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, env=environment)

    done = call()
    assert done.returncode == 0, done.stderr
    folders = [tmp_path / "runs" / f"best-seed{seed}" for seed in (3, 4)]
    scores = [rows(folder)[-1]["val/miou"] for folder in folders]
    assert f"  seed 3: {scores[0]:.2f}\n  seed 4: {scores[1]:.2f}\n  mean {sum(scores) / 2:.2f} (95 % t" in done.stdout
    again = call()
    assert again.returncode == 2
    assert "holds a run; go on with --resume" in again.stderr
    before = [(folder / "metrics.jsonl").read_bytes() for folder in folders]
    shutil.rmtree(folders[1])
    resumed = call("--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.splitlines()[-3:] == done.stdout.splitlines()[-3:]
    assert (folders[0] / "metrics.jsonl").read_bytes() == before[0]
