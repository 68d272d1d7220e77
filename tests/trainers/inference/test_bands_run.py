"""A training on images of four bands, from files to predictions."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trainers.runs import rows, same_tensors, tensors, tiny
from trainers.cli.train import describe_data
from trainers.data.layout import Decoding, Item
from trainers.inference.evaluate import evaluate, run_images
from trainers.inference.export import export_model
from trainers.inference.images import given_images
from trainers.inference.model import load_model
from trainers.inference.model_card import model_card
from trainers.inference.predict import predict
from trainers.inference.write import Outputs, write_predictions
from trainers.interface.epoch_record import Decision
from trainers.loop.fit import fit
from trainers.loop.run import Run
from trainers.models.build import build_model
from trainers.models.weights import of_bands

tifffile = pytest.importorskip("tifffile")
MEAN, STD = [0.1, 0.2, 0.3, 0.4], [0.2, 0.3, 0.4, 0.5]


def scene(number):
    """The class shows in the fourth band alone."""
    rng = np.random.default_rng(number)
    mask = np.zeros((40, 48), np.uint8)
    mask[8:30, 10 + number : 30 + number] = 1
    return (rng.integers(0, 2000, (40, 48, 4)) + 1500 * mask.astype(int)[..., None] * np.eye(4, dtype=int)[3]).astype(
        np.uint16
    ), mask


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes")
    for number in range(10):
        pixels, mask = scene(number)
        if number % 2:
            np.save(root / f"{number}.npy", pixels)
        else:
            tifffile.imwrite(root / f"{number}.tif", pixels, photometric="minisblack", planarconfig="contig")
        Image.fromarray(mask).save(root / f"{number}_mask.png")
    names = [f"{number}.{'npy' if number % 2 else 'tif'} {number}_mask.png" for number in range(10)]
    (root / "labelled.txt").write_text("\n".join(names[:7]))
    (root / "unlabelled.txt").write_text("\n".join(names[7:]))
    return root


def config(root, **sections):
    data = {"name": "folder", "root": str(root), "bands": 4, "classes": ["rest", "field"], "value_range": [0, 4095]}
    data |= {"labelled": "labelled.txt", "unlabelled": "unlabelled.txt", "crop": 32, "batch_size": 2}
    data |= {"holdout": {"images": 3}, "shown_bands": [3, 2, 1]}
    model = {"backbone": "small", "weights": "none", "in_channels": 4, "mean": MEAN, "std": STD}
    schedule = {"epochs": 2, "steps_per_epoch": 1}
    made = tiny()
    return type(made).model_validate(
        made.model_dump() | {"data": data, "model": model, "schedule": schedule} | sections
    )


@pytest.fixture(scope="module")
def run(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    fit(config(root), folder)
    return folder


def test_a_batch_is_what_numpy_makes_of_the_files(root, tmp_path):
    whole = {"scale_min": 1, "scale_max": 1, "flip_p": 0, "jitter_p": 0, "blur_p": 0}
    run = Run(config(root, views=whole), tmp_path)
    labelled = next(iter(run.loader.epoch(0))).labelled
    images = [np.clip(scene(number)[0] / 4095, 0, 1) for number in range(7)]
    expected = [((image - MEAN) / STD).transpose(2, 0, 1) for image in images]
    for crop in labelled.image.numpy():
        distances = [
            np.abs(crop - image[:, top : top + 32, left : left + 32]).max()
            for image in expected
            for top in range(9)
            for left in range(17)
        ]
        assert min(distances) < 1e-3
    run.close()


def test_a_run_of_four_bands_goes_on_from_its_checkpoint_exactly(root, run, tmp_path):
    fit(config(root), tmp_path / "cut", callbacks=[lambda record: Decision.STOP])
    fit(config(root), tmp_path / "cut")
    assert same_tensors(tensors(run), tensors(tmp_path / "cut"))
    assert rows(run) == rows(tmp_path / "cut")


def test_predictions_and_scores_are_those_of_the_runs_own_evaluation(root, run, tmp_path):
    model = load_model(run)
    images = run_images(model, "holdout")
    scores, last = evaluate(model, images, resamples=0), rows(run)[-1]
    assert scores.means["miou"].value == last["val/miou"]
    confusion = np.zeros((2, 2), int)
    for one in predict(model, images):
        mask = scene(int(one.item.image.stem))[1]
        np.add.at(confusion, (mask, one.classes.numpy()), 1)
        assert one.pixels.shape == (4, 40, 48)
    assert np.array_equal(confusion, scores.confusion)
    found = given_images(model, [root])
    assert {item.image.suffix for item in found.items} == {".npy", ".tif", ".png"}
    arrays = [item.image for item in found.items if item.image.suffix != ".png"]
    written = write_predictions(model, arrays, tmp_path / "out", outputs=Outputs(overlay=True))
    assert (written.predicted, written.faults) == (10, ())
    assert Image.open(tmp_path / "out/overlays/0.jpg").size == (48, 40)


def test_pictures_of_held_out_images_show_the_bands_that_were_chosen(run):
    with np.load(run / "held_out/0002.npz") as file:
        names, lengths, files = file["names"], file["lengths"], file["files"].tobytes()
    (run / "picture.jpg").write_bytes(files[: lengths[0, 0]])
    shown = np.asarray(Image.open(run / "picture.jpg")).astype(int)
    field = scene(int(names[0][0]))[1] == 1
    rise = shown[field].mean(axis=0) - shown[~field].mean(axis=0)
    assert rise[0] > 60  # the fourth band is shown as red
    assert (np.abs(rise[1:]) < 20).all()


@pytest.mark.slow
def test_an_exported_network_takes_the_bands(run, tmp_path):
    exported = export_model(load_model(run), tmp_path / "model.pt2")
    assert exported.checks
    program = torch.export.load(tmp_path / "model.pt2").module()
    assert program(torch.rand(1, 4, 64, 64)).shape == (1, 2, 64, 64)


def test_the_model_card_and_the_dry_run_say_the_bands(root, run):
    assert "images of 4 bands (0 becomes black, 4095 white)" in model_card(run)
    assert any("4 bands of 16-bit" in line for line in describe_data(config(root)))


def test_methods_that_fill_or_judge_images_take_four_bands(root, tmp_path):
    for name in ("st", "gct"):
        made = config(root, method={"name": name})
        fit(made, tmp_path / name)


def test_filters_of_three_bands_serve_others_as_timm_makes_them():
    timm = pytest.importorskip("timm")
    filters = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    for bands in (1, 2, 3, 4, 10):
        torch.testing.assert_close(of_bands(filters, bands), timm.models.adapt_input_conv(bands, filters.clone()))


def test_every_kind_of_network_takes_four_bands():
    pytest.importorskip("segmentation_models_pytorch")
    four = {"weights": "none", "in_channels": 4, "mean": MEAN, "std": STD}
    for kind in (
        {"name": "deeplabv3plus", "backbone": "resnet18"},
        {"name": "smp", "architecture": "unet", "encoder": "tu-test_efficientnet"},
        {"name": "dinov2_dpt", "size": "tiny"},
    ):
        made = config("/", model={**kind, **four}).model
        network = build_model(made, num_classes=3, seed=0).eval()
        assert network.input_spec.mean == tuple(MEAN)
        with torch.no_grad():
            assert network(torch.rand(2, 4, 56, 56)).shape == (2, 3, 56, 56)


def test_an_item_shows_the_first_three_bands_where_none_are_chosen():
    shown = [Item(image=None, decoding=Decoding(bands=bands)).decoding.shown_bands for bands in (2, 3, 9)]
    assert shown == [[0, 1, 1], [0, 1, 2], [0, 1, 2]]
