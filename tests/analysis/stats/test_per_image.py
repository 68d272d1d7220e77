"""Image by image: what a trainer leaves is read back, compared, and said."""

import contextlib
import io

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import jaccard_score

from analysis.ingest.held_out import FILE, HeldOut, held_out_of, read_held_out
from analysis.ingest.tables import Tables
from analysis.sections.images import ends, image_sections
from analysis.sections.section import ReportSection, Unanswered
from analysis.stats.per_image import baseline, image_changes, image_scores
from analysis.stats.study import from_tables
from analysis.wording.images import say_images
from tests.ipix_tune.studies import row
from trainers.data.layout import Item
from trainers.loop.held_out import HeldOutWriter as Gathered
from trainers.loop.process_group import Process

CLASSES = ("ground", "cat", "dog")


def left_by(folder, predictions, masks, *, epoch=9):
    """Bytes of the file that a trainer writes of these predictions (n, H, W)."""
    paths = [folder / f"{number}.png" for number in range(len(masks))]
    items = [Item(image=path, mask=path, root=folder) for path in paths]
    gathered = Gathered(items, num_classes=3, shown=4, process=Process(rank=0, world=1, device=torch.device("cpu")))
    gathered.add(torch.from_numpy(predictions), torch.from_numpy(masks))

    def reader(item, *, with_mask):
        number = int(item.image.stem)
        return torch.full((3, *masks.shape[1:]), 20 * number, dtype=torch.uint8), torch.from_numpy(masks[number]).byte()

    gathered.write(folder / "file.npz", epoch=epoch, reader=reader)
    return (folder / "file.npz").read_bytes()


@pytest.fixture
def maps():
    """Truth of six images, and two predictions of them, the first of which is better on images 0 to 3."""
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 3, (6, 8, 10))
    good, bad = masks.copy(), masks.copy()
    good[:, 0] = (good[:, 0] + 1) % 3
    bad[:4, :4] = (bad[:4, :4] + 1) % 3
    bad[4:, 0, :5] = (bad[4:, 0, :5] + 1) % 3
    masks[:, 7] = 255
    return masks, good, bad


def test_what_a_trainer_writes_is_read_back_image_by_image(tmp_path, maps):
    masks, good, _ = maps
    found = read_held_out(left_by(tmp_path, good, masks))
    assert (found.epoch, found.names, len(found.shown)) == (9, tuple(f"{one}.png" for one in range(6)), 4)
    for place in found.shown:
        picture = found.picture(found.names[place])
        assert np.array_equal(picture.truth, masks[place])
        assert np.array_equal(picture.prediction, good[place])
        assert abs(int(picture.image[0, 0, 0]) - 20 * place) <= 3  # JPEG
    hidden = next(place for place in range(6) if place not in found.shown)
    assert found.picture(found.names[hidden]) is None


def test_an_images_score_is_the_mean_iou_of_its_own_classes(tmp_path, maps):
    masks, _, bad = maps
    found = image_scores(read_held_out(left_by(tmp_path, bad, masks)))
    for number, score in enumerate(found):
        there = masks[number] != 255
        expected = jaccard_score(masks[number][there], bad[number][there], average="macro")
        assert score == pytest.approx(100 * expected)


@pytest.fixture(scope="module")
def held_out_bytes(tmp_path_factory):
    masks = np.random.default_rng(0).integers(0, 3, (6, 8, 10))
    return left_by(tmp_path_factory.mktemp("held_out"), masks, masks)


