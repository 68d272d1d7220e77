"""`python -m trainers.cli.draw_splits`."""

import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from trainers.cli.draw_splits import app
from trainers.data.open import open_data
from trainers.data.scenes import LISTS


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def lines(path):
    return path.read_text().splitlines()


def test_splits_are_nested_complete_and_show_every_class(scenes_root, tmp_path):
    result = run(scenes_root, "--sizes", "8,4,6", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    labelled = {size: lines(tmp_path / str(size) / "labelled.txt") for size in (4, 6, 8)}
    assert set(labelled[4]) < set(labelled[6]) < set(labelled[8])
    for size, chosen in labelled.items():
        assert len(chosen) == size
        rest = lines(tmp_path / str(size) / "unlabelled.txt")
        assert sorted(chosen + rest) == lines(scenes_root / LISTS["train"])
    assert "8 labelled, 4 unlabelled, 11 of 11 classes" in result.output.replace("\n", " ")


def test_a_written_split_trains_under_the_hash_that_was_printed(scenes_root, tmp_path, data_config):
    result = run(scenes_root / LISTS["train"], "--sizes", "4", "--out", tmp_path)
    config = data_config(
        name="voc",
        root=str(scenes_root),
        labelled=str(tmp_path / "4/labelled.txt"),
        unlabelled=str(tmp_path / "4/unlabelled.txt"),
        val=LISTS["val"],
    )
    assert f"hash {open_data(config, final=True).split_hash}" in result.output.replace("\n", "")


def test_drawing_by_config_and_from_the_shell_choose_the_same_images(scenes_root, tmp_path, data_config):
    run(scenes_root, "--sizes", "4", "--seed", "3", "--out", tmp_path)
    config = data_config(
        name="voc", root=str(scenes_root), train=LISTS["train"], draw={"labelled": 4, "seed": 3}, val=LISTS["val"]
    )
    named = [f"{item.name} {item.mask_name}" for item in open_data(config, final=True).labelled]
    assert lines(tmp_path / "4" / "labelled.txt") == named


def test_bare_ids_and_another_mask_folder(tmp_path, write_image):
    for index in range(4):
        write_image(tmp_path / "JPEGImages" / f"2007_{index}.jpg", np.zeros((4, 4, 3)))
        write_image(tmp_path / "SegmentationClassAug" / f"2007_{index}.png", np.full((4, 4), index))
    (tmp_path / "ids.txt").write_text("\n".join(f"2007_{index}" for index in range(4)))
    result = run(tmp_path / "ids.txt", "--sizes", "2", "--out", tmp_path / "out", "--mask-dir", "SegmentationClassAug")
    assert result.exit_code == 0, result.output
    (first, _) = lines(tmp_path / "out" / "2" / "labelled.txt")
    image, mask = first.split()
    assert (tmp_path / image).is_file()
    assert mask.startswith("SegmentationClassAug/")


def test_a_cityscapes_root_needs_no_list(tmp_path, write_image):
    for shade, city in enumerate(("jena", "ulm")):
        write_image(tmp_path / f"leftImg8bit/train/{city}/{city}_1_leftImg8bit.png", np.full((4, 4, 3), shade))
        write_image(tmp_path / f"gtFine/train/{city}/{city}_1_gtFine_labelIds.png", np.full((4, 4), 7))
    result = run(tmp_path, "--sizes", "1", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert len(lines(tmp_path / "out/1/unlabelled.txt")) == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("{root}", "--sizes", "4,x"), '--sizes: "4,x" is no list of positive numbers'),
        (("{root}", "--sizes", "0"), "no list of positive numbers"),
        (("{root}", "--sizes", "13"), "--sizes: 13 is more than the 12 images"),
        (("{root}/nope.txt", "--sizes", "1"), "no such file or folder"),
        (("{root}/JPEGImages", "--sizes", "1"), "give a split file"),
    ],
)
def test_a_mistake_is_told_in_one_line_with_exit_code_2(scenes_root, tmp_path, arguments, complaint):
    result = run(*(a.format(root=scenes_root) for a in arguments), "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert complaint in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_other_splits_are_not_overwritten(scenes_root, tmp_path):
    assert run(scenes_root, "--sizes", "4", "--out", tmp_path).exit_code == 0
    assert run(scenes_root, "--sizes", "4", "--out", tmp_path).exit_code == 0
    result = run(scenes_root, "--sizes", "4", "--seed", "1", "--out", tmp_path)
    assert result.exit_code == 2
    assert "another list lies here" in result.output


def test_the_module_runs_and_asks_for_no_torch_to_help():
    code = (
        "import runpy, sys\nsys.argv = ['splits', '--help']\n"
        "try:\n    runpy.run_module('trainers.cli.draw_splits', run_name='__main__')\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "--sizes" in printed


def umlauts(root, write_image):
    """A list in cp1252 of four images with names that are not ASCII."""
    names = []
    for index in range(4):
        for folder in ("images", "masks"):
            write_image(root / folder / f"Größe {index}.png", np.full((4, 4), index))
        names.append(f"images/Größe {index}.png\tmasks/Größe {index}.png\n")
    (root / "list.txt").write_bytes("".join(names).encode("cp1252"))
    return root / "list.txt"


def test_a_list_in_another_encoding_is_drawn_from_and_the_drawn_lists_are_utf8(tmp_path, write_image):
    path = umlauts(tmp_path, write_image)
    done = run(path, "--sizes", "2", "--out", tmp_path / "drawn", "--list-encoding", "cp1252")
    assert done.exit_code == 0, done.output
    drawn = [tmp_path / "drawn" / "2" / f"{name}.txt" for name in ("labelled", "unlabelled")]
    assert sorted(line.split("\t")[0] for one in drawn for line in one.read_text(encoding="utf-8").splitlines()) == [
        f"images/Größe {index}.png" for index in range(4)
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "save the list as UTF-8, or say what it is: --list-encoding cp1252"),
        (("--list-encoding", "klingon"), '--list-encoding: Python knows no encoding of texts "klingon"'),
    ],
)
def test_a_list_that_cannot_be_decoded_is_told_with_the_option_that_mends_it(tmp_path, write_image, options, said):
    done = run(umlauts(tmp_path, write_image), "--sizes", "2", "--out", tmp_path / "drawn", *options)
    assert done.exit_code == 2
    assert said in done.output
