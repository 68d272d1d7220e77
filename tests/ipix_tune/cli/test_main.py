import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer

from ipix_tune.cli.exit_codes import run
from ipix_tune.cli.main import COMMANDS, app
from tests.ipix_tune.studies import base, line_of, row, study_with, write
from trainers.common.errors import DataError, TrainingError
from trainers.common.yaml_file import dump
from trainers.config import TrainConfig

SPACES = Path(__file__).parents[3] / "search_spaces"


def call(capsys, *args):
    """Exit code, stdout, stderr of `ipix-tune args`."""
    with pytest.raises(SystemExit) as caught:
        run(app, args=args, prog_name="ipix-tune")
    printed = capsys.readouterr()
    return caught.value.code, printed.out, printed.err


def test_help_names_every_command(capsys):
    code, out, _ = call(capsys, "--help")
    assert code == 0
    for name in COMMANDS:
        assert f" {name} " in out


HELP = {
    "init": "--images",
    "coco-masks": "--out",
    "sweep": "--smoke",
    "confirm": "--more-seeds",
    "simulate": "--curves",
    "report": "--live",
    "compare": "--out",
    "export": "--force",
    "train": "--workers",
    "predict": "--overlay",
    "evaluate": "--out",
    "model-card": "run",
    "export-model": "--out",
    "validate": "--set",
    "repair": "study",
    "wandb-sync": "--project",
    "wandb-workspace": "--out",
    "draw-splits": "--sizes",
    "keys": "prefix",
    "schema": "studies",
}
"""By command: what only its own help says."""


def test_no_command_lacks_a_test_of_its_help():
    assert HELP.keys() == COMMANDS.keys()


@pytest.mark.parametrize(("name", "wanted"), HELP.items())
def test_help_of_a_command_is_that_of_its_module(capsys, name, wanted):
    code, out, _ = call(capsys, name, "--help")
    assert code == 0
    assert f"ipix-tune {name}" in out
    assert wanted in out


def test_a_valid_study_is_recognised_and_what_was_checked_is_said(capsys, tmp_path):
    code, out, _ = call(capsys, "validate", str(write(tmp_path, base())))
    assert code == 0
    assert "study small is valid" in out
    assert "5 search dimensions" in out
    assert "not checked: data paths" in out


