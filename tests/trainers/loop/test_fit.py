import math
import os
import signal
import subprocess
import sys
from itertools import pairwise

import pytest
import torch

from tests.trainers.runs import rows, same_tensors, tensors, tiny
from trainers.common.errors import CheckpointError, TrainingError
from trainers.common.yaml_file import dump
from trainers.config import TrainConfig
from trainers.interface.epoch_record import Decision
from trainers.loop import checkpoint_files
from trainers.loop.fit import fit

EMA = {
    "method": {"name": "unimatch", "conf_thresh": 0.2, "teacher": "ema", "ema_decay": 0.9},
    "interpixel": {"alpha": 1.0, "tau": 0.1},
}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """A run with an EMA teacher and the inter-pixel loss that nothing happened to."""
    folder = tmp_path_factory.mktemp("unbroken")
    fit(tiny(**EMA), folder)
    return folder


def test_the_same_config_gives_the_same_curve_and_weights_bit_for_bit(unbroken, tmp_path):
    fit(tiny(**EMA), tmp_path)
    assert rows(tmp_path) == rows(unbroken)
    assert same_tensors(tensors(tmp_path), tensors(unbroken))


def test_the_curve_does_not_depend_on_the_threads_that_the_process_happens_to_have(unbroken, tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2 if before == 1 else 1)
    try:
        fit(tiny(**EMA), tmp_path)
        assert torch.get_num_threads() == (2 if before == 1 else 1)
    finally:
        torch.set_num_threads(before)
    assert rows(tmp_path) == rows(unbroken)


def test_another_seed_gives_another_curve(unbroken, tmp_path):
    fit(tiny(**EMA, seed=1), tmp_path)
    assert rows(tmp_path) != rows(unbroken)


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_run_stopped_after_any_epoch_goes_on_as_if_it_had_not_been(unbroken, tmp_path, epoch):
    fit(tiny(**EMA), tmp_path, callbacks=[lambda one: Decision.STOP if one.epoch == epoch else Decision.CONTINUE])
    assert len(rows(tmp_path)) == epoch
    fit(tiny(**EMA), tmp_path)
    assert rows(tmp_path) == rows(unbroken)
    assert same_tensors(tensors(tmp_path), tensors(unbroken))
    assert same_tensors(tensors(tmp_path, "best.pt"), tensors(unbroken, "best.pt"))


def test_a_run_killed_in_the_middle_of_an_epoch_goes_on_as_if_it_had_not_been(unbroken, tmp_path):
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom trainers.config import TrainConfig\n"
        "from trainers.loop.fit import fit\nfrom trainers.common.yaml_file import load\n"
        "def die(step, total):\n    if step == 5:\n        os.kill(os.getpid(), signal.SIGKILL)\n"
        "fit(load(sys.argv[1], TrainConfig), Path(sys.argv[2]), on_step=die)\n"
    )
    (tmp_path / "config.yaml").write_text(dump(tiny(**EMA)))
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "config.yaml"), str(tmp_path / "run")])
    assert killed.returncode == -signal.SIGKILL
    assert len(rows(tmp_path / "run")) == 2
    fit(tiny(**EMA), tmp_path / "run")
    assert rows(tmp_path / "run") == rows(unbroken)
    assert same_tensors(tensors(tmp_path / "run"), tensors(unbroken))


def test_a_resumed_run_gives_every_earlier_record_again_oldest_first(unbroken, tmp_path):
    fit(tiny(**EMA), tmp_path, callbacks=[lambda one: Decision.STOP if one.epoch == 2 else Decision.CONTINUE])
    seen = []
    fit(tiny(**EMA), tmp_path, callbacks=[lambda one: seen.append(one.epoch) or Decision.CONTINUE])
    assert seen == [1, 2, 3, 4]


