"""Files that cannot be opened: named everywhere, and skipped where `on_corrupt: skip` says so."""

import numpy as np
import pytest
import torch
from PIL import Image

from trainers.common.errors import DataError
from trainers.data.check import check_data
from trainers.data.evaluation import eval_batches
from trainers.data.loader import TrainLoader
from trainers.data.open import open_data
from trainers.data.opening import CorruptError
from trainers.data.presence import classes_present
from trainers.data.read import Reader
from trainers.interface.method import Needs
from trainers.loop.process_group import current
from trainers.loop.stages import unlabelled_images


def broken_link(path):
    path.unlink()
    path.symlink_to(path.with_name("gone.png"))


def too_large(path):
    Image.new("L", (2000, 1000)).save(path)


def torn(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.fixture(params=[broken_link, too_large, torn])
def spoil(request, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500_000)
    return request.param


@pytest.mark.parametrize("kind", ["labelled", "unlabelled"])
def test_training_names_the_file_or_skips_and_counts_it(train_config, spoil, kind):
    named, forgiving = (
        train_config(data={"on_corrupt": mode}, views={"cutmix_partner": "batch"}) for mode in ("error", "skip")
    )
    data, needs = open_data(named.data, final=False), Needs(unlabelled=True, strong=1)
    victim = getattr(data, kind)[0]
    spoil(victim.image)
    with pytest.raises(CorruptError, match=rf"{victim.image.name}.*{kind}\.txt:\d+"):
        [batch for epoch in range(3) for batch in TrainLoader(data, named, needs).epoch(epoch)]
    loader = TrainLoader(data, forgiving, needs)
    assert all(len(list(loader.epoch(epoch))) == loader.steps_per_epoch for epoch in range(3))
    assert loader.skipped > 0


@pytest.mark.parametrize("kind", ["labelled", "unlabelled"])
def test_the_check_names_the_file_or_lists_it(train_config, spoil, kind):
    config = train_config()
    data = open_data(config.data, final=False)
    victim = getattr(data, kind)[0]
    spoil(victim.image)
    with pytest.raises(CorruptError, match=victim.image.name):
        check_data(data, config.data)
    (listed,) = check_data(data, config.data.model_copy(update={"on_corrupt": "skip"})).corrupt
    assert victim.image.name in listed


def test_a_draw_by_presence_names_the_mask_or_takes_it_for_empty_without_remembering_that(train_config, spoil):
    config = train_config()
    data = open_data(config.data, final=False)
    items = data.labelled
    spoil(items[1].mask)
    with pytest.raises(CorruptError, match=items[1].mask.name):
        classes_present(items)
    present = classes_present(items, skip_corrupt=True)
    assert [not classes for classes in present] == [at == 1 for at in range(len(items))]
    with pytest.raises(CorruptError):
        classes_present(items)


def test_evaluation_forgives_no_file(train_config, spoil):
    items = open_data(train_config().data, final=False).labelled
    spoil(items[0].image)
    with pytest.raises(CorruptError, match=items[0].image.name):
        list(eval_batches(items, reader=Reader(3), device=torch.device("cpu")))


def test_labelling_between_stages_names_the_file_or_leaves_it_out(train_config, spoil):
    data = open_data(train_config().data, final=False)
    spoil(data.unlabelled[0].image)
    for skip in (False, True):
        images = unlabelled_images(data, reader=Reader(3), process=current("cpu"), skip_corrupt=skip)
        if skip:
            assert [place for place, _ in images([0, 1])] == [1]
        else:
            with pytest.raises(DataError, match=data.unlabelled[0].image.name):
                list(images([0, 1]))


def test_sizes_that_differ_because_of_exif_say_so(train_config, write_image):
    config = train_config()
    data = open_data(config.data, final=False)
    exif = Image.Exif()
    exif[0x112] = 6
    Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save(data.labelled[0].image, exif=exif)
    for read in (lambda: check_data(data, config.data), lambda: Reader(3)(data.labelled[0], with_mask=True)):
        with pytest.raises(DataError, match=r"EXIF orientation \(6\).*data\.exif: ignore"):
            read()
    ignored = train_config(data={"exif": "ignore"})
    check_data(open_data(ignored.data, final=False), ignored.data)
