"""Names of users are printed as they are, whatever letters they have: rich's markup and the terminal's encoding end no
training and swallow no name."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tests.trainers.runs import tiny
from trainers.cli.progress import ProgressLine
from trainers.cli.train import train
from trainers.interface.epoch_record import EpochRecord

PACKAGES = ("ipix_tune", "trainers", "analysis")
ROOT = Path(__file__).parents[3]
NAMES = ["[/background]", "[red]"]


def test_the_line_of_an_epoch_has_a_class_whose_name_is_in_brackets(capsys):
    metrics = {"train/loss": 1.0, "time/epoch_s": 1.0, "val/miou": 40.0, "val/iou/0": 70.0, "val/iou/1": 10.0}
    with ProgressLine(Console(), epochs=3, shown=True, classes=NAMES) as progress:
        for lowest in (0, 1):
            metrics[f"val/iou/{lowest}"] = 1.0 - lowest
            progress.epoch(EpochRecord(epoch=1, step=2, metrics=metrics, checkpoint=None, split_hash="x"))
    said = capsys.readouterr().out
    assert "(lowest: [/background] 1.00)" in said
    assert "(lowest: [red] 0.00)" in said


def test_a_training_into_a_folder_whose_name_is_in_brackets_says_where_it_is(tmp_path, capsys):
    folder = tmp_path / "[/b]" / "[red]" / "a:car:b"
    train(tiny(schedule={"epochs": 1, "steps_per_epoch": 1}), folder)
    assert capsys.readouterr().out.splitlines()[-1] == f"run: {folder}"


def consoles():
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "Console":
                    yield pytest.param(node, id=f"{path.relative_to(ROOT)}:{node.lineno}")


@pytest.mark.parametrize("console", list(consoles()))
def test_no_console_reads_markup_or_emoji_in_what_it_prints(console):
    """A class `road:car:red` would be printed with a picture of a car in it."""
    keywords = {one.arg: ast.unparse(one.value) for one in console.keywords}
    assert (keywords.get("markup"), keywords.get("emoji")) == ("False", "False")


@pytest.mark.parametrize("module", ["ipix_tune.cli.exit_codes", "trainers.common.output"])
def test_letters_that_the_output_does_not_have_are_printed_by_number(module):
    begin = "outlive_output" if module == "ipix_tune.cli.exit_codes" else "print_any_letters"
    program = (
        f"from {module} import {begin}\n{begin}()\n"
        "from rich.console import Console\n"
        "print('Größe')\nConsole(markup=False).print('\\u2603 \\udcf6', highlight=False)"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout.split() == [r"Gr\xf6\xdfe", r"\u2603", r"\udcf6"]
