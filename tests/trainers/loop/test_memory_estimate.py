"""The estimate against what PyTorch's profiler sees allocated in real steps, and against shapes counted by hand."""

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.memory_estimate import allocated, config_of, tensors
from trainers.loop.live_bytes import BLOCK, LiveBytes, ReadOnes
from trainers.loop.memory_estimate import GPU_BYTES, Asking, step_memory
from trainers.methods.registry import BUILDERS

MIB = 1024**2
DIGITS = {"name": "digits", "holdout": {"images": 8, "source": "unlabelled"}}


def config(method="unimatch", *, crop=65, batch=4, **more):
    return config_of({"method": method, "backbone": "small", "crop": crop, "batch": batch, **more}, DIGITS)


def asking(one, **how):
    return Asking(config=one, num_classes=11, steps_per_epoch=4, **how)


def live(work):
    with FakeTensorMode(), LiveBytes() as found:
        work()
    return found


def test_a_tensor_counts_from_its_making_to_the_last_of_its_views():
    def work():
        whole = torch.empty(BLOCK)
        part = whole[:3].view(3, 1)
        del whole
        torch.empty(2 * BLOCK)
        assert part.shape == (3, 1)

    found = live(work)
    assert (found.now, found.peak) == (0, 3 * 4 * BLOCK)


def test_memory_is_given_in_blocks():
    assert live(lambda: torch.empty(1)).peak == BLOCK


def test_what_autograd_saves_stays_until_the_backward_pass():
    with FakeTensorMode(), LiveBytes() as found:
        weight = torch.empty(BLOCK, requires_grad=True)
        loss = weight.exp().exp().sum()
        assert found.now == 3 * 4 * BLOCK + BLOCK  # the weight, both results, the loss
        loss.backward()
        assert found.now == 2 * 4 * BLOCK + BLOCK  # the weight, its gradient, the loss


def test_a_mask_is_taken_to_select_everything():
    def work():
        values, mask = torch.empty(BLOCK, 2), torch.empty(BLOCK, dtype=torch.bool)
        assert values[mask].shape == (BLOCK, 2)
        assert mask.nonzero().shape == (BLOCK, 1)
        assert values.masked_select(mask[:, None]).shape == (2 * BLOCK,)
        assert mask.any().item() is True

    live(work)


def test_arrays_that_the_host_reads_are_ones():
    with FakeTensorMode(), ReadOnes():
        assert torch.empty(2, 1, dtype=torch.bool).numpy().tolist() == [[True], [True]]
        assert np.asarray(torch.empty(2, dtype=torch.float64)).dtype == np.float64
    assert torch.zeros(2).numpy().tolist() == [0, 0]


def altered(one, section, **values):
    return one.model_copy(update={section: getattr(one, section).model_copy(update=values)})


ASKED = {
    "supervised": asking(config("supervised")),
    "adamw": asking(altered(config("supervised"), "optim", name="adamw")),
    "unimatch": asking(config(alpha=0.5, amp="bf16")),
    "twice": asking(config(batch=8, alpha=0.5, amp="bf16")),
    "in parts": asking(altered(config(batch=8, alpha=0.5, amp="bf16"), "optim", accumulate=4)),
    "two processes": asking(config(batch=8, alpha=0.5, amp="bf16"), world=2),
    "one image each": asking(config("supervised"), world=4),
    "st": asking(config("st", alpha=0.5)),
    "stpp": asking(config("stpp", alpha=0.5)),
}


@pytest.fixture(scope="module")
def found():
    """What was asked, estimated in one process."""
    return dict(zip(ASKED, step_memory(list(ASKED.values())), strict=True))


@pytest.mark.parametrize("name", ["unimatch", pytest.param("supervised", marks=pytest.mark.slow)])
def test_the_estimate_is_what_a_real_step_allocates(found, name):
    assert tensors(found[name]) == pytest.approx(allocated(ASKED[name].config), rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["meanteacher", "cps", "fixmatch", "cutmixseg", "cct", "ael", "ucc"])
def test_other_methods_are_estimated_as_well(method):
    one = config(method, crop=129)
    assert tensors(step_memory([asking(one)])[0]) == pytest.approx(allocated(one), rel=0.1)


@pytest.mark.parametrize("name", ["st", "stpp"])
def test_the_last_stage_of_several_is_estimated_with_its_inter_pixel_loss(found, name):
    assert found[name].step > found["supervised"].step


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("method", sorted(BUILDERS))
def test_every_method_has_an_estimate_with_the_inter_pixel_loss_and_without(method, alpha):
    one = config(method, alpha=alpha)
    one = altered(one, "method", warmup_passes=0) if method == "psmt" else one
    [memory] = step_memory([asking(one)])
    assert memory.step > memory.batch > 0


def test_adamw_keeps_two_numbers_a_weight_and_sgd_one(found):
    assert found["adamw"].optimiser == 2 * found["supervised"].optimiser


def test_twice_the_images_take_twice_the_activations(found):
    assert found["twice"].step == pytest.approx(2 * found["unimatch"].step, rel=0.1)


def test_parts_of_a_batch_take_less(found):
    assert found["in parts"].step < 0.5 * found["twice"].step


def test_two_processes_share_the_batch_and_keep_copies_of_the_gradients(found):
    assert found["two processes"].step == found["unimatch"].step
    assert found["two processes"].buckets > 0
    assert found["unimatch"].buckets == 0


def test_one_image_a_process_is_estimated_where_batch_norm_is_over_all_of_them(found):
    assert found["one image each"].step < found["supervised"].step


def test_on_a_gpu_the_next_batch_and_cudas_own_memory_come_on_top(found):
    one = found["unimatch"]
    assert one.on("cuda") == one.weights + one.optimiser + one.step + one.batch + GPU_BYTES
