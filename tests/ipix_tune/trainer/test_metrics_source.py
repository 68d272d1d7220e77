import json
import time

import pytest
import wandb
from pydantic import ValidationError

from ipix_tune.trainer.command.metrics_config import MetricsConfig
from ipix_tune.trainer.command.metrics_source import Epochs
from ipix_tune.trainer.command.raw_rows import Tail
from trainers.common.errors import TrainingError


def epochs(tmp_path, place, *, score="val/dice", **config):
    return Epochs(MetricsConfig(**config), place, tmp_path / "output.log", score=score)


def told(source):
    """At two looks between which nothing is written."""
    return [*source.new(over=False), *source.new(over=False)]


def lines(path, *rows):
    with path.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def test_an_epoch_is_given_once_its_row_with_the_score_is_whole_and_nothing_follows(tmp_path):
    file = tmp_path / "m.jsonl"
    source = epochs(tmp_path, file, jsonl="m.jsonl")
    assert list(source.new(over=False)) == []
    lines(file, {"epoch": 1, "loss": 2.0, "val/dice": 0.5})
    with file.open("a") as half:
        half.write('{"epoch": 2, "val/di')
    assert told(source) == [(1, {"loss": 2.0, "val/dice": 0.5})]
    with file.open("a") as rest:
        rest.write('ce": 0.6}\n')
    assert told(source) == [(2, {"val/dice": 0.6})]


def test_an_epoch_without_a_score_waits_for_the_next_one_or_the_end(tmp_path):
    file = tmp_path / "m.jsonl"
    source = epochs(tmp_path, file, jsonl="m.jsonl")
    lines(file, {"epoch": 1, "loss": 2.0})
    assert list(source.new(over=False)) == []
    lines(file, {"epoch": 2, "loss": 1.0})
    assert list(source.new(over=False)) == [(1, {"loss": 2.0})]
    assert list(source.new(over=True)) == [(2, {"loss": 1.0})]


def test_of_several_rows_in_an_epoch_the_last_one_counts(tmp_path):
    file = tmp_path / "m.jsonl"
    source = epochs(tmp_path, file, jsonl="m.jsonl", rows_per_epoch=3)
    lines(file, {"epoch": 1, "val/dice": 0.1}, {"epoch": 1, "val/dice": 0.2})
    assert list(source.new(over=False)) == []
    lines(file, {"epoch": 1, "val/dice": 0.3})
    assert told(source) == [(1, {"val/dice": 0.3})]


def test_metrics_in_a_row_behind_the_score_belong_to_the_epoch(tmp_path):
    file = tmp_path / "m.jsonl"
    source = epochs(tmp_path, file, jsonl="m.jsonl")
    lines(file, {"epoch": 1, "val/dice": 0.5})
    assert list(source.new(over=False)) == []
    lines(file, {"epoch": 1, "memory/peak_mib": 900})
    assert told(source) == [(1, {"val/dice": 0.5, "memory/peak_mib": 900.0})]


def test_an_epoch_waits_for_the_metrics_that_it_needs_until_another_begins(tmp_path):
    file = tmp_path / "m.jsonl"
    source = epochs(tmp_path, file, jsonl="m.jsonl", needs=["memory/peak_mib"])
    lines(file, {"epoch": 1, "val/dice": 0.5})
    assert told(source) == []
    lines(file, {"epoch": 1, "memory/peak_mib": 900}, {"epoch": 2, "val/dice": 0.6})
    assert told(source) == [(1, {"val/dice": 0.5, "memory/peak_mib": 900.0})]
    lines(file, {"epoch": 3, "val/dice": 0.7})
    assert told(source) == [(2, {"val/dice": 0.6})]


def test_steps_are_counted_into_epochs(tmp_path):
    file = tmp_path / "m.csv"
    file.write_text("step,val/dice\n9,0.1\n10,0.2\n11,0.3\n20,0.4\n")
    from_one = epochs(tmp_path, file, csv="m.csv", epoch="step", steps_per_epoch=10)
    assert list(from_one.new(over=True)) == [(1, {"val/dice": 0.2}), (2, {"val/dice": 0.4})]
    from_zero = epochs(tmp_path, file, csv="m.csv", epoch="step", steps_per_epoch=10, first_epoch=0)
    assert list(from_zero.new(over=True)) == [(1, {"val/dice": 0.1}), (2, {"val/dice": 0.3}), (3, {"val/dice": 0.4})]


def test_only_what_was_written_since_the_last_look_is_read(tmp_path):
    file = tmp_path / "m.jsonl"
    tail = Tail(file)
    lines(file, *({"epoch": 1, "loss": number} for number in range(100)))
    assert len(tail.new()[0]) == 100
    lines(file, {"epoch": 2})
    assert tail.new() == (['{"epoch": 2}'], False)
    assert tail.new() == ([], False)


def test_a_file_that_is_written_anew_with_further_columns_is_read_anew(tmp_path):
    file = tmp_path / "m.csv"
    source = epochs(tmp_path, file, csv="m.csv")
    file.write_text("epoch,val/dice\n1,0.5\n")
    assert told(source) == [(1, {"val/dice": 0.5})]
    file.write_text("epoch,val/dice,loss\n1,0.5,\n2,0.6,3\n")
    assert told(source) == [(2, {"val/dice": 0.6, "loss": 3.0})]


