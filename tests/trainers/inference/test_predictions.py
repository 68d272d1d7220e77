"""`predict` and the folder that `write_predictions` makes, by the command line where that is what a user has."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix as sklearn_confusion

from ipix_tune.cli.exit_codes import run as command_line
from ipix_tune.cli.main import app
from trainers.common.errors import ConfigError, DataError
from trainers.data.maskfiles import VOC_INDEX
from trainers.data.open import open_data
from trainers.data.read import read_mask
from trainers.data.voc import CLASSES as VOC
from trainers.data.voc import VocConfig
from trainers.inference import write as writing
from trainers.inference.augmented import Augmentation, predicted
from trainers.inference.images import given_images, listed_images
from trainers.inference.model import load_model
from trainers.inference.predict import predict
from trainers.inference.write import Outputs, write_predictions
from trainers.interface.epoch_record import METRICS, read_records
from trainers.loop.evaluate import scores
from trainers.loop.fit import fit


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Calls the command line in the test's folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def called(*arguments):
        with pytest.raises(SystemExit) as caught:
            command_line(app, args=[*map(str, arguments)], prog_name="ipix-tune")
        printed = capsys.readouterr()
        return SimpleNamespace(code=caught.value.code, out=printed.out, err=printed.err)

    return called


def picture(path, size=(40, 56), seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def rescored(folder, items, names, *, prefix):
    """Scores of the PNGs of a folder, counted by scikit-learn."""
    total = np.zeros((11, 11), np.int64)
    for item, name in zip(items, names, strict=True):
        target, found = read_mask(item).numpy().ravel(), np.array(Image.open(folder / f"masks/{name}.png")).ravel()
        seen = target != 255
        total += sklearn_confusion(target[seen], found[seen], labels=range(11))
    return scores(torch.from_numpy(total), absent="skip", prefix=prefix)


def test_pngs_of_a_list_score_to_the_bit_what_the_run_scored(run, model, tmp_path):
    images = listed_images(model, model.config.data.val, labelled=True)
    written = write_predictions(model, images, tmp_path / "out")
    assert (written.predicted, written.there, written.faults) == (10, 0, ())
    logged = read_records(run / METRICS)[-1].metrics
    found = rescored(tmp_path / "out", images.items, images.names, prefix="final/last")
    assert sum(found.get(f"final/last/iou/{index}", 0) > 0 for index in range(11)) > 3
    assert {name: logged[name] for name in found} == found


def test_pngs_by_windows_score_to_the_bit_what_a_run_of_windows_scores(run, tmp_path):
    sliding = load_model(run, overrides=("evaluation.mode=sliding",))
    fit(sliding.config, run_copy(run, tmp_path / "run"))  # scores the trained weights anew
    data = open_data(sliding.config.data, final=True)
    images = writing.Images(items=data.holdout, names=tuple(item.image.stem for item in data.holdout))
    write_predictions(sliding, images, tmp_path / "out")
    logged = read_records(tmp_path / "run" / METRICS)[-1].metrics
    found = rescored(tmp_path / "out", images.items, images.names, prefix="val")
    assert {name: logged[name] for name in found} == found
    assert logged["val/miou"] != read_records(run / METRICS)[-1].metrics["val/miou"]


def run_copy(run, folder):
    shutil.copytree(run, folder)
    return folder


def test_masks_are_index_pngs_in_the_colours_of_voc_with_original_names(call, run, model, tmp_path):
    pixels = picture(tmp_path / "in" / "sub" / "Ein Bild.v2.png")
    done = call("predict", run, "in", "--out", "out", "--overlay", "--probabilities")
    assert done.code == 0, done.err
    mask = Image.open(tmp_path / "out/masks/sub/Ein Bild.v2.png")
    assert mask.mode == "P"
    assert np.array_equal(np.array(mask), model.classes_of(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0])
    palette = np.array(mask.getpalette("RGB")).reshape(-1, 3)
    assert all(VOC_INDEX[tuple(palette[index])] == index for index in range(11))
    kept = np.load(tmp_path / "out/probabilities/sub/Ein Bild.v2.npz")
    assert kept["probabilities"].dtype == np.float16
    assert kept["probabilities"].shape == (11, 40, 56)
    assert np.allclose(kept["probabilities"].astype(float).sum(axis=0), 1, atol=0.01)
    assert list(kept["classes"]) == list(model.classes)
    assert Image.open(tmp_path / "out/overlays/sub/Ein Bild.v2.jpg").size == (56, 40)


def test_an_overlay_has_the_class_colour_over_the_image_and_leaves_the_background(tmp_path, model):
    from trainers.inference.pictures import OPACITY, write_overlay

    pixels, classes = np.full((16, 16, 3), 100, np.uint8), np.zeros((16, 16), np.uint8)
    classes[:, 8:] = 4
    write_overlay(tmp_path / "x.jpg", pixels, classes, model.palette, clear=0)
    found = np.array(Image.open(tmp_path / "x.jpg")).astype(float)
    assert np.abs(found[:, :4] - 100).max() <= 3
    assert np.abs(found[:, 12:] - (100 * (1 - OPACITY) + model.palette[4] * OPACITY)).max() <= 6


def test_names_of_files_that_differ_in_the_ending_or_the_case_alone_do_not_meet(model, tmp_path):
    for name in ("a.png", "a.bmp", "B.png", "b.bmp", "d/a.png", "c.png"):
        picture(tmp_path / name)
    found = given_images(model, [tmp_path])
    assert dict(zip([item.name for item in found.items], found.names, strict=True)) == {
        "B.png": "B.png", "a.bmp": "a.bmp", "a.png": "a.png", "b.bmp": "b.bmp", "c.png": "c", "d/a.png": "d/a",
    }  # fmt: skip


def test_of_several_folders_names_begin_below_what_they_have_in_common(model, tmp_path):
    for name in ("x/one.png", "y/one.png"):
        picture(tmp_path / name)
    assert given_images(model, [tmp_path / "x", tmp_path / "y"]).names == ("x/one", "y/one")
    assert given_images(model, [tmp_path / "x/one.png"]).names == ("one",)
    with pytest.raises(ConfigError, match="no such file or folder"):
        given_images(model, [tmp_path / "z"])


def test_what_is_there_is_not_predicted_again_and_what_changed_is(model, tmp_path):
    for name in "abc":
        picture(tmp_path / "in" / f"{name}.png", seed=ord(name))
    assert write_predictions(model, tmp_path / "in", tmp_path / "out").predicted == 3
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out/masks").iterdir()}
    (tmp_path / "out/masks/a.png").unlink()
    picture(tmp_path / "in/b.png", seed=9)
    again = write_predictions(model, tmp_path / "in", tmp_path / "out")
    assert (again.predicted, again.there) == (2, 1)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out/masks").iterdir()}
    assert [name for name in before if before[name] == after[name]] == ["c.png"]
    overlaid = write_predictions(model, tmp_path / "in", tmp_path / "out", outputs=Outputs(overlay=True))
    assert overlaid.predicted == 3


def test_an_interrupted_call_is_gone_on_with_to_the_same_bytes(model, tmp_path, monkeypatch):
    for name in "abcdef":
        picture(tmp_path / "in" / f"{name}.png", seed=ord(name))
    write_predictions(model, tmp_path / "in", tmp_path / "whole", batch_size=2)

    def killed(done, total):
        if done == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(writing, "WAITING", 0)
    with pytest.raises(KeyboardInterrupt):
        write_predictions(model, tmp_path / "in", tmp_path / "cut", batch_size=2, on_image=killed)
    with (tmp_path / "cut/predictions.jsonl").open("a") as file:
        file.write('{"name": "d", "sou')  # as a kill leaves it
    rest = write_predictions(model, tmp_path / "in", tmp_path / "cut", batch_size=2)
    assert rest.there == 3
    for path in (tmp_path / "whole/masks").iterdir():
        assert path.read_bytes() == (tmp_path / "cut/masks" / path.name).read_bytes()
    assert len((tmp_path / "cut/predictions.jsonl").read_text().splitlines()) == 6


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(call, run, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    picture(tmp_path / "in/a.png")
    monkeypatch.setattr(writing, "predict", interrupted)
    done = call("predict", run, "in", "--out", "out")
    assert (done.code, "the same command goes on with out" in done.err) == (130, True)


def test_other_options_are_refused_by_name_and_made_again_where_asked(call, run, tmp_path):
    picture(tmp_path / "in/a.png")
    assert call("predict", run, "in", "--out", "out").code == 0
    other = call("predict", run, "in", "--out", "out", "--flip", "horizontal")
    assert other.code == 2
    assert "made otherwise: flips: [] there, ['horizontal'] here" in other.err
    redone = call("predict", run, "in", "--out", "out", "--flip", "horizontal", "--redo")
    assert redone.code == 0
    assert "1 predicted, 0 were there already" in redone.out


def test_a_folder_of_other_files_is_not_written_to(model, tmp_path):
    picture(tmp_path / "in/a.png")
    picture(tmp_path / "mine/masks/a.png")
    before = (tmp_path / "mine/masks/a.png").read_bytes()
    with pytest.raises(ConfigError, match="files lie there that predict did not write"):
        write_predictions(model, tmp_path / "in", tmp_path / "mine")
    assert (tmp_path / "mine/masks/a.png").read_bytes() == before


def test_an_output_folder_among_the_images_is_no_input_of_the_next_call(call, run, tmp_path):
    picture(tmp_path / "in/a.png")
    for _ in range(2):
        done = call("predict", run, "in", "--out", "in/out")
        assert "; 1 image," in done.out, done.err


def test_corrupt_images_are_named_the_rest_is_predicted_and_the_exit_code_says_so(call, run, tmp_path):
    for name in ("a.png", "c.png"):
        picture(tmp_path / "in" / name)
    (tmp_path / "in/b.png").write_bytes((tmp_path / "in/a.png").read_bytes()[:900])
    (tmp_path / "in/d.jpg").write_text("no image")
    (tmp_path / "in/notes.txt").write_text("no image either")
    done = call("predict", run, "in", "--out", "out")
    assert done.code == 1
    assert "not predicted: in/b.png: cannot be decoded" in done.out
    assert "not predicted: in/d.jpg: cannot be decoded, it is no image of a format that Pillow reads" in done.out
    assert "2 predicted, 0 were there already, 2 could not be read" in done.out
    assert "1 files are no images by their ending, first: in/notes.txt" in done.out
    assert sorted(path.name for path in (tmp_path / "out/masks").iterdir()) == ["a.png", "c.png"]


def test_without_a_listener_a_corrupt_image_is_an_error(model, tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="it is empty"):
        list(predict(model, tmp_path / "a.png"))


def test_a_turned_photograph_is_predicted_as_it_is_shown_and_with_exif_ignore_as_it_is_stored(run, model, tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6
    picture(tmp_path / "a.png", size=(40, 56), exif=exif.tobytes())
    (shown,) = predict(model, tmp_path / "a.png")
    (stored,) = predict(load_model(run, overrides=("data.exif=ignore",)), tmp_path / "a.png")
    assert (shown.classes.shape, stored.classes.shape) == ((56, 40), (40, 56))
    assert torch.equal(shown.pixels, stored.pixels.rot90(-1, (1, 2)))


def test_grey_of_sixteen_bits_is_read_as_the_training_reads_it(model, tmp_path):
    grey = np.random.default_rng(0).integers(0, 2**16, (24, 24), dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "a.png")
    (found,) = predict(model, tmp_path / "a.png")
    assert np.array_equal(found.pixels[0], grey >> 8)


def test_probabilities_have_their_largest_where_the_class_is_said(model, tmp_path):
    for number, size in enumerate([(24, 24), (24, 24), (24, 30)]):
        picture(tmp_path / f"{number}.png", size=size, seed=number)
    for one in predict(model, tmp_path, probabilities=True):
        assert one.probabilities.shape == (11, *one.classes.shape)
        assert torch.equal(one.probabilities.argmax(dim=0).to(torch.uint8), one.classes)
        assert torch.allclose(one.probabilities.sum(dim=0), torch.ones(one.classes.shape), atol=1e-5)


def test_test_time_augmentation_is_the_mean_over_sizes_and_mirror_images(model):
    image = torch.randn(1, 3, 32, 48)
    network = model.network

    def softmax(seen):
        return network(seen).softmax(dim=1)

    def resized(one, size):
        return torch.nn.functional.interpolate(one, size=size, mode="bilinear", antialias=size[0] < 40)

    half, whole = resized(image, (16, 24)), image
    expected = [softmax(whole), softmax(whole.flip(3)).flip(3), softmax(whole.flip(2)).flip(2)]
    expected.append(softmax(whole.flip(2, 3)).flip(2, 3))
    small = [softmax(half), softmax(half.flip(3)).flip(3), softmax(half.flip(2)).flip(2)]
    small.append(softmax(half.flip(2, 3)).flip(2, 3))
    expected += [torch.nn.functional.interpolate(one, size=(32, 48), mode="bilinear") for one in small]
    augmentation = Augmentation(scales=(1.0, 0.5), flips=("horizontal", "vertical"))
    classes, shares = predicted(model, image, augmentation, probabilities=True)
    assert augmentation.views == 8
    assert torch.allclose(shares, torch.stack(expected).mean(dim=0), atol=1e-5)
    assert torch.equal(classes, shares.argmax(dim=1))


def test_a_mirrored_image_has_the_mirrored_mask_under_flips(model):
    image = torch.randn(1, 3, 32, 48)
    augmentation = Augmentation(flips=("horizontal",))
    one, _ = predicted(model, image, augmentation, probabilities=False)
    other, _ = predicted(model, image.flip(3), augmentation, probabilities=False)
    assert (one != other.flip(2)).float().mean() < 0.001  # sums in another order


def test_masks_for_vocs_server_lie_where_it_wants_them(model, tmp_path):
    outputs = Outputs(voc_server="comp6_test")
    assert outputs.files("2008_000006") == ["results/VOC2012/Segmentation/comp6_test_cls/2008_000006.png"]
    picture(tmp_path / "a.png")
    with pytest.raises(ConfigError, match="Pascal VOC has 21 classes with the background, this model 11"):
        write_predictions(model, tmp_path / "a.png", tmp_path / "out", outputs=outputs)
    with pytest.raises(ConfigError, match="write comp5_test"):
        Outputs(voc_server="comp9")


def test_a_list_of_bare_ids_becomes_the_archive_that_vocs_server_takes(model, tmp_path):
    picture(tmp_path / "voc/JPEGImages/2008_000006.jpg")
    (tmp_path / "voc/test.txt").write_text("2008_000006\n")
    data = VocConfig(name="voc", root=str(tmp_path / "voc"), bare_ids=True, crop=48, batch_size=2)
    as_voc = replace(model, classes=VOC, config=model.config.model_copy(update={"data": data}))
    images = listed_images(as_voc, "test.txt")
    outputs = Outputs(voc_server="comp6_test")
    assert write_predictions(as_voc, images, tmp_path / "out", outputs=outputs).predicted == 1
    mask = Image.open(tmp_path / "out/results/VOC2012/Segmentation/comp6_test_cls/2008_000006.png")
    assert (mask.mode, mask.size) == ("P", (56, 40))


def test_what_made_a_folder_stands_in_it(model, tmp_path):
    picture(tmp_path / "a.png")
    write_predictions(model, tmp_path / "a.png", tmp_path / "out")
    head = json.loads((tmp_path / "out/predictions.json").read_text())
    assert head["how"]["weights"] == model.digest()
    assert head["classes"] == list(model.classes)


def test_images_or_a_list_have_to_be_given_and_options_that_say_nothing_are_refused(call, run, tmp_path):
    assert "give images (files or folders), or --list FILE" in call("predict", run).err
    for options, said in {
        ("--weights", "worst"): "allowed are last and best",
        ("--scales", "1;2"): "numbers apart by commas",
        ("--flip", "sideways"): "allowed are horizontal, vertical",
        ("--whole", "--window", "64"): "whole images have no windows",
    }.items():
        done = call("predict", run, "x.png", *options)
        assert (done.code, said in done.err) == (2, True), done.err
