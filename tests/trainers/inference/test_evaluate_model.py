"""`evaluate`: scores of a network on a list, with intervals over its images."""

import csv
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import bootstrap

from ipix_tune.cli.exit_codes import run as command_line
from ipix_tune.cli.main import app
from tests.trainers.runs import tiny
from trainers.common.errors import ConfigError, DataError
from trainers.data.read import read_mask
from trainers.inference.augmented import Augmentation
from trainers.inference.bootstrap import image_intervals
from trainers.inference.confusion_picture import draw
from trainers.inference.evaluate import MEANS, evaluate, run_images, summed
from trainers.inference.images import listed_images
from trainers.inference.model import load_model
from trainers.inference.predict import predict
from trainers.interface.epoch_record import METRICS, read_records
from trainers.loop.evaluate import confusion_matrix, scores
from trainers.loop.fit import fit


def logged(run, prefix):
    metrics = read_records(run / METRICS)[-1].metrics
    return metrics[f"{prefix}/miou"], {
        int(name.rpartition("/")[2]): value for name, value in metrics.items() if name.startswith(f"{prefix}/iou/")
    }


def found(evaluation):
    return evaluation.means["miou"].value, {index: one.value for index, one in evaluation.iou.items()}


@pytest.mark.parametrize(("part", "prefix"), [("holdout", "val"), ("val", "final/last")])
def test_iou_is_to_the_bit_what_the_run_logged(run, model, part, prefix):
    assert found(evaluate(model, run_images(model, part), resamples=0)) == logged(run, prefix)


def test_with_the_best_weights_it_is_that_of_the_best_epoch(run):
    best = load_model(run, weights="best")
    assert found(evaluate(best, run_images(best, "val"), resamples=0)) == logged(run, "final/best")


def test_by_windows_it_is_to_the_bit_what_a_run_of_windows_logged(run, tmp_path):
    sliding = load_model(run, overrides=("evaluation.mode=sliding", "evaluation.scale=0.75"))
    shutil.copytree(run, tmp_path / "run")
    fit(sliding.config, tmp_path / "run")  # scores the trained weights anew
    assert found(evaluate(sliding, run_images(sliding, "holdout"), resamples=0)) == logged(tmp_path / "run", "val")


