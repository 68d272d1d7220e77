import pytest

from trainers.common.shipped import ROOT, found, shipped


@pytest.mark.parametrize("name", ["voc.yaml", "search_spaces/voc.yaml"])
def test_a_study_is_found_by_its_name_and_by_its_folder(name):
    assert shipped(name) == ROOT / "search_spaces" / "voc.yaml"


@pytest.mark.parametrize("name", ["presets/paper/unimatch.yaml", "paper/unimatch.yaml"])
def test_a_preset_is_found_likewise(name):
    assert shipped(name) == ROOT / "presets" / "paper" / "unimatch.yaml"


def test_nothing_outside_the_shipped_folders_is_found():
    assert shipped("README.md") is None
    assert shipped("../presets/unified.yaml") is None


def test_a_file_that_exists_is_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert found(tmp_path.joinpath("voc.yaml").relative_to(tmp_path)) == ROOT / "search_spaces" / "voc.yaml"
    (tmp_path / "voc.yaml").write_text("name: mine")
    assert str(found(tmp_path.joinpath("voc.yaml").relative_to(tmp_path))) == "voc.yaml"
