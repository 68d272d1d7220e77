"""What stays in float32 under bf16 autocast, as its numbers show."""

import torch

from tests.trainers.methods.deep_nets import HIGH, deep_context, deep_net
from tests.trainers.methods.nets import CLASSES
from trainers.common.float32 import exact, without_autocast
from trainers.methods.heads import cosines, weighted_distance
from trainers.methods.pseudoseg import PseudoSeg, PseudoSegConfig, PseudoSegHeads


def bf16():
    return torch.autocast("cpu", dtype=torch.bfloat16)


def test_without_autocast_a_product_keeps_the_type_of_its_factors():
    factor = torch.eye(3) / 3
    with bf16():
        rounded = factor @ factor
        with without_autocast(factor.device):
            kept = factor @ factor
    assert (rounded.dtype, kept.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(exact(kept), kept)


def test_shapes_without_values_know_no_autocast():
    with without_autocast(torch.device("meta")):
        assert torch.empty(2, 3, device="meta").mT.shape == (3, 2)


def test_attention_over_equal_activation_maps_leaves_them_equal():
    torch.manual_seed(0)
    heads = PseudoSegHeads(middle=3, high=5, foreground=2, num_classes=3, dim=4)
    features = torch.randn(2, 3, 6, 6), torch.randn(2, 5, 6, 6)
    with bf16(), torch.no_grad():
        spread = heads.attend(*features, torch.full((2, 2, 6, 6), 0.3), torch.ones(2, 6, 6, dtype=torch.bool))
    torch.testing.assert_close(spread, torch.full_like(spread, 0.6), rtol=1e-6, atol=0)


def test_the_distance_to_a_memory_is_that_without_autocast():
    torch.manual_seed(0)
    rows, memory, rating = torch.randn(7, 16), torch.randn(9, 16), torch.rand(7)
    given = (rows, rating, memory, torch.rand(9), lambda one: one)
    with bf16():
        rounded = weighted_distance(*given)
    assert torch.equal(rounded, weighted_distance(*given))


def test_cosines_are_those_without_autocast():
    torch.manual_seed(0)
    anchors, keys = torch.randn(3, 16), torch.randn(3, 5, 16)
    with bf16():
        rounded = cosines(anchors, keys)
    torch.testing.assert_close(rounded, torch.cosine_similarity(anchors[:, None], keys, dim=2), rtol=1e-5, atol=1e-6)


def test_activation_maps_are_those_without_autocast():
    torch.manual_seed(0)
    model = deep_net()
    method = PseudoSeg(PseudoSegConfig(name="pseudoseg", attention_dim=4), deep_context(model))
    high, present = torch.rand(2, HIGH, 4, 4, dtype=torch.float32), torch.ones(2, CLASSES - 1, dtype=torch.bool)
    method.heads.float()
    with bf16():
        rounded = method.activation_maps(high, present)
    torch.testing.assert_close(rounded, method.activation_maps(high, present), rtol=1e-6, atol=1e-6)