def test_the_command_scores_a_list_and_writes_tables_that_agree(run, model, tmp_path, capsys):
    command = ["evaluate", str(run), "--list", model.config.data.val, "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as caught:
        command_line(app, args=command, prog_name="ipix-tune")
    out = capsys.readouterr().out
    assert caught.value.code == 0
    iou, by_class = logged(run, "final/last")
    summary = json.loads((tmp_path / "out/scores.json").read_text())
    assert summary["scores"]["miou"]["value"] == iou
    assert summary["iou"]["background"]["value"] == by_class[0]
    assert summary["images"]["number"] == 10
    assert f"{iou:6.2f} (" in out
    assert "the images were resampled 2000 times, and the training is this one" in out
    table = list(csv.reader((tmp_path / "out/confusion.csv").open()))
    counts = torch.tensor([[int(one) for one in row[1:]] for row in table[1:]])
    assert scores(counts, absent="skip", prefix="x")["x/miou"] == iou
    rows = list(csv.DictReader((tmp_path / "out/classes.csv").open()))
    assert [int(row["pixels_true"]) for row in rows] == counts.sum(dim=1).tolist()
    assert [int(row["pixels_predicted"]) for row in rows] == counts.sum(dim=0).tolist()
    images = list(csv.DictReader((tmp_path / "out/images.csv").open()))
    assert sum(int(row["pixels"]) for row in images) == int(counts.sum())
    assert Image.open(tmp_path / "out/confusion.png").size[0] > 300


def _val_lines(model):
    return (model.config.data.layout().root / model.config.data.val).read_text().splitlines()


def test_an_image_that_a_list_names_twice_counts_once_and_is_named(model, tmp_path):
    root = model.config.data.layout().root
    lines = _val_lines(model)[:3]
    image, mask = lines[0].split()
    (tmp_path / "link.jpg").symlink_to(root / image)
    again = [lines[1], f"./{lines[2]}", f"{tmp_path / 'link.jpg'} {root / mask}"]
    (tmp_path / "once.txt").write_text("\n".join(lines))
    (tmp_path / "twice.txt").write_text("\n".join([*lines, *again]))
    once, twice = (listed_images(model, str(tmp_path / f"{name}.txt"), labelled=True) for name in ("once", "twice"))
    assert (once.said, len(twice.said)) == ((), 1)
    assert "3 duplicate lines are left out, first: " in twice.said[0]
    assert found(evaluate(model, twice, resamples=0)) == found(evaluate(model, once, resamples=0))


def test_an_image_with_two_masks_is_scored_with_both(model, tmp_path):
    first, second = (line.split() for line in _val_lines(model)[:2])
    (tmp_path / "both.txt").write_text(f"{' '.join(first)}\n{first[0]} {second[1]}\n")
    images = listed_images(model, str(tmp_path / "both.txt"), labelled=True)
    assert ([item.mask_name for item in images.items], images.said) == ([first[1], second[1]], ())
    assert len(set(images.names)) == 2


def test_a_list_with_images_that_trained_is_warned_about(run, model, tmp_path, capsys):
    root, lists = model.config.data.layout().root, model.config.data.layout().lists
    trained, others = ((root / lists[key]).read_text().splitlines() for key in ("labelled", "val"))
    image, mask = trained[-1].split()
    shutil.copy(root / image, tmp_path / "copy.jpg")
    (tmp_path / "test.txt").write_text("\n".join([*others[:3], trained[0], f"{tmp_path / 'copy.jpg'} {root / mask}"]))
    said = listed_images(model, str(tmp_path / "test.txt"), labelled=True).said
    assert len(said) == 1
    assert said[0].startswith("warning: 2 of 5 images trained this network, first ")
    with pytest.raises(SystemExit):
        command_line(app, args=["evaluate", str(run), "--list", str(tmp_path / "test.txt")], prog_name="ipix-tune")
    assert said[0] in capsys.readouterr().out


def test_a_list_that_cannot_be_compared_with_what_trained_says_so(model, tmp_path):
    (tmp_path / "test.txt").write_text("\n".join(_val_lines(model)[:3]))
    data = model.config.data.model_copy(update={"labelled": "gone.txt"})
    elsewhere = replace(model, config=model.config.model_copy(update={"data": data}))
    (said,) = listed_images(elsewhere, str(tmp_path / "test.txt"), labelled=True).said
    assert said.startswith("note: not compared with the images that trained this network, which cannot be found here: ")
    assert "gone.txt" in said


def test_an_image_alone_has_the_scores_of_a_list_of_it(model):
    images = listed_images(model, model.config.data.val, labelled=True)
    whole = evaluate(model, images, resamples=0)
    one = type(images)(items=images.items[3:4], names=images.names[3:4])
    alone = evaluate(model, one)
    assert 100 * whole.of_images()[3] == pytest.approx([alone.means[name].value for name in MEANS])
    assert all(np.isnan(alone.means[name].low) for name in MEANS)  # one image has no interval


def made(images, classes, seed=0):
    """Random counts (N, 5, C) that could be those of masks, and their confusion matrix."""
    rng = np.random.default_rng(seed)
    pairs = rng.poisson(rng.gamma(0.5, 40, (images, classes, classes)) + 60 * np.eye(classes))
    both = np.minimum(pairs.sum(2), pairs.sum(1))
    counts = [np.diagonal(pairs, axis1=1, axis2=2), pairs.sum(2), pairs.sum(1), both // 3, both]
    return np.stack(counts, axis=1), torch.from_numpy(pairs.sum(0))


@pytest.mark.parametrize("absent", ["skip", "zero"])
def test_every_resample_of_equal_images_has_the_score_of_them_all(absent):
    pairs = torch.tensor([[50, 17, 0], [5, 30, 0], [0, 0, 0]])  # the third class is nowhere
    counts = np.repeat(_margins(pairs)[None], 6, axis=0)
    evaluation = summed(tuple("abcdef"), counts, 6 * pairs, absent, resamples=50)
    for name in MEANS:
        one = evaluation.means[name]
        assert (one.low, one.high) == pytest.approx((one.value, one.value)), name
    assert evaluation.means["miou"].value == pytest.approx(100 * (50 / 72 + 30 / 52) / (2 if absent == "skip" else 3))
    assert set(evaluation.iou) == {0, 1}


def _margins(confusion):
    pairs = confusion.numpy()
    return np.stack([pairs.diagonal(), pairs.sum(1), pairs.sum(0), pairs.diagonal(), pairs.sum(1)])


def test_intervals_agree_with_those_of_scipy():
    counts, confusion = made(60, 3)
    evaluation = summed(tuple(map(str, range(60))), counts, confusion, "skip", resamples=4000)

    def miou(chosen):
        total = counts[chosen.astype(int)].sum(axis=0)
        return 100 * np.mean(total[0] / (total[1] + total[2] - total[0]))

    images = (np.arange(60.0),)
    theirs = bootstrap(images, miou, n_resamples=4000, method="percentile", vectorized=False, random_state=1)
    ours = evaluation.means["miou"]
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.08 * width)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.08 * width)
    assert ours.low < ours.value < ours.high


