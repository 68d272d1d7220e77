"""The command for the first GPU, rehearsed on a CPU: rows as they come, and stages that survive each other."""

import json
import re
import sys

import pytest
from typer.testing import CliRunner

from benchmarks.gpu import BUDGETS, app, run_stage
from benchmarks.helpers import gpu_tables
from benchmarks.helpers.gpu_networks import ON_CPU
from benchmarks.helpers.step_sides import with_this_tree


def rehearse(folder, *arguments):
    files = ["--rows", str(folder / "rows.jsonl"), "--out", str(folder / "table.md")]
    done = CliRunner().invoke(app, ["--cpu", "--budget", "10", *arguments, *files])
    return done, gpu_tables.read(folder / "rows.jsonl"), (folder / "table.md").read_text()


def test_all_stages_together_fit_ten_minutes():
    assert sum(BUDGETS.values()) <= 600


@pytest.mark.slow
def test_a_rehearsed_stage_keeps_its_rows_and_writes_a_table(tmp_path):
    done, rows, table = rehearse(tmp_path, "kernels")
    assert done.exit_code == 0, done.output
    assert [row["name"] for row in rows if row.get("of_copy_rate", 0) > 0] == [
        f"inter-pixel KL, crop {crop}, {kind}" for crop in (33, 65) for kind in ("float32", "bfloat16")
    ]
    assert rows[-1]["result"] == "done"
    assert "# A training on CPU" in table
    assert table.count("| inter-pixel KL, crop ") == 4


@pytest.mark.slow
def test_what_fails_is_a_row_and_the_stages_after_it_run(tmp_path):
    done, rows, table = rehearse(tmp_path, "methods", "unimatch", "--only", "no-such-method")
    assert done.exit_code == 1
    assert "no-such-method" in next(row["failed"] for row in rows if row.get("name") == "no-such-method")
    ends = {row["stage"]: row["result"] for row in rows if "seconds" in row}
    assert ends == {"methods": "failed with exit code 1", "unimatch": "done"}
    assert "no checkout was given" in table


def test_a_stage_that_takes_too_long_is_stopped_and_its_end_is_kept(tmp_path):
    asked = {"stage": "step", "cpu": True, "unimatch": "", "only": [], "nproc": 2, "seconds": 0.1}
    ended = run_stage(asked, tmp_path / "rows.jsonl")
    assert ended["result"].startswith("stopped after")
    assert gpu_tables.read(tmp_path / "rows.jsonl") == [ended]


def test_a_stage_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    done = CliRunner().invoke(app, ["stepp", "--rows", str(tmp_path / "rows"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "stepp: there are tests, methods, kernels" in done.output


def test_packages_on_the_users_path_stay_importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    assert with_this_tree().endswith(":/somewhere")


def test_rows_of_a_stage_that_has_not_ended_are_in_the_table(tmp_path):
    row = {"stage": "loader", "device": "CPU", "name": "2 workers", "ms": 12.34, "host_ms": 1.0}
    (tmp_path / "rows").write_text(json.dumps(row) + "\n")
    table = gpu_tables.render(gpu_tables.read(tmp_path / "rows"))
    assert "Stage `loader`: not ended." in table
    assert "| 2 workers | 12.3 | 1.0 |" in table
    assert re.search(r"\d{4}-\d\d-\d\d; commit (not known|[0-9a-f]{40}(\+changes)?); Python 3", table)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["tests", "methods", "step", "loader", "compile", "networks", "processes"])
def test_every_stage_runs_on_a_cpu(stage, tmp_path):
    done, rows, _ = rehearse(tmp_path, stage, "--only", "alonso", "--only", "cps")
    assert done.exit_code == 0, done.output
    assert rows[-1]["result"] == "done"
    if stage == "processes":
        assert {row["name"] for row in rows if row.get("difference", 1) < 1e-6} == {"alonso", "cps"}
    if stage == "networks":
        assert [row["name"] for row in rows if row.get("interpixel", 0) > 0 and row["steps"] >= 2] == list(ON_CPU)


CHECKOUT = {
    "model/backbone/resnet.py": "def resnet50(pretrained): ...\n\ndef resnet101(pretrained): ...\n",
    "unimatch.py": """
import torch
DeepLabV3Plus = None
def main():
    network = DeepLabV3Plus({"nclass": 21}).cuda()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.001)
    while True:
        optimizer.zero_grad()
        network(torch.rand(2, 3, 65, 65)).square().mean().backward()
        optimizer.step()
""",
}
"""What the stage takes of a checkout of UniMatch."""


@pytest.mark.slow
def test_turns_of_a_checkouts_loop_in_both_precisions_are_timed_beside_ours(tmp_path):
    for name, text in CHECKOUT.items():
        file = tmp_path / "checkout" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    done, rows, _ = rehearse(tmp_path, "unimatch", "--unimatch", str(tmp_path / "checkout"))
    assert done.exit_code == 0, done.output
    sides = ["ours, bf16", "UniMatch, fp32", "UniMatch, bf16"]
    assert [row["name"] for row in rows if row.get("ms", 0) > 0] == 2 * sides


@pytest.mark.slow
def test_the_stages_need_neither_ray_nor_optuna_nor_wandb(tmp_path, monkeypatch):
    for name in ("ray", "optuna", "wandb", "hypothesis"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('{name}', name='{name}')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("benchmarks.helpers.step_sides.with_this_tree", lambda: f"{tmp_path}:{sys.path[0]}:.")
    done, *_ = rehearse(tmp_path, "methods", "loader", "--only", "supervised")
    assert done.exit_code == 0, done.output
