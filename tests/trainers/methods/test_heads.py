"""Heads for pixel contrast: what they compute in, and with whom."""

import pytest
import torch
from torch import nn

from trainers.methods.heads import ContrastHeads


@pytest.mark.parametrize("rows", [0, 5], ids=["of no row", "of five rows"])
@pytest.mark.parametrize("memory", [False, True])
def test_selectors_compute_in_float32_under_autocast(rows, memory):
    """PyTorch's batch norm over several processes sends statistics of its input's type where there is no row, and of
    float32 where there are some: processes would then wait for each other for good."""
    heads, seen = ContrastHeads(4, 2), []
    for module in heads.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_pre_hook(lambda _, given: seen.append(given[0].dtype))
            module.eval()  # a CPU has no batch statistics of no row
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rating = heads.rate(torch.rand(rows, 4).bfloat16(), 1, memory=memory)
    assert seen == [torch.float32]
    assert rating.dtype == torch.float32
    assert rating.shape == (rows,)
