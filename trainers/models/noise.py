"""What draws random numbers in a forward pass of a network."""

from torch import nn

DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
STOCHASTIC_DEPTH = ("DropPath", "StochasticDepth")
"""Classes of timm and torchvision, by their names: neither library is imported for it."""


def noise_of(network: nn.Module) -> list[nn.Module]:
    """The network's layers of dropout and stochastic depth whose rate is above 0."""
    return [module for module in network.modules() if _probability(module)]


def _probability(module: nn.Module) -> float:
    if isinstance(module, DROPOUT):
        return module.p
    if type(module).__name__ in STOCHASTIC_DEPTH:
        return float(getattr(module, "drop_prob", None) or getattr(module, "p", None) or 0.0)
    return 0.0
