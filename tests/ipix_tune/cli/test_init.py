"""From a folder to a study: what `ipix-tune init` sees, writes and leaves alone."""

import re
import shlex

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ipix_tune.cli.init import app
from ipix_tune.cli.validate import check_file
from ipix_tune.config.load_study import load
from ipix_tune.study.first_settings import GIB, Hardware, settings_for
from ipix_tune.study.first_study import begin, study_name
from ipix_tune.trainer.own.preflight import check_run
from tests.real_files import mixed_folder
from trainers.common.errors import DataError, OutputError
from trainers.config import TrainConfig
from trainers.data.open import open_data

CPU = Hardware(cpus=2)
GPU = Hardware(cpus=16, gpus=2, gpu="H", gpu_bytes=80 * GIB, bf16=True, weights=True)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """The folders of images and masks, the study that was made of them, and what was said."""
    root = tmp_path_factory.mktemp("mixed")
    images, masks = mixed_folder(root)
    lines = begin(images=images, masks=masks, out=root / "mine", machine=CPU)
    return images, masks, root / "mine" / "study.yaml", lines


def test_a_folder_of_mixed_files_becomes_a_study_that_is_valid_and_whose_data_opens(mixed):
    *_, file, _ = mixed
    assert "is valid" in check_file(file, [])[0]
    study = load(file)
    config = TrainConfig.model_validate(study.trainer)
    lines, _ = check_run(config, workers=1)
    assert "19 labelled, 21 unlabelled, 5 holdout, 5 val; 3 classes" in lines[0]


def test_files_that_cannot_be_used_are_named_with_the_reason_and_are_in_no_list(mixed):
    images, masks, file, lines = mixed
    text = "\n".join(lines)
    assert f"left out: {images / 'broken.gif'}: cannot be decoded" in text
    assert f"left out: {images / 'empty.jpg'}: cannot be decoded, it is empty" in text
    assert f"left out: {images / 'see-through.png'}: its band of transparency" in text
    assert f"{masks / 'bild021.png'}: 64 x 47 pixels, and its image has 64 x 50" in text
    listed = "".join(path.read_text() for path in sorted((file.parent / "study-lists").iterdir()))
    for name in ("broken", "empty", "see-through", "notes", "._plain", "masks/bild021"):
        assert name not in listed
    assert "bild021" in listed


def test_no_image_is_in_two_lists_and_every_class_is_in_the_labelled_ones(mixed):
    study = load(mixed[2])
    data = open_data(TrainConfig.model_validate(study.trainer).data, final=True)
    parts = [{item.image for item in items} for items in (data.labelled, data.unlabelled, data.holdout, data.val)]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 50
    assert "warning: no labelled image" not in "\n".join(mixed[3])


def test_the_last_line_is_the_next_command(mixed):
    assert mixed[3][-1] == f"next: ipix-tune sweep {shlex.quote(str(mixed[2]))} --dry-run"


def test_nothing_is_overwritten_without_being_told(mixed, tmp_path):
    images, masks, file, _ = mixed
    before = file.read_text()
    file.write_text(before + "# mine\n")
    try:
        with pytest.raises(OutputError, match=r"study\.yaml: is there already .* --force"):
            begin(images=images, masks=masks, out=file, machine=CPU)
        assert file.read_text() == before + "# mine\n"
        begin(images=images, masks=masks, out=file, machine=CPU, force=True)
        assert file.read_text() == before
    finally:
        file.write_text(before)


def test_so_many_images_as_were_asked_for_keep_their_labels(mixed, tmp_path):
    images, masks, *_ = mixed
    begin(images=images, masks=masks, out=tmp_path, labelled=8, machine=CPU)
    data = open_data(TrainConfig.model_validate(load(tmp_path / "study.yaml").trainer).data, final=True)
    assert (len(data.labelled), len(data.holdout), len(data.val)) == (8, 7, 7)
    assert len(data.unlabelled) == 50 - 8 - 7 - 7


def test_the_command_prints_what_it_saw_and_ends_well(mixed, tmp_path):
    images, masks, *_ = mixed
    asked = ["--images", str(images), "--masks", str(masks), "--out", str(tmp_path / "s.yaml"), "--classes", "a,b,c"]
    result = CliRunner().invoke(app, asked, catch_exceptions=False)
    assert result.exit_code == 0
    assert "53 images, 30 of them with a mask" in result.output
    assert load(tmp_path / "s.yaml").trainer["data"]["classes"] == ["a", "b", "c"]


def write(folder, name, values):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(folder / name)


def test_where_all_images_have_masks_it_is_asked_how_many_keep_them(tmp_path):
    for number in range(16):
        write(tmp_path / "i", f"{number}.png", np.full((20, 20, 3), 9 * number))
        write(tmp_path / "m", f"{number}.png", np.eye(20) * 255)
    with pytest.raises(DataError, match=r"all 16 images have masks.*--labelled 2"):
        begin(images=tmp_path / "i", masks=tmp_path / "m", out=tmp_path, machine=CPU)
    begin(images=tmp_path / "i", masks=tmp_path / "m", out=tmp_path, labelled=4, machine=CPU)
    data = load(tmp_path / "study.yaml").trainer["data"]
    assert data["label_map"] == {"0": 0, "255": 1}
    assert data["classes"] == ["background", "foreground"]
    assert data["holdout"] == {"images": 4, "source": "unlabelled"}


@pytest.mark.parametrize(
    ("machine", "wanted"),
    [
        (CPU, ("small", "none", 64, 4, "off", 1, 0)),
        (GPU, ("resnet50", "imagenet", 320, 8, "bf16", 8, 1)),
        (Hardware(cpus=4, gpus=1, gpu="T", gpu_bytes=8 * GIB), ("resnet50", "none", 256, 2, "fp16", 4, 1)),
    ],
)
def test_the_study_suits_the_machine(machine, wanted):
    found = settings_for(machine, sizes=[(500, 400)] * 9, labelled=40, unlabelled=900)
    assert (
        found.backbone,
        found.weights,
        found.crop,
        found.batch_size,
        found.amp,
        found.cpus_per_worker,
        found.gpus_per_worker,
    ) == wanted


def test_a_study_for_a_gpu_is_valid_too(mixed, tmp_path):
    images, masks, *_ = mixed
    begin(images=images, masks=masks, out=tmp_path, machine=GPU)
    assert "is valid" in check_file(tmp_path / "study.yaml", [])[0]
    assert load(tmp_path / "study.yaml").resources.gpus_per_worker == 1


def test_large_images_are_seen_at_a_share_of_their_size_in_training_and_in_evaluation(tmp_path):
    found = settings_for(CPU, sizes=[(3000, 4000)], labelled=40, unlabelled=900)
    assert found.scale == pytest.approx(3 * 64 / 4000, abs=1e-3)
    assert settings_for(CPU, sizes=[(60, 80)], labelled=40, unlabelled=900).scale == 1


def test_few_labelled_images_have_a_smaller_batch():
    assert settings_for(CPU, sizes=[(60, 80)], labelled=2, unlabelled=9).batch_size == 2


def test_a_studys_name_is_made_of_the_folders(tmp_path):
    assert study_name(None, tmp_path / "Bilder der Übung") == "Bilder-der-Ubung"
    assert study_name(None, tmp_path / "日本") == "first-study"
    assert re.fullmatch(r"mine", study_name("mine", tmp_path))


def test_the_paths_of_the_study_do_not_depend_on_where_it_is_started(mixed):
    data = load(mixed[2]).trainer["data"]
    assert all(data[key].startswith("/") for key in ("root", "labelled", "unlabelled", "val"))
