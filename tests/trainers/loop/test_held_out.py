"""What a run leaves of its held-out images: counts by image and class, and pictures; and that nothing depends on it."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trainers.runs import rows, same_tensors, tensors, tiny
from trainers.data.layout import Item
from trainers.interface.held_out_file import due, file_of
from trainers.loop.fit import fit
from trainers.loop.held_out import LARGEST, HeldOutWriter, picture_size, spread
from trainers.loop.process_group import Process

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of a run with two pictures and of one without; each of four epochs and 8 held-out images."""
    folder = tmp_path_factory.mktemp("held-out")
    found = {}
    for name, pictures in (("with", 2), ("without", 0)):
        config = tiny(data={"holdout": {"images": 8, "source": "unlabelled"}}, evaluation={"pictures": pictures})
        fit(config, folder / name)
        found[name] = folder / name
    return found


def arrays(run_dir, epoch):
    with np.load(file_of(run_dir, epoch), allow_pickle=False) as file:
        return dict(file)


def decoded(found):
    """Of every picture: image, truth and prediction."""
    ends = np.cumsum(found["lengths"].ravel())
    parts = [bytes(found["files"][end - size : end]) for end, size in zip(ends, found["lengths"].ravel(), strict=True)]
    images = [np.asarray(Image.open(io.BytesIO(part))) for part in parts]
    return [tuple(images[3 * number : 3 * number + 3]) for number in range(len(found["shown"]))]


def test_pictures_change_no_curve_and_no_weight(runs):
    assert rows(runs["with"]) == rows(runs["without"])
    assert same_tensors(tensors(runs["with"]), tensors(runs["without"]))


def test_without_pictures_no_file_is_written(runs):
    assert not (runs["without"] / "held_out").exists()


def test_the_counts_of_all_images_give_the_score_of_the_epoch(runs):
    for epoch in (1, 4):
        tp, fp, fn = arrays(runs["with"], epoch)["counts"].sum(axis=0)
        there = tp + fp + fn > 0
        miou = 100 * (tp[there] / (tp + fp + fn)[there]).mean()
        assert miou == pytest.approx(rows(runs["with"])[epoch - 1]["val/miou"], abs=1e-9)


def test_few_images_are_shown_on_the_way_and_all_at_the_end(runs):
    assert [len(arrays(runs["with"], epoch)["shown"]) for epoch in (1, 2, 3, 4)] == [2, 2, 2, 8]
    assert {tuple(arrays(runs["with"], epoch)["shown"]) for epoch in (1, 2, 3)} == {(2, 6)}


def test_pictures_are_the_image_its_truth_and_what_was_predicted(runs):
    found = arrays(runs["with"], 4)
    for place, (image, truth, prediction) in zip(found["shown"], decoded(found), strict=True):
        assert image.shape == (*truth.shape, 3)
        assert truth.shape == prediction.shape
        counts = found["counts"][place]  # the scenes are as small as their pictures
        classes = counts.shape[1]
        right = (truth == prediction) & (truth < 255)
        assert counts[0].tolist() == [(right & (truth == one)).sum() for one in range(classes)]
        assert counts[2].sum() == ((truth != prediction) & (truth < 255)).sum()


def items(count):
    return [Item(image=f"{number}.png", mask=f"{number}.png") for number in range(count)]


def test_the_shares_of_two_processes_add_up_to_that_of_one():
    torch.manual_seed(0)
    prediction, masks = torch.randint(3, (5, 6, 7)), torch.randint(3, (5, 6, 7))
    masks[0, 0] = 255
    alone = HeldOutWriter(items(5), num_classes=3, shown=2, process=Process(rank=0, world=1, device=CPU))
    alone.add(prediction[:2], masks[:2])
    alone.add(prediction[2:], masks[2:])
    shares = [
        HeldOutWriter(items(5), num_classes=3, shown=2, process=Process(rank=rank, world=2, device=CPU))
        for rank in (0, 1)
    ]
    for rank, share in enumerate(shares):
        share.add(prediction[rank::2], masks[rank::2])
    for name in ("counts", "_pictures", "_sizes"):
        assert torch.equal(getattr(alone, name), sum(getattr(share, name) for share in shares))


def test_counts_are_those_of_each_class_and_ignored_pixels_have_none():
    one = HeldOutWriter(items(1), num_classes=3, shown=0, process=Process(rank=0, world=1, device=CPU))
    one.add(torch.tensor([[[0, 1, 1, 2]]]), torch.tensor([[[0, 1, 2, 255]]]))
    assert one.counts[0].tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("epochs", "every", "wanted"),
    [(4, 1, [1, 2, 3, 4]), (8, 2, [2, 4, 6, 8]), (80, 5, [20, 40, 60, 80]), (9, 4, [4, 8, 9])],
)
def test_files_are_due_some_four_times_and_after_the_last_epoch(epochs, every, wanted):
    found = [epoch for epoch in range(1, epochs + 1) if due(epoch, pictures=4, every=every, epochs=epochs)]
    assert found == wanted
    assert not any(due(epoch, pictures=0, every=every, epochs=epochs) for epoch in range(1, epochs + 1))


def test_places_are_spread_over_the_list():
    assert spread(10, 2) == [2, 7]
    assert spread(3, 8) == [0, 1, 2]
    assert spread(300, 4) == [37, 112, 187, 262]


def test_large_images_have_small_pictures():
    assert picture_size((3000, 4000)) == (LARGEST * 3 // 4, LARGEST)
    assert picture_size((40, 30)) == (40, 30)


def test_a_disk_that_takes_no_pictures_does_not_end_the_run(tmp_path, caplog):
    (tmp_path / "held_out").write_text("a file in the folder's place")
    config = tiny(schedule={"epochs": 1}, evaluation={"pictures": 2})
    assert len(fit(config, tmp_path).records) == 1
    assert "goes on without these pictures" in caplog.text