def test_a_training_config_is_recognised(capsys, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(dump(TrainConfig.model_validate(base()["trainer"])))
    code, out, _ = call(capsys, "validate", str(path))
    assert code == 0
    assert "training config is valid (unimatch on digits, 9 epochs)" in out


def test_overrides_reach_the_validation(capsys, tmp_path):
    code, _, err = call(capsys, "validate", str(write(tmp_path, base())), "--set", "budget.trials=0")
    assert code == 2
    assert err.startswith("error: ")
    assert "budget.trials" in err


def test_a_mistake_is_one_line_with_file_and_line_and_no_traceback(capsys, tmp_path):
    data = base()
    data["search"]["optim.lrr"] = {"uniform": [0, 1]}
    path = write(tmp_path, data)
    code, out, err = call(capsys, "validate", str(path))
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {path}:{line_of(path, 'optim.lrr')}: optim.lrr is not a key")
    assert err.count("\n") == 1


def test_a_file_that_is_not_there_is_refused_by_name(capsys, tmp_path):
    code, _, err = call(capsys, "validate", str(tmp_path / "none.yaml"))
    assert code == 2
    assert "none.yaml" in err


def test_an_export_of_no_study_is_refused(capsys, tmp_path):
    code, _, err = call(capsys, "export", str(tmp_path / "none"), "--out", str(tmp_path / "best.yaml"))
    assert code == 2
    assert "there is no study folder" in err


def test_ray_trains_only_where_workers_are_given(capsys, tmp_path):
    code, _, err = call(capsys, "train", str(tmp_path / "c.yaml"), "--gpus-per-worker", "1")
    assert code == 2
    assert "give --workers" in err


def test_a_run_folder_that_is_in_use_is_not_trained_over(capsys, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(dump(TrainConfig.model_validate(base()["trainer"])))
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for more in ([], ["--workers", "2"]):
        code, _, err = call(capsys, "train", str(config), "--run-dir", str(tmp_path / "run"), *more)
        assert code == 2
        assert "holds a run" in err


def test_an_exported_config_trains(capsys, tmp_path):
    torch.set_num_threads(1)
    data = base()["trainer"] | {"schedule": {"epochs": 1, "steps_per_epoch": 1}, "precision": {"device": "cpu"}}
    winner = row(0, 41.5, config=TrainConfig.model_validate(data))
    best, folder = tmp_path / "best.yaml", tmp_path / "run"
    assert call(capsys, "export", str(study_with(tmp_path, [winner])), "--out", str(best))[0] == 0
    code, out, err = call(capsys, "train", str(best), "--run-dir", str(folder))
    assert (code, err) == (0, "")
    assert "validation list: mIoU" in out
    assert (folder / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [(DataError("no mask"), 2, "error: no mask\n"), (TrainingError("loss is nan"), 1, "error: loss is nan\n")],
)
def test_an_error_class_decides_the_exit_code(capsys, raised, code, said):
    failing = typer.Typer()

    @failing.command()
    def fail() -> None:
        raise raised

    with pytest.raises(SystemExit) as caught:
        run(failing, args=[])
    assert caught.value.code == code
    assert capsys.readouterr().err == said


def test_an_error_in_a_log_is_a_users_error_too(capsys):
    from analysis.errors import LogsError

    failing = typer.Typer()

    @failing.command()
    def fail() -> None:
        raise LogsError("no runs")

    with pytest.raises(SystemExit) as caught:
        run(failing, args=[])
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda folder: (folder / ("x" * 300)).stat(), "File name too long"),
        (lambda folder: (folder / "file" / "x").open(), "Not a directory"),
        (lambda folder: folder.open(), "Is a directory"),
        (lambda folder: (folder / "file").mkdir(), "File exists"),
    ],
)
def test_a_path_that_cannot_be_used_is_named_without_a_traceback(tmp_path, capsys, act, says):
    (tmp_path / "file").touch()
    failing = typer.Typer()

    @failing.command()
    def fail() -> None:
        act(tmp_path)

    with pytest.raises(SystemExit) as caught:
        run(failing, args=[])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: /")
    assert said.endswith(f": {says}\n")


@pytest.mark.parametrize(
    "command",
    [
        "report",
        "export --out best.yaml",
        "wandb-sync",
        "wandb-workspace",
        "model-card",
        "draw-splits --sizes 2 --out o",
    ],
)
def test_a_name_that_is_too_long_is_refused_by_every_command(capsys, command):
    name, *options = command.split()
    code, _, said = call(capsys, name, "x" * 300, *options)
    assert code == 2
    assert said.startswith("error: xxx")
    assert said.endswith(": File name too long\n")


def test_a_missing_file_of_our_own_keeps_its_traceback(tmp_path):
    failing = typer.Typer(pretty_exceptions_enable=False)

    @failing.command()
    def fail() -> None:
        (tmp_path / "gone").read_text()

    with pytest.raises(FileNotFoundError):
        run(failing, args=[])


def test_a_defect_of_ours_keeps_its_traceback():
    failing = typer.Typer(pretty_exceptions_enable=False)

    @failing.command()
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(failing, args=[])


def test_the_module_gives_the_same_answer_as_the_console_script(capsys):
    path = str(SPACES / "digits.yaml")
    module = subprocess.run([sys.executable, "-m", "ipix_tune.cli.validate", path], capture_output=True, text=True)
    assert (module.returncode, module.stdout) == call(capsys, "validate", path)[:2]


def test_a_name_of_digits_is_a_name(tmp_path, capsys):
    options = [f"--set=storage={tmp_path}", "--name", "20261128", "--resume"]
    code, _, err = call(capsys, "sweep", str(write(tmp_path, base())), *options)
    assert code == 2
    assert f"{tmp_path / '20261128'}: there is no study to resume" in " ".join(err.split())


def test_an_empty_name_is_refused_and_not_that_of_the_file(capsys, tmp_path):
    """As a shell gives it for a variable that is not set."""
    code, _, said = call(capsys, "sweep", str(write(tmp_path, base())), "--name", "")
    assert code == 2
    assert "name: " in said
    assert "got ''" in said
