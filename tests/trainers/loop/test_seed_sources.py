"""Seeds of single sources of chance: what each of them moves, and what it leaves alone."""

import pytest
import torch

from tests.trainers.runs import rows, same_tensors, tensors, tiny
from trainers.data.loader import TrainLoader
from trainers.data.open import open_data
from trainers.interface.method import Needs
from trainers.loop.fit import fit
from trainers.loop.method_context import make_context
from trainers.loop.process_group import current


def initial(config):
    context = make_context(config, num_classes=11, process=current("cpu"), labelled=12, unlabelled=20)
    return {f"student.{name}": value for name, value in context.student.state_dict().items()} | {
        f"peer.{name}": value for name, value in context.peer().state_dict().items()
    }


def first_batch(config):
    needs = Needs(unlabelled=True, strong=1, boxes=1)
    loader = TrainLoader(open_data(config.data, final=False), config, needs)
    return next(iter(loader.epoch(0)))


def same_images(one, other):
    return torch.equal(one.labelled.image, other.labelled.image) and torch.equal(
        one.unlabelled.view.strong[0], other.unlabelled.view.strong[0]
    )


def test_the_seed_of_the_weights_moves_them_alone():
    plain, moved = tiny(), tiny(seeds={"init": 5})
    assert not same_tensors(initial(plain), initial(moved))
    assert same_images(first_batch(plain), first_batch(moved))


def test_the_seed_of_the_order_moves_images_views_and_the_steps_own_draws_alone():
    plain, moved = tiny(), tiny(seeds={"order": 5})
    assert same_tensors(initial(plain), initial(moved))
    assert not same_images(first_batch(plain), first_batch(moved))
    assert first_batch(plain).seed != first_batch(moved).seed


@pytest.mark.slow
@pytest.mark.parametrize("method", ["unimatch", "st"])
def test_both_together_are_the_seed(tmp_path, method):
    settings = {"method": {"name": method, **({"flip": False} if method == "st" else {"conf_thresh": 0.2})}}
    settings |= {"schedule": {"epochs": 2, "steps_per_epoch": 1}}
    config = tiny(seed=3)
    config = config.model_validate(config.model_dump(mode="json") | settings)
    both = config.model_copy(update={"seed": 8, "seeds": type(config.seeds)(init=3, order=3)})
    fit(config, tmp_path / "seed")
    fit(both, tmp_path / "seeds")
    assert rows(tmp_path / "seed") == rows(tmp_path / "seeds")
    assert same_tensors(tensors(tmp_path / "seed"), tensors(tmp_path / "seeds"))