@pytest.mark.parametrize("tagged", [False, True])
def test_scalars_come_out_of_tensorboards_own_files_by_epoch(tmp_path, tagged):
    """By steps that are epochs, or by the epochs that stand beside the steps, as Lightning writes them."""
    pytest.importorskip("tensorboard.backend.event_processing.event_multiplexer")
    writer = pytest.importorskip("torch.utils.tensorboard").SummaryWriter(tmp_path / "run")
    source = epochs(tmp_path, tmp_path, tensorboard=".", names={"val/dice": "dice"}, first_epoch=0 if tagged else 1)
    found = []
    for epoch in (1, 2):
        step = 50 * epoch if tagged else epoch
        writer.add_scalar("dice", epoch / 8, step)
        if tagged:
            writer.add_scalar("epoch", epoch - 1, step)
        writer.flush()
        found += told(source)
    writer.close()
    assert found == [(1, {"val/dice": 0.125}), (2, {"val/dice": 0.25})]


def test_epochs_may_be_counted_from_0_and_metrics_go_by_the_studys_names_and_scale(tmp_path):
    file = tmp_path / "m.csv"
    file.write_text("step, epoch, Dice Score, note\n10, 0, 0.25, good\n20, 1, 0.5, nan\n")
    config = {"csv": "m.csv", "first_epoch": 0, "names": {"val/dice": "Dice Score"}, "factor": {"val/dice": 100}}
    assert list(epochs(tmp_path, file, **config).new(over=True)) == [
        (1, {"step": 10.0, "val/dice": 25.0}),
        (2, {"step": 20.0, "val/dice": 50.0}),
    ]


def test_numbers_are_found_in_what_a_command_prints_between_progress_bars(tmp_path):
    output = tmp_path / "output.log"
    output.write_text("Epoch 1/3:  50%\rEpoch 1/3: 100%\nINFO: Dice score: 0.61\nEpoch 2/3:\nDice score: 0.7\n")
    score = {"val/dice": r"Dice score: ([0-9.]+)"}
    wanted = [(1, {"val/dice": 0.61}), (2, {"val/dice": 0.7})]
    assert list(epochs(tmp_path, output, pattern=score | {"epoch": r"Epoch (\d+)/"}).new(over=True)) == wanted
    assert list(epochs(tmp_path, output, pattern=score).new(over=True)) == wanted


def test_rows_come_out_of_wandbs_offline_files_while_the_run_is_open(tmp_path):
    run = wandb.init(mode="offline", dir=tmp_path, project="p", settings=wandb.Settings(silent=True))
    run.log({"epoch": 1, "validation Dice": 0.4})
    run.log({"epoch": 2, "validation Dice": 0.6})
    run.finish()
    source = epochs(tmp_path, tmp_path, wandb=".", names={"val/dice": "validation Dice"})
    found, end = [], time.monotonic() + 30  # W&B's own process writes the file
    while len(found) < 2 and time.monotonic() < end:
        found += source.new(over=True)
        time.sleep(0.1)
    assert found == [(1, {"val/dice": 0.4}), (2, {"val/dice": 0.6})]


def test_a_line_that_a_kill_has_torn_is_passed_over(tmp_path):
    file = tmp_path / "m.jsonl"
    file.write_text('{"epoch": 1, "val/dice": 0.5}\n{"epoch": 2, "val/d{"epoch": 2, "val/dice": 0.6}\n')
    lines(file, {"epoch": 3, "val/dice": 0.7})
    assert [epoch for epoch, _ in epochs(tmp_path, file, jsonl="m.jsonl").new(over=True)] == [1, 3]


def test_a_score_that_is_not_finite_is_a_diverged_run(tmp_path):
    file = tmp_path / "m.jsonl"
    file.write_text('{"epoch": 4, "val/dice": NaN}\n')
    with pytest.raises(TrainingError, match="val/dice is not finite in epoch 4"):
        list(epochs(tmp_path, file, jsonl="m.jsonl").new(over=True))


def test_several_scores_an_epoch_are_counted_by_their_number_where_no_epoch_is_printed(tmp_path):
    output = tmp_path / "output.log"
    output.write_text("".join(f"dice {number}\n" for number in range(1, 7)))
    source = epochs(tmp_path, output, pattern={"val/dice": r"dice (\d+)"}, rows_per_epoch=3)
    assert list(source.new(over=True)) == [(1, {"val/dice": 3.0}), (2, {"val/dice": 6.0})]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "exactly one of"),
        ({"jsonl": "a", "csv": "b"}, "got jsonl, csv"),
        ({"pattern": {"val/dice": "score (["}}, "no regular expression"),
        ({"pattern": {"val/dice": "score"}}, "has no group"),
    ],
)
def test_a_place_for_metrics_that_cannot_be_is_refused(given, said):
    with pytest.raises(ValidationError, match=said):
        MetricsConfig(**given)