def test_an_interval_covers_the_scores_of_other_images_as_often_as_it_says():
    truth, covered = 0.75, 0
    rng = np.random.default_rng(0)
    for _ in range(200):
        shares = rng.beta(6, 2, (80, 1))  # mean 0.75
        ends = image_intervals(shares, lambda sums: sums / 80, resamples=400)
        covered += bool(ends[0, 0] <= truth <= ends[1, 0])
    assert 180 <= covered <= 198  # 95 % of 200, and three standard errors


def test_a_class_that_few_images_show_has_an_interval_of_the_resamples_that_show_it():
    counts, _ = made(12, 3)
    counts[1:, :, 2] = 0
    with np.errstate(invalid="ignore"):
        ends = image_intervals(counts.astype(float), lambda sums: sums[:, 0] / sums[:, 1], resamples=500)
    assert np.isfinite(ends).all()


def test_masks_that_are_ignored_everywhere_are_an_error_and_no_score(model, tmp_path):
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.full((16, 16), 255, np.uint8)).save(tmp_path / "mask.png")
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'a.png'} {tmp_path / 'mask.png'}")
    with pytest.raises(DataError, match="there is nothing to score"):
        evaluate(model, tmp_path / "list.txt")


def test_test_time_augmentation_changes_the_scores_and_is_written_down(model):
    images = run_images(model, "holdout")
    one = evaluate(model, images, resamples=0)
    other = evaluate(model, images, resamples=0, augmentation=Augmentation(flips=("horizontal",)))
    assert found(one) != found(other)
    assert other.augmentation.flips == ("horizontal",)


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["whole", "sliding"])
def test_on_a_gpu_it_is_to_the_bit_what_the_run_logged_and_so_are_predicted_masks(mode, tmp_path):
    precision = {"device": "cuda", "amp": "bf16"}
    fit(tiny(precision=precision, evaluation={"mode": mode}, optim={"lr": 0.2}), tmp_path / "run")
    loaded = load_model(tmp_path / "run")
    images = run_images(loaded, "holdout")
    assert found(evaluate(loaded, images, resamples=0)) == logged(tmp_path / "run", "val")
    total = torch.zeros(11, 11, dtype=torch.int64)
    for one in predict(loaded, images):
        total += confusion_matrix(one.classes.long(), read_mask(one.item).long(), 11)
    assert scores(total, absent="skip", prefix="val")["val/miou"] == logged(tmp_path / "run", "val")[0]


def test_a_run_without_held_out_images_says_what_to_give(model):
    config = model.config.model_copy(update={"data": model.config.data.model_copy(update={"holdout": None})})
    without = SimpleNamespace(config=config)
    with pytest.raises(ConfigError, match="held no images out; name a list with --list"):
        run_images(without, "holdout")


def test_a_class_with_dollars_in_its_name_is_text_and_no_formula(tmp_path):
    draw(np.eye(2, dtype=np.int64), ("a$x_{$", "from $5 to $9"), tmp_path / "x.png")
    assert Image.open(tmp_path / "x.png").size[1] > 300


def test_a_matrix_of_many_classes_is_drawn_without_numbers_and_of_few_with_them(tmp_path):
    for classes in (2, 40):
        draw(np.eye(classes, dtype=np.int64), tuple(f"class {index}" for index in range(classes)), tmp_path / "x.png")
        assert Image.open(tmp_path / "x.png").size[1] > 300
