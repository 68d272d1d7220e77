"""Batch norm of their own for part of a batch, such as strongly changed images (methods: section 25.9)."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainers.common.errors import ConfigError


class SeparateNorm:
    """Beside each batch norm of a network that trains, another one, weights and statistics, for the images of a second
    kind. The network has its own ones alone: it is evaluated, stored and exported as it is.

    ``norms`` holds the others, those of the backbone and those of the head apart; they are to be trained and kept.
    Frozen batch norms have none: all images take these.

    Args:
        network: each of its batch norms takes maps whose first dimension is the images.
        backbone: the part of it that trains at ``optim.lr``.

    Raises:
        ConfigError: the network has no batch norm that trains.
    """

    def __init__(self, network: nn.Module, backbone: nn.Module) -> None:
        self._first: int | None = None
        self._last: int | None = None
        inside = {id(module) for module in backbone.modules()}
        found = [one for one in network.modules() if isinstance(one, _BatchNorm) and _trains(one)]
        if not found:
            raise ConfigError(
                "method.separate_norm: this network has no batch norm that trains, and so none to have twice; set it "
                "to false"
            )
        self._pairs = [(one, copy.deepcopy(one)) for one in found]
        self.norms = nn.ModuleDict(
            {
                "backbone": nn.ModuleList(other for one, other in self._pairs if id(one) in inside),
                "head": nn.ModuleList(other for one, other in self._pairs if id(one) not in inside),
            }
        )
        for one, other in self._pairs:
            self._attach(one, other)

    @contextmanager
    def behind(self, first: int) -> Iterator[None]:
        """In a forward pass inside, the first so many images take the network's own batch norm, the others theirs; and
        where `model.checkpointing` computes parts of it again in the backward pass."""
        self._first = self._last = first
        try:
            yield
        finally:
            self._first = None

    def begin(self) -> None:
        """The others become what the network's own are now."""
        for one, other in self._pairs:
            other.load_state_dict(one.state_dict())

    def _count(self) -> int | None:
        """Images that take the network's own batch norm; None: all."""
        again = torch._C._current_graph_task_id() != -1  # within a backward pass
        return self._last if again else self._first

    def _attach(self, one: nn.Module, other: nn.Module) -> None:
        """By hooks, which a copy of the network keeps: its own batch norm is what they are called for."""
        rest: list[Tensor] = []

        def before(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
            rest.clear()  # a pass that is computed again may end between the two hooks
            count = self._count()
            if count is None:
                return None
            first, second = inputs[0][:count], inputs[0][count:]
            if module.training and type(module) is nn.BatchNorm2d and first[:, 0].numel() == 1:
                raise ConfigError(
                    "data.batch_size: batch norm saw a single pixel of one labelled image, since strong images have "
                    "their own; set it to 2 or more, for each process where optim.batch_norm is device and for each "
                    "part of optim.accumulate, or set method.separate_norm: false"
                )
            rest.append(second)
            return (first,)

        def after(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor | None:
            if not rest:
                return None
            other.train(module.training)
            return torch.cat([output, other(rest.pop())])

        one.register_forward_pre_hook(before)
        one.register_forward_hook(after)


def _trains(norm: nn.Module) -> bool:
    return any(weight.requires_grad for weight in norm.parameters())
