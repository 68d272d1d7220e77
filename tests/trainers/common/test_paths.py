"""A path that a user gives is used, or refused by its name: no traceback."""

import os
from pathlib import Path

import pytest

from ipix_tune.config.load_study import load
from ipix_tune.execution.machine import check_machine
from ipix_tune.storage.study_folder import load_study
from trainers.common.errors import ConfigError, UserError
from trainers.common.home import home
from trainers.common.paths import PathError, is_file, is_folder
from trainers.common.shipped import found
from trainers.data.folder import FolderConfig
from trainers.data.open import open_data

NOBODY = "~no-such-user-here"
LONG = "x" * 300


def test_without_any_home_what_to_set_is_said(monkeypatch):
    def no_home(_: type) -> Path:
        raise RuntimeError("Could not determine home directory.")  # as Python says it for a user without an entry

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(Path, "home", classmethod(no_home))
    with pytest.raises(ConfigError, match=r"HOME is not set, and this machine knows no home folder .*: set HOME"):
        home()
    for address in (None, "auto"):
        with pytest.raises(ConfigError, match="set HOME"):
            check_machine(address, {})


def test_what_cannot_be_looked_at_is_no_absence(tmp_path):
    with pytest.raises(PathError, match=r"data\.root: .*x cannot be looked at: File name too long"):
        is_folder(tmp_path / LONG, what="data.root")
    (tmp_path / "loop").symlink_to("loop")
    for nothing in ("loop", "gone", "a\0b", "loop/x"):
        assert not is_folder(tmp_path / nothing, what="data.root")
        assert not is_file(tmp_path / nothing, what="data.root")


@pytest.mark.parametrize("name", [NOBODY, f"{NOBODY}/l.txt", LONG, f"{LONG}/l.txt", "a\0b"])
@pytest.mark.parametrize("key", ["root", "labelled", "val"])
def test_a_data_set_in_a_place_that_cannot_be_is_refused_by_its_key(tmp_path, key, name):
    (tmp_path / "l.txt").write_text("a.png a.png\n")
    (tmp_path / "a.png").touch()
    asked = {"root": str(tmp_path), "labelled": "l.txt", "val": "l.txt", key: name}
    data = {"name": "folder", "num_classes": 2, "crop": 16, "batch_size": 1, **asked}
    with pytest.raises(UserError, match=rf"data\.{key}|{NOBODY}"):
        open_data(FolderConfig.model_validate(data), final=True)


def test_a_list_whose_name_begins_with_a_tilde_is_read(tmp_path):
    (tmp_path / "~l.txt").write_text("a.png a.png\n")
    (tmp_path / "a.png").touch()
    data = {"name": "folder", "root": str(tmp_path), "num_classes": 2, "crop": 16, "batch_size": 1}
    config = FolderConfig.model_validate({**data, "labelled": "~l.txt", "val": "~l.txt", "copies": "as_listed"})
    assert [item.name for item in open_data(config, final=True).labelled] == ["a.png"]


def test_a_study_that_cannot_be_looked_at_is_named(tmp_path):
    for place in (tmp_path / LONG, tmp_path / LONG / "study"):
        with pytest.raises(UserError, match="File name too long"):
            load_study(place, [])
        with pytest.raises(UserError, match="File name too long"):
            load(found(place), [])


def test_a_folder_without_permission_is_named(tmp_path):
    """As another user where this one is root, who may look everywhere."""
    closed = tmp_path / "closed"
    (closed / "data").mkdir(parents=True)
    closed.chmod(0)
    me = os.geteuid()
    try:
        os.seteuid(54321 if me == 0 else me)
        with pytest.raises(PathError, match=r"data\.root: .*closed/data cannot be looked at: Permission denied"):
            is_folder(closed / "data", what="data.root")
    finally:
        os.seteuid(me)
        closed.chmod(0o700)