@pytest.mark.parametrize("damage", ["truncated", "bit flipped", "empty"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(unbroken, tmp_path, damage, caplog):
    fit(tiny(**EMA), tmp_path, callbacks=[lambda one: Decision.STOP if one.epoch == 3 else Decision.CONTINUE])
    last = tmp_path / "checkpoints" / "last.pt"
    data = bytearray(last.read_bytes())
    if damage == "bit flipped":
        data[len(data) // 2] ^= 4
    last.write_bytes({"truncated": data[: len(data) // 2], "bit flipped": data, "empty": b""}[damage])
    fit(tiny(**EMA), tmp_path)
    assert str(last) in caplog.text
    assert rows(tmp_path) == rows(unbroken)


def test_with_no_whole_checkpoint_the_run_is_refused(tmp_path):
    fit(tiny(schedule={"epochs": 2, "steps_per_epoch": 1}), tmp_path)
    for name in ("last.pt", "previous.pt"):
        (tmp_path / "checkpoints" / name).write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="no whole checkpoint"):
        fit(tiny(schedule={"epochs": 2, "steps_per_epoch": 1}), tmp_path)


def test_a_checkpoint_of_another_architecture_is_refused_with_what_differs(unbroken):
    other = tiny(**EMA, model={"upsample": "nearest"})
    with pytest.raises(CheckpointError, match=r"model.upsample: bilinear there, nearest here"):
        fit(other, unbroken)


def test_a_foreign_file_is_no_checkpoint(tmp_path):
    torch.save({"weights": torch.zeros(1)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint of this program"):
        checkpoint_files.load(tmp_path / "x.pt")


@pytest.mark.parametrize("method", ["supervised", "fixmatch", "unimatch"])
def test_with_alpha_zero_every_method_is_its_base_bit_for_bit(tmp_path, method):
    conf = {} if method == "supervised" else {"conf_thresh": 0.2}
    sections = {"schedule": {"epochs": 1, "steps_per_epoch": 3}}
    data = tiny(**sections).model_dump(mode="json") | {"method": {"name": method, **conf}}
    base = TrainConfig.model_validate(data)
    off = TrainConfig.model_validate(
        data | {"interpixel": {"alpha": 0, "distance": "cr", "temperature": 1, "tau": 0.1, "views": "s1s2fp"}}
    )
    fit(base, tmp_path / "base")
    fit(off, tmp_path / "off")
    assert rows(tmp_path / "base") == rows(tmp_path / "off")
    assert same_tensors(tensors(tmp_path / "base"), tensors(tmp_path / "off"))


def test_with_alpha_above_zero_the_curve_differs_and_the_diagnostics_are_logged(unbroken):
    last = rows(unbroken)[-1]
    assert last["train/loss/interpixel"] > 0
    assert 0 < last["train/interpixel/omega"] <= 1
    assert 0 <= last["train/interpixel/empty"] < 1
    assert last["train/interpixel/ramp"] == 1.0


def test_the_total_loss_is_the_weighted_sum_of_the_logged_terms(tmp_path):
    config = tiny(
        interpixel={"alpha": 2.0, "tau": 0.1, "warmup_fraction": 0}, schedule={"epochs": 1, "steps_per_epoch": 2}
    )
    fit(config, tmp_path)
    (row,) = rows(tmp_path)
    term = {name.removeprefix("train/loss/"): value for name, value in row.items() if name.startswith("train/loss/")}
    unimatch = 0.5 * (term["supervised"] + 0.25 * term["strong1"] + 0.25 * term["strong2"] + 0.5 * term["feature"])
    assert math.isclose(row["train/loss"], unimatch + 2.0 * term["interpixel"], rel_tol=1e-5)


def test_a_loss_that_is_not_finite_stops_the_run_with_its_step_and_name(tmp_path):
    with pytest.raises(TrainingError, match=r"loss .*supervised.* is NaN or infinite at step \d+ \(epoch \d\)"):
        fit(tiny(optim={"lr": 1e30}), tmp_path)


def test_the_final_evaluation_adds_scores_and_leaves_the_held_out_curve_as_it_is(tmp_path):
    short = {"schedule": {"epochs": 2, "steps_per_epoch": 2}}
    fit(tiny(**short), tmp_path / "search")
    fit(tiny(**short, evaluation={"final": True}), tmp_path / "final")
    search, final = rows(tmp_path / "search"), rows(tmp_path / "final")
    for before, after in zip(search, final, strict=True):
        assert {name: after[name] for name in before} == before
    assert {"final/last/miou", "final/best/miou", "final/best/epoch"} <= final[-1].keys()
    assert not any(name.startswith("final/") for name in final[0])


def test_evaluation_is_done_every_so_many_epochs_and_after_the_last(tmp_path):
    fit(tiny(schedule={"epochs": 3, "steps_per_epoch": 1}, evaluation={"every": 2}), tmp_path)
    assert ["val/miou" in row for row in rows(tmp_path)] == [False, True, True]


def test_every_network_is_scored_under_its_name(unbroken):
    row = rows(unbroken)[-1]
    assert {"val/student/miou", "val/teacher/miou"} <= row.keys()
    assert row["val/miou"] == row["val/student/miou"]


def test_a_run_leaves_pytorchs_global_switches_as_they_were(tmp_path):
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    fit(tiny(schedule={"epochs": 1, "steps_per_epoch": 1}), tmp_path)
    assert (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark) == before


def test_a_run_in_bf16_gives_finite_losses_and_the_same_bits_again_across_a_stop(tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    config = tiny(**EMA, precision={"amp": "bf16"})
    fit(config, whole)
    fit(config, stopped, callbacks=[lambda one: Decision.STOP if one.epoch == 2 else Decision.CONTINUE])
    fit(config, stopped)
    assert all(math.isfinite(value) for row in rows(whole) for value in row.values() if isinstance(value, float))
    assert rows(stopped) == rows(whole)
    assert same_tensors(tensors(stopped), tensors(whole))


def command(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "trainers.train", *arguments], cwd=cwd, capture_output=True, text=True, env=os.environ
    )


def test_the_command_trains_says_what_one_run_is_worth_and_refuses_to_run_over_it(tmp_path):
    (tmp_path / "cfg.yaml").write_text(dump(tiny(schedule={"epochs": 1, "steps_per_epoch": 1})))
    done = command("cfg.yaml", "--set", "seed=3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 seed (3), 1 epochs, 1 steps, split" in done.stdout
    again = command("cfg.yaml", "--set", "seed=3", cwd=tmp_path)
    assert again.returncode == 2
    assert "--resume" in again.stderr
    assert "Traceback" not in again.stderr


def test_a_misspelt_key_ends_the_command_with_code_2_the_line_and_the_nearest_key(tmp_path):
    (tmp_path / "cfg.yaml").write_text(dump(tiny()).replace("conf_thresh", "conf_tresh"))
    done = command("cfg.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert 'method.conf_tresh: unknown key; did you mean "conf_thresh"?' in done.stderr
    assert "cfg.yaml:" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("epochs_done", [0, 1])
def test_ctrl_c_ends_the_command_with_code_130_and_says_how_to_go_on(tmp_path, epochs_done):
    (tmp_path / "cfg.yaml").write_text(dump(tiny()))
    code = (
        "import os, signal, trainers.cli.train as train\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background may ignore it\n"
        "before = train.ProgressLine.step\n"
        "def step(self, done, total):\n"
        f"    if done == {2 * epochs_done + 1}:\n        os.kill(os.getpid(), signal.SIGINT)\n"
        "    before(self, done, total)\n"
        "train.ProgressLine.step = step\n"
        "train.run()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "cfg.yaml", "--run-dir", "run"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 130
    assert ("--resume" if epochs_done else "no epoch is saved yet") in done.stderr
    assert "Traceback" not in done.stderr


def test_the_recent_score_is_the_mean_of_the_last_evaluations_also_after_a_resume(tmp_path):
    config = tiny(evaluation={"recent": 2}, schedule={"epochs": 4, "steps_per_epoch": 2})
    fit(config, tmp_path, callbacks=[lambda one: Decision.STOP if one.epoch == 3 else Decision.CONTINUE])
    fit(config, tmp_path)
    found = rows(tmp_path)
    scores = [row["val/miou"] for row in found]
    expected = [scores[0], *((one + other) / 2 for one, other in pairwise(scores))]
    assert [row["val/recent/miou"] for row in found] == pytest.approx(expected)


def test_epochs_without_an_evaluation_do_not_count_as_recent(tmp_path):
    fit(tiny(evaluation={"recent": 2, "every": 2}, schedule={"epochs": 4, "steps_per_epoch": 2}), tmp_path)
    found = rows(tmp_path)
    assert "val/recent/miou" not in found[0]
    assert found[3]["val/recent/miou"] == pytest.approx((found[1]["val/miou"] + found[3]["val/miou"]) / 2)
