"""How networks bring maps to another size: bilinear with aligned corners, or nearest, as matrix products."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.common.float32 import exact, without_autocast


class Upsample(nn.Module):
    """The one way in which the network upsamples, bilinear with aligned corners, or nearest: as a matrix product along
    each side. On a CPU that is several times as fast as `F.interpolate` and its gradient, on a GPU deterministic.
    Computed and given in float32 or more, also under autocast: weights that are rounded to bf16 do not add up to 1."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def forward(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, C, h, w) -> (B, C, *size) in the same memory layout."""
        with without_autocast(features.device):
            return self._product(exact(features), size)

    def _product(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        (height, width), (batch, channels) = features.shape[-2:], features.shape[:2]
        down, across = (
            _weights(self.mode, before, after, features.device, features.dtype)
            for before, after in ((height, size[0]), (width, size[1]))
        )
        if features.is_contiguous(memory_format=torch.channels_last) and not features.is_contiguous():
            last = features.permute(0, 2, 3, 1).reshape(batch * height, width, channels)
            wide = torch.bmm(across.expand(len(last), -1, -1), last).view(batch, height, size[1] * channels)
            whole = torch.bmm(down.expand(batch, -1, -1), wide).view(batch, *size, channels)
            return whole.permute(0, 3, 1, 2)
        wide = features.reshape(-1, width) @ across.mT
        maps = wide.view(batch * channels, height, size[1])
        return torch.bmm(down.expand(len(maps), -1, -1), maps).view(batch, channels, *size)


_KEPT: dict[tuple[str, int, int, torch.device, torch.dtype], Tensor] = {}


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _weights(mode: str, before: int, after: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """What each of ``after`` pixels takes of ``before`` ones along one side, (after, before): what `F.interpolate`
    makes of unit vectors.

    Made once and kept on the device, in a table of its own: Dynamo ignores `functools.cache` and traces into it, so
    that every compiled forward pass would make the weights again and copy them from the host. Tensors without values
    (`FakeTensorMode`) are not kept."""
    if torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE) is not None:
        return _made_weights(mode, before, after, device, dtype)
    key = (mode, before, after, device, dtype)
    if key not in _KEPT:
        _KEPT[key] = _made_weights(mode, before, after, device, dtype)
    return _KEPT[key]


def _made_weights(mode: str, before: int, after: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    units = torch.eye(before, dtype=torch.float64)[None]
    if mode == "nearest":
        weights = F.interpolate(units, size=after, mode="nearest")
    else:
        weights = F.interpolate(units, size=after, mode="linear", align_corners=True)
    return weights[0].T.contiguous().to(device, dtype)
