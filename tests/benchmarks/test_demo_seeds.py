"""The demo and its table: what it compares, and what ten of them add up to."""

import csv
import re
from pathlib import Path

from typer.testing import CliRunner

from benchmarks.demo_seeds import DONE, STUDY, app, standard_name
from ipix_tune.config.load_study import load
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.search.trial_record import TrialRecord
from ipix_tune.study.confirm_arms import arms_of, comparisons

FOUND = {
    "interpixel.alpha": 1.0,
    "interpixel.distance": "cr",
    "interpixel.temperature": 8.0,
    "interpixel.tau": 0.5,
}


def arms_of_shipped(file, values):
    study = load(file)
    last = study.trainer["schedule"]["epochs"]
    entry = TrialRecord(key="t0003", values=values, scores={last: 70.0}, state="complete", error=None, retries=0)
    return arms_of(study, SearchSpace(study), [entry])


def test_the_demo_compares_the_best_trial_with_training_on_the_labelled_scenes_alone():
    found = arms_of_shipped(STUDY, FOUND)
    assert [arm.name for arm in found] == ["top 1", "supervised only"]
    assert [arm.config.method.name for arm in found] == ["st", "supervised"]
    assert found[1].config.interpixel.alpha == 0
    assert found[0].config.optim == found[1].config.optim
    assert comparisons(found) == (("top 1", "supervised only"),)


def test_the_example_asks_of_the_loss_of_the_method_and_of_cr_at_equal_strength():
    found = arms_of_shipped(STUDY.with_name("digits_confirm.yaml"), FOUND)
    variant = "CR of equal strength"
    assert comparisons(found) == (
        ("top 1", "defaults"),
        ("top 1", "inter-pixel loss off"),
        ("defaults", "inter-pixel loss off"),
        ("inter-pixel loss off", "labelled images only"),
        ("defaults", variant),
    )


def test_what_every_demo_finds_anew_has_one_name():
    assert standard_name("top 1") == "top 1"
    assert standard_name("top 1 (equal to defaults)") == "defaults"


def ended(folder, number, *verdicts):
    study = folder / f"demo{number}"
    (study / "tables").mkdir(parents=True)
    (study / DONE).write_text("321")
    with (study / "tables" / "verdicts.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["first", "second", "verdict", "words"])
        rows.writerows([*verdict, " ".join(verdict)] for verdict in verdicts)


def test_the_table_counts_how_often_each_comparison_was_decided(tmp_path):
    ended(tmp_path, 0, ("defaults", "supervised", "better"), ("top 1", "defaults", "undecided"))
    ended(tmp_path, 1, ("defaults", "supervised", "better"), ("top 1", "defaults", "worse"))
    (tmp_path / "demo2").mkdir()
    out = tmp_path / "demos.md"
    assert CliRunner().invoke(app, ["table", "--folder", str(tmp_path), "--out", str(out)]).exit_code == 0
    lines = Path(out).read_text().splitlines()
    assert lines[0] == "# 2 demos"
    assert "| defaults against supervised | 2 | 0 | 0 | 0 |" in lines
    assert "| top 1 against defaults | 0 | 1 | 0 | 1 |" in lines
    assert "| demo1 | 321 | defaults supervised better<br>top 1 defaults worse |" in lines


def test_without_a_demo_that_ended_there_is_no_table(tmp_path):
    found = CliRunner().invoke(app, ["table", "--folder", str(tmp_path), "--out", str(tmp_path / "demos.md")])
    assert found.exit_code == 2
    assert "no demo that ended" in re.sub(r"[│\s]+", " ", found.output)


def test_every_demo_has_seeds_of_its_own_and_one_that_was_broken_off_is_resumed(tmp_path, monkeypatch):
    asked = []

    def sweep(command, *, check):
        asked.append(command)
        study = tmp_path / command[command.index("--name") + 1]
        study.mkdir(exist_ok=True)
        (study / "study.yaml").touch()
        if len(asked) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("benchmarks.demo_seeds.subprocess.run", sweep)
    for _ in range(2):
        CliRunner().invoke(app, ["run", "--folder", str(tmp_path), "--demos", "3"])
    assert [command[command.index("--name") + 1] for command in asked] == ["demo0", "demo1", "demo1", "demo2"]
    assert ["--resume" in command for command in asked] == [False, False, True, False]
    assert "--set=sampler.seed=2" in asked[-1]
    assert "--set=trainer.seed=2000" in asked[-1]
    assert (tmp_path / "demo1" / DONE).read_text() == ""
