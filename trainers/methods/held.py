"""A module whose answers others learn from, while its own weights learn nothing."""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.func import functional_call


def held(module: nn.Module) -> Callable[..., Any]:
    """The module as it is called with its weights held: gradients go through it to what it was given, and no further.
    It stays as it is, in train or eval mode, and may learn elsewhere in the same step."""
    weights = {name: weight.detach() for name, weight in module.named_parameters()}

    def call(*given: Any) -> Any:
        return functional_call(module, weights, given)

    return call
