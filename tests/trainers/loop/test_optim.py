"""The fused optimiser against the plain one where a weight's first gradient comes late."""

import pytest
import torch
from torch import nn

from trainers.config import OptimConfig
from trainers.loop.optim import build_optimizer


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_weight_that_takes_part_late_moves_as_with_the_plain_optimiser(momentum):
    config = OptimConfig(lr=0.1, head_lr_multiplier=1, momentum=momentum, weight_decay=0.01)
    models = [nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 2)]) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    plain = torch.optim.SGD(models[1].parameters(), lr=0.1, momentum=momentum, weight_decay=0.01, foreach=False)
    optimizers = (build_optimizer(models[0], None, config), plain)
    generator = torch.Generator().manual_seed(0)
    for parts in ([0], [0, 1], [1], [0, 1]):
        images = torch.randn(4, 3, generator=generator)
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad(set_to_none=True)
            sum(model[part](images).square().sum() for part in parts).backward()
            optimizer.step()
        for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
            torch.testing.assert_close(one, other)