def test_a_torn_file_is_an_error_and_no_crash(tmp_path, maps):
    masks, good, _ = maps
    data = left_by(tmp_path, good, masks)
    with pytest.raises(ValueError, match="no file of held-out images"):
        read_held_out(data[: len(data) // 2])


@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=200)
def test_a_damaged_file_is_read_or_is_an_error_and_no_crash(held_out_bytes, changes):
    data = bytearray(held_out_bytes)
    for share, value in changes:
        data[int(share * len(data))] = value
    with contextlib.suppress(ValueError):
        read_held_out(bytes(data))


@pytest.mark.parametrize("part", [b"PK\x03\x04", b"PK\x01\x02"])
@pytest.mark.parametrize("byte", range(46))
def test_a_damaged_head_of_a_part_is_an_error_and_no_crash(held_out_bytes, part, byte):
    for value in (1, 9, 99, 255):
        data = bytearray(held_out_bytes)
        data[held_out_bytes.index(part) + byte] ^= value
        with contextlib.suppress(ValueError):
            read_held_out(bytes(data))


def study_of(*rows):
    history = {
        "run_id": [one["run_id"] for one in rows],
        "epoch": [one["epochs"] for one in rows],
        "time": [float(one["trial"]) for one in rows],
        "val/miou": pa.array([one["objective"] for one in rows], pa.float64()),
        "train/loss/supervised": pa.array([0.5] * len(rows), pa.float64()),
        "train/interpixel/omega": pa.array([0.25] * len(rows), pa.float64()),
        "val/iou/0": pa.array([90.0] * len(rows), pa.float64()),
        "val/iou/1": pa.array([10.0] * len(rows), pa.float64()),
    }
    facts = {"scheduler": {"max_epochs": 9}, "classes": list(CLASSES)}
    return Tables(runs=pa.Table.from_pylist(list(rows)), history=pa.table(history), facts=facts)


@pytest.fixture
def study_dir(tmp_path, maps):
    """A study's folder with the W&B files of two runs, of which t0001 is the better one; and its tables."""
    masks, good, bad = maps
    for number, prediction in ((0, bad), (1, good)):
        files = tmp_path / "study" / "wandb" / f"offline-run-2026-small-t000{number}" / "files"
        files.mkdir(parents=True)
        (tmp_path / f"{number}").mkdir()
        (files / FILE).write_bytes(left_by(tmp_path / f"{number}", prediction, masks))
    return tmp_path / "study", study_of(row(0, 40.0, lr=0.01), row(1, 50.0, lr=0.02))


def test_a_run_has_the_file_of_its_own_id(study_dir):
    folder, _ = study_dir
    assert isinstance(held_out_of(folder, "small-t0000"), HeldOut)
    assert held_out_of(folder, "t0009") is None


def test_the_report_says_on_how_many_images_the_winner_is_better(study_dir):
    folder, tables = study_dir
    study = from_tables(tables)
    best = study.best()
    found = image_changes(study, best, baseline(study, best), lambda trial: held_out_of(folder, trial.run_id))
    assert (found.better, found.worse, found.seeds) == (4, 2, 1)
    assert [one.name for one in found.images[-2:]] != [one.name for one in found.images[:2]]
    assert {one.name for one in found.images if one.change < 0} == {"4.png", "5.png"}
    wanted = "Trial 1 is better than trial 0 on 4 of 6 held-out images, worse on 2 and equal on 0"
    assert say_images(found).startswith(wanted)


def test_the_sections_have_pictures_and_the_winners_training(study_dir, figures):
    folder, tables = study_dir
    images, training = image_sections(from_tables(tables), tables, figures, folder, None)
    assert isinstance(images, ReportSection)
    assert images.figure.exists()
    assert images.table[0] == ("image", "trial 1", "trial 0", "change")
    assert "25 % of the pixels were in Omega" in training.reading
    assert "The class with the lowest IoU is cat (10.0)" in training.reading
    assert ("ground", "90.0", "90.0") in training.table


def test_of_few_images_the_table_lists_all_and_of_many_both_ends():
    assert ends(range(5), 3) == range(5)
    assert ends(range(9), 3) == (0, 1, 2, 6, 7, 8)


def test_without_files_it_is_said_what_would_answer_the_question(study_dir, tmp_path, undrawn):
    _, tables = study_dir
    part, _ = image_sections(from_tables(tables), tables, undrawn, tmp_path / "elsewhere", None)
    assert isinstance(part, Unanswered)
    assert "evaluation.pictures" in part.what_would


def test_two_runs_are_compared_only_after_the_last_epoch(study_dir, tmp_path, undrawn, maps):
    folder, tables = study_dir
    masks, good, _ = maps
    path = folder / "wandb" / "offline-run-2026-small-t0001" / "files" / FILE
    path.write_bytes(left_by(tmp_path, good, masks, epoch=3))
    part, _ = image_sections(from_tables(tables), tables, undrawn, folder, None)
    assert isinstance(part, Unanswered)


def test_the_difference_shows_who_is_right_where():
    from matplotlib.colors import to_rgb

    from analysis.figures.pictures import _FIRST, _RIGHT, _SECOND, _WRONG, Row, _differences

    one = np.array([[0, 1, 1, 1, 1]], np.uint8)
    truth = np.array([[0, 1, 2, 2, 255]], np.uint8)
    other = np.array([[0, 0, 2, 0, 1]], np.uint8)
    found = _differences(Row(label="", image=np.zeros((1, 5, 3), np.uint8), truth=truth, second=other, first=one))
    expected = [to_rgb(colour) for colour in (_RIGHT, _FIRST, _SECOND, _WRONG, _RIGHT)]
    assert np.allclose(found[0], expected)


def test_pictures_are_files_that_anyone_can_open(tmp_path, maps):
    masks, good, _ = maps
    found = read_held_out(left_by(tmp_path, good, masks))
    formats = [[Image.open(io.BytesIO(part)).format for part in parts] for parts in found.files]
    assert formats == [["JPEG", "PNG", "PNG"]] * 4
