"""`ipix-tune train`: the final training through Ray Train."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from ipix_tune.cli.exit_codes import run
from ipix_tune.cli.train import app
from tests.trainers.runs import rows, tiny
from trainers.cli.train import describe_data
from trainers.common.yaml_file import dump


def train(folder, *options):
    (folder / "best.yaml").write_text(dump(tiny(schedule={"epochs": 2, "steps_per_epoch": 2})))
    command = [sys.executable, "-m", "ipix_tune.cli.train", "best.yaml", "--run-dir", "run", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture
def refused(tmp_path, capsys, monkeypatch):
    """What the command says that ends with exit code 2, in this process: ``refused("--workers", "2")``."""

    def call(*options):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "best.yaml").write_text(dump(tiny(schedule={"epochs": 2, "steps_per_epoch": 2})))
        with pytest.raises(SystemExit) as left:
            run(app, args=["best.yaml", "--run-dir", "run", *options])
        assert left.value.code == 2
        return capsys.readouterr().err

    return call


def test_options_of_ray_without_workers_are_refused(refused):
    assert "give --workers as well" in refused("--gpus-per-worker", "1")


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_a_run_in_object_storage_is_refused_and_leaves_no_folder_of_that_name(refused, tmp_path, options):
    said = refused("--run-dir", "s3://key:secret@bucket/run", *options)
    assert "--run-dir s3://bucket/run: a run writes into a folder, not into object storage" in " ".join(said.split())
    assert [path.name for path in tmp_path.iterdir()] == ["best.yaml"]


def test_with_workers_every_seed_is_given_to_ray_with_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "best.yaml").write_text(dump(tiny(schedule={"epochs": 1, "steps_per_epoch": 1}, seed=5)))
    given = []

    def train_on_ray(config, run_dir, *, workers, **rest):
        given.append((config.seed, run_dir.name, workers))
        run_dir.mkdir(parents=True)
        (run_dir / "config.yaml").write_text(dump(config))
        (run_dir / "environment.json").write_text(json.dumps({"loading": ["no workers; nothing kept"]}))
        row = {
            "epoch": 1,
            "step": 1,
            "split_hash": "abc",
            "val/miou": 60.0 + config.seed,
            "train/loss": 1.0,
            "time/epoch_s": 1.0,
        }
        (run_dir / "metrics.jsonl").write_text(json.dumps(row) + "\n")

    monkeypatch.setattr("ipix_tune.execution.trainable.train_on_ray", train_on_ray)
    done = CliRunner().invoke(app, ["best.yaml", "--seeds", "2", "--workers", "2"])
    assert done.exit_code == 0, done.output
    assert given == [(5, "best-seed5", 2), (6, "best-seed6", 2)]
    assert "  mean 65.50 (95 % t interval" in done.output
    said = [*describe_data(tiny()), "no workers; nothing kept"]
    assert [line for line in done.output.splitlines() if line in said] == 2 * said


@pytest.mark.slow
def test_two_workers_under_ray_train_what_two_processes_under_torchrun_train_and_say_it(tmp_path):
    done = train(tmp_path, "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("epoch ")] == ["1/2", "2/2"]
    assert "1 seed (0), 2 epochs, 4 steps" in done.stdout
    data = describe_data(tiny())
    assert done.stdout.splitlines()[: len(data)] == data
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "trainers.train"]
    command = [*torchrun, "best.yaml", "--run-dir", "other"]
    other = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert other.stdout.splitlines()[: len(data)] == data
    assert rows(tmp_path / "run") == rows(tmp_path / "other")


@pytest.mark.slow
def test_more_workers_than_the_machine_has_are_refused_with_the_numbers(tmp_path):
    done = train(tmp_path, "--workers", "999")
    assert done.returncode == 2
    assert "999 x (1 CPU) = 999 CPU" in done.stderr
