"""Checkpoint files under a kill at any instant."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.common.errors import CheckpointError, OutputError
from trainers.loop import checkpoint_files
from trainers.loop.run_identity import differences

IDENTITY = {"config": {"seed": 0}}


class Killed(BaseException):
    """Stands for SIGKILL between two system calls."""


def state(step):
    return {"identity": json.dumps(IDENTITY), "step": step, "value": torch.full((64,), float(step))}


def newest(folder):
    found = checkpoint_files.latest(folder, differs=lambda theirs: differences(theirs, IDENTITY))
    return None if found is None else found["step"]


def save_and_die(folder, step, *, renames, monkeypatch):
    """Save, and stop right after so many renames."""
    real, done = type(folder).replace, 0

    def replace(path, target):
        nonlocal done
        if done == renames:
            raise Killed
        done += 1
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(folder), "replace", replace)
        with pytest.raises(Killed):
            checkpoint_files.save_last(folder, state(step))


@pytest.mark.parametrize(("renames", "expected"), [(0, 2), (1, 3), (2, 3)])
def test_a_run_killed_between_two_renames_finds_its_newest_whole_checkpoint(tmp_path, monkeypatch, renames, expected):
    for step in (1, 2):
        checkpoint_files.save_last(tmp_path, state(step))
    save_and_die(tmp_path, 3, renames=renames, monkeypatch=monkeypatch)
    assert newest(tmp_path) == expected


@pytest.mark.parametrize(("renames", "expected"), [(0, 1), (1, 3), (2, 3)])
def test_a_kill_while_a_damaged_checkpoint_is_replaced_costs_no_whole_one(tmp_path, monkeypatch, renames, expected):
    for step in (1, 2):
        checkpoint_files.save_last(tmp_path, state(step))
    (tmp_path / "last.pt").write_bytes(b"torn")
    save_and_die(tmp_path, 3, renames=renames, monkeypatch=monkeypatch)
    assert newest(tmp_path) == expected


def test_what_a_killed_save_left_behind_is_gone_after_the_next_one(tmp_path):
    (tmp_path / ".fresh.pt.4711").write_bytes(b"half")
    checkpoint_files.save_last(tmp_path, state(1))
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert newest(tmp_path) is None


def test_a_cleared_folder_has_no_checkpoint(tmp_path):
    for step in (1, 2):
        checkpoint_files.save_last(tmp_path, state(step))
    checkpoint_files.clear(tmp_path)
    assert newest(tmp_path) is None


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(OutputError, match=r"run.*checkpoint not written"):
        checkpoint_files.save_last(tmp_path / "run", state(1))


def test_a_full_disk_is_named_and_leaves_earlier_checkpoints_as_they_were(tmp_path, monkeypatch):
    checkpoint_files.save_last(tmp_path, state(1))
    before = (tmp_path / "last.pt").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "open", lambda path, mode: open("/dev/full", mode))  # noqa: PTH123, SIM115
        with pytest.raises(OutputError, match="no space left on its disk; free some and resume"):
            checkpoint_files.save_last(tmp_path, {**state(2), "weights": torch.zeros(100_000)})
    assert (tmp_path / "last.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=150)
def test_a_checkpoint_with_one_flipped_bit_is_refused_or_reads_as_it_was_written(where, bit):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "last.pt"
        checkpoint_files.save(path, state(1))
        data = bytearray(path.read_bytes())
        data[int(where * len(data))] ^= 1 << bit
        path.write_bytes(data)
        try:
            found = checkpoint_files.load(path)
        except CheckpointError:
            return
        assert found["step"] == 1
        assert found["identity"] == json.dumps(IDENTITY)
        assert torch.equal(found["value"], torch.ones(64))
